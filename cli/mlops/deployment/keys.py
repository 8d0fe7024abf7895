"""API keys of a deployment: created, listed and revoked in its keys file.

The server checks the file twice a second, so nothing is restarted. A revoked key stays
in the file, with the time of its revocation, and keeps its place: workers count by it.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from mlops.deployment.recording import key_states, trail_of
from mlops.deployment.runtime_files import Places, make_token, pick_name, places
from mlops.errors import (
    ConflictError,
    InvalidInputError,
    MlopsError,
    NotFoundError,
    did_you_mean,
)
from mlops.settings.actor import current_actor
from mlops.settings.needs import RolloutSettings
from mlops.spec.access import (
    MAX_KEYS,
    Key,
    digest_of,
    new_key,
    read_if_there,
    read_keys,
    write_keys,
)
from mlops.spec.attribution import read_duration

_LOG = logging.getLogger(__name__)
#: Name of the key that the commands of this machine send.
OWNER = "owner"


@dataclass(frozen=True, slots=True)
class Created:
    """A created key.

    Attributes:
        deployment: Name of the deployment.
        key: The stored part of it.
        secret: The key itself, which is nowhere else; empty for a certificate.
        first: Whether callers had to send none before.
        file: Path of the keys file.
        in_cluster: Whether the deployment is on a cluster, to which the file has to be copied.
    """

    deployment: str
    key: Key
    secret: str
    first: bool
    file: str
    in_cluster: bool


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of a deployment.

    Attributes:
        deployment: Name of the deployment.
        keys: Oldest first.
    """

    deployment: str
    keys: tuple[Key, ...]


def create(
    settings: RolloutSettings,
    deployment: str | None,
    name: str,
    scopes: Sequence[str],
    *,
    rate: str = "",
    expires: str = "",
    subject: str = "",
) -> Created:
    """Make a key.

    Args:
        settings: The project's settings.
        deployment: Name of the deployment, or None for the only one.
        name: Name of the key.
        scopes: What it allows, of `mlops.spec.access.SCOPES`.
        rate: Requests that it may send, as `100/s`; empty for any number.
        expires: Time after which it expires, as `90d`; empty for never.
        subject: Certificate that stands for it, as `CN=shop`; empty for a key to be sent.

    Raises:
        InvalidInputError: One of these is wrong.
        ConflictError: There is a valid key of that name.
        NotFoundError: There is no such deployment.
    """
    where = _where(settings, deployment)
    now_ms = _now_ms()
    expires_ms = now_ms + int(1000 * read_duration(expires)) if expires else None
    more = {"rate": rate, "subject": subject, "created_ms": now_ms, "expires_ms": expires_ms}
    key, secret = new_key(name, scopes, **more)
    settings.make_home()
    with _changing(where):
        before = _read(where)
        if any(each.name == name and each.counts_at(now_ms) for each in before):
            raise ConflictError(
                f"`{where.name}` has a key `{name}` already.",
                hint=f"Choose another name, or `mlops keys revoke {name}` first.",
            )
        first = not before
        own = [_owner(where, now_ms)] if first else []
        if len(before) >= MAX_KEYS:
            raise InvalidInputError(f"`{where.name}` has {MAX_KEYS} keys, and may have no more.")
        _write(where, [*before, *own, key])
        _record(settings, where)
    return Created(where.name, key, secret, first, str(where.keys), where.cluster.exists())


def listed(settings: RolloutSettings, deployment: str | None) -> Keys:
    """Return the keys of a deployment.

    Raises:
        NotFoundError: There is no such deployment.
        InvalidInputError: The file cannot be read.
    """
    where = _where(settings, deployment)
    return Keys(where.name, _read(where))


def revoke(settings: RolloutSettings, deployment: str | None, name: str) -> Keys:
    """Revoke a key; return the keys that were revoked.

    Args:
        settings: The project's settings.
        deployment: Name of the deployment, or None for the only one.
        name: Name or id of the key.

    Raises:
        NotFoundError: There is no such key, or no such deployment.
    """
    where = _where(settings, deployment)
    now_ms = _now_ms()
    with _changing(where):
        before = _read(where)
        meant = [k for k in before if name in (k.name, k.id) and k.revoked_ms is None]
        if not meant:
            live = [key.name for key in before if key.revoked_ms is None]
            raise NotFoundError(
                f"`{where.name}` has no key `{name}`.",
                hint=did_you_mean(name, live) or f"`mlops keys list --deployment {where.name}`",
            )
        after = [replace(key, revoked_ms=now_ms) if key in meant else key for key in before]
        _write(where, after)
        _record(settings, where)
    return Keys(where.name, tuple(key for key in after if key.revoked_ms == now_ms))


def _where(settings: RolloutSettings, deployment: str | None) -> Places:
    return places(settings, pick_name(settings, deployment))


def _record(settings: RolloutSettings, where: Places) -> None:
    """Record in the audit trail who changed keys; the next command tags its end in MLflow."""
    try:
        trail = trail_of(settings, where.name)
        trail.append(key_states(where, trail.known()), current_actor())
    except (MlopsError, OSError) as error:
        _LOG.warning("audit trail of `%s`, tried again by the next command: %s", where.name, error)


def _owner(where: Places, now_ms: int) -> Key:
    """Return the key of this machine's own commands, which is the deployment's token."""
    make_token(where)
    key, _ = new_key(OWNER, ["admin"], created_ms=now_ms)
    return replace(key, digest=digest_of(where.token.read_bytes().strip()))


def _read(where: Places) -> tuple[Key, ...]:
    text = read_if_there(where.keys)
    return () if text is None else read_keys(text)


def _write(where: Places, keys: Sequence[Key]) -> None:
    """Write the file in one step and mode 0600, so that a server never reads half of it."""
    draft = where.keys.with_suffix(f".keys.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(write_keys(keys))
            file.flush()
            os.fsync(descriptor)
        draft.replace(where.keys)
    finally:
        draft.unlink(missing_ok=True)


@contextlib.contextmanager
def _changing(where: Places) -> Iterator[None]:
    """Lock the file against other commands; that takes milliseconds."""
    where.folder.mkdir(parents=True, exist_ok=True)
    path = where.keys.with_suffix(".keys-lock")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
