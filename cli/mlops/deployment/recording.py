"""Keeping a deployment's audit trail up to date with what commands of this machine change."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mlops.audit import Entry, Event, State, Trail
from mlops.audit.entries import by_actor
from mlops.audit.heads import anchor
from mlops.audit.sources import journal_events, ledger_events, server_state, settings_state
from mlops.audit.trail import Known
from mlops.deployment.journals import has_journal, open_journal
from mlops.deployment.runtime_files import Places, places, read_server_state
from mlops.errors import InvalidInputError, MlopsError
from mlops.registry import open_registry
from mlops.registry.client import nothing_yet
from mlops.registry.ledger import Ledger
from mlops.settings.actor import current_actor
from mlops.settings.needs import RolloutSettings
from mlops.spec.access import read_if_there, read_keys

_LOG = logging.getLogger(__name__)
_API_KEY = "api-key "


def trail_of(settings: RolloutSettings, name: str) -> Trail:
    """Return the audit trail of a deployment; nothing is created."""
    return Trail(settings.home / "audit" / f"{name}.jsonl")


@dataclass(frozen=True, slots=True)
class Recorded:
    """The result of an update of a trail.

    Attributes:
        entries: The new ones.
        faults: What could not be read or tagged, a sentence each; the next command tries again.
    """

    entries: tuple[Entry, ...]
    faults: tuple[str, ...]


@contextlib.contextmanager
def recorded(
    settings: RolloutSettings, name: str, *told: Event, ask_mlflow: bool = True
) -> Iterator[None]:
    """Record what a command changes, however it ends.

    The change stays: an error of the trail is reported, and the next command writes what is
    missing.

    Args:
        settings: The project's settings.
        name: Deployment.
        told: What is nowhere else.
        ask_mlflow: As of `record`.
    """
    try:
        yield
    finally:
        try:
            faults = record(settings, name, *told, ask_mlflow=ask_mlflow).faults
        except MlopsError as error:
            faults = (error.message,)
        for fault in faults:
            _LOG.warning("audit trail of `%s`, tried again by the next command: %s", name, fault)


def record(settings: RolloutSettings, name: str, *told: Event, ask_mlflow: bool = True) -> Recorded:
    """Bring a deployment's trail up to date.

    What cannot be read now is left to the next command; `told` is written in any case.

    Args:
        settings: The project's settings.
        name: Deployment.
        told: What this command is about to do or has done, and what is nowhere else.
        ask_mlflow: Whether to read the ledger and tag the end of the trail. A command that needs no
            MLflow otherwise leaves both to the next one, and does not wait for its import.

    Raises:
        MlopsError: Nothing was written: the trail is damaged, or its file cannot be written.
    """
    trail = trail_of(settings, name)
    try:
        settings.make_home()
        return _record(settings, name, trail, told, ask_mlflow)
    except OSError as error:
        raise MlopsError(
            f"`{trail.path}` cannot be written: {error.strerror}.",
            hint="Free space, or fix the folder's permissions.",
        ) from error


def _record(
    settings: RolloutSettings, name: str, trail: Trail, told: Sequence[Event], ask_mlflow: bool
) -> Recorded:
    known, faults = trail.known(), _Faults()
    written = known.ids
    events = [*told]
    ledger = None
    with faults.kept():
        if ask_mlflow and not nothing_yet(settings):
            ledger = Ledger(open_registry(settings), settings, name)
            events += ledger_events(ledger, written)
    with faults.kept():
        events += _of_journal(settings, name)
    # They are numbered as they happened, whichever source has them.
    events.sort(key=lambda each: each.time_ms)
    states = _states(settings, places(settings, name), known)

    def tag(known: Known, new: Sequence[Entry]) -> None:
        with faults.kept():
            if ledger is not None:
                anchor(ledger, known, new)

    entries = trail.append([*events, *states], current_actor(), tag)
    return Recorded(tuple(entries), tuple(faults.messages))


class _Faults:
    def __init__(self) -> None:
        self.messages: list[str] = []

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        try:
            yield
        except MlopsError as error:
            self.messages.append(error.message)


def event_now(
    action: str,
    subject: str,
    *,
    before: object = None,
    after: object = None,
    evidence: object = None,
) -> Event:
    """Return an entry for what this command does now, for `record`."""
    by = by_actor(current_actor())
    now_ms = time.time_ns() // 1_000_000
    return Event(action, subject, now_ms, by, "", before, after, evidence)


def _of_journal(settings: RolloutSettings, name: str) -> list[Event]:
    """Return what the journal has, of a deployment whose server ran on this machine.

    A cluster's journal is read if the settings say how to reach it.
    """
    state = read_server_state(places(settings, name))
    if not has_journal(settings, name, state):
        return []
    journal = open_journal(settings, name, state)
    try:
        return list(journal_events(journal))
    finally:
        journal.close()


def _states(settings: RolloutSettings, where: Places, known: Known) -> Iterator[State]:
    yield settings_state(settings)
    state = read_server_state(where)
    if state is not None:
        yield server_state(state.launch)
    key = where.key.read_bytes() if where.key.exists() else b""
    if key:
        # 32 random bytes cannot be found from a hash.
        print_of = hashlib.sha256(key).hexdigest()[:16]
        yield State("key", "key of request ids", "key", {"fingerprint": print_of})
    if key and where.token.exists():
        token = hmac.new(key, where.token.read_bytes(), hashlib.sha256).hexdigest()[:16]
        yield State("key", "token of callers", "token", {"fingerprint": token})
    yield from key_states(where, known)


def key_states(where: Places, known: Known) -> Iterator[State]:
    """Return what is recorded of the API keys of a deployment; none of it is secret.

    Args:
        where: Files of the deployment.
        known: What its trail has, read before: a key that is missing in the file is gone for good,
            and has no value. None is where there is no file, or none that can be read.
    """
    with contextlib.suppress(InvalidInputError):
        text = read_if_there(where.keys)
        if text is None:
            return
        keys = read_keys(text)
        for key in keys:
            value = {k: v for k, v in asdict(key).items() if k != "digest"}
            value["scopes"] = list(key.scopes)
            yield State("key", f"API key {key.name}", f"{_API_KEY}{key.id}", value)
        present = {f"{_API_KEY}{key.id}" for key in keys}
        for name, value in _recorded_keys(known).items():
            if name not in present:
                yield State("key", f"API key {value['name']}", name, None)


def _recorded_keys(known: Known) -> dict[str, dict[str, Any]]:
    """Return the API keys that a trail has, by the id of their state; not those that are gone."""
    return {
        name: value
        for name, value in known.states.items()
        if name.startswith(_API_KEY) and value is not None
    }


def lost_keys(settings: RolloutSettings, where: Places, now_ms: int) -> dict[str, int]:
    """Return the API keys that should count and whose file is gone, by the audit trail.

    Returns:
        Name of each to when it was made, milliseconds since 1970 in UTC.

    Raises:
        InvalidInputError: The file cannot be read, so whether it is gone is not known.
    """
    if read_if_there(where.keys) is not None:
        return {}
    keys = _recorded_keys(trail_of(settings, where.name).intact())
    return {
        value["name"]: value["created_ms"]
        for value in keys.values()
        if value["revoked_ms"] is None
        and (value["expires_ms"] is None or now_ms < value["expires_ms"])
    }
