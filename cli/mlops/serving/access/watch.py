"""What changes while a server runs: keys, certificates, the keys of an issuer."""

from __future__ import annotations

import asyncio
import http.client
import logging
import os
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mlops.errors import MlopsError, RemoteError
from mlops.serving.access.gate import Gate

if TYPE_CHECKING:
    from mlops.serving.access.signed import Verifier

_LOG = logging.getLogger(__name__)
#: Seconds between two checks of the files.
EVERY_S = 0.5
#: Seconds between two requests to an issuer, whatever its tokens say.
ASK_AGAIN_S = 10.0
_TIMEOUT_S = 10.0
_MAX_JWKS = 1024 * 1024


class FileWatch:
    """Calls a function whenever files have changed.

    Args:
        paths: The files; they may not exist.
        changed: Reads them; returns False if it could not, as with too many open files. Then the
            next look calls it again.
        at_once: Whether the first look calls it, too.
    """

    def __init__(
        self, paths: list[Path], changed: Callable[[], bool], *, at_once: bool = False
    ) -> None:
        self._paths = paths
        self._changed = changed
        self._seen = self._look()
        self._read = not at_once

    def look(self) -> None:
        """Look once."""
        now = self._look()
        if now != self._seen or not self._read:
            # Before it is read: what changes meanwhile is read again.
            self._seen = now
            self._read = self._changed()

    def _look(self) -> list[tuple[int, int, int, int] | None]:
        return [_stamp(path) for path in self._paths]


class IssuerWatch:
    """Keeps the keys of an issuer fresh, off the request path.

    While it is away, its previous keys stay valid.

    Args:
        verifier: Uses the keys.
        changed: Called when they changed.
    """

    def __init__(self, verifier: Verifier, changed: Callable[[], object]) -> None:
        self._verifier = verifier
        self._changed = changed
        self._asked_s = float("-inf")
        self._fault = ""

    async def look(self) -> None:
        """Fetch the keys if they are old, or if a token named one that is not among them."""
        since_s = time.monotonic() - self._asked_s
        wanted = ASK_AGAIN_S if self._verifier.misses else self._verifier.issuer.refresh_s
        if since_s < min(wanted, ASK_AGAIN_S if self._fault else wanted):
            return
        self._asked_s, self._verifier.misses = time.monotonic(), False
        try:
            text = await asyncio.to_thread(_fetch, self._verifier.issuer.jwks)
            if self._verifier.load(text):
                _LOG.info("auth: the issuer's keys are read")
                self._changed()
            self._fault = ""
        except MlopsError as error:
            if error.message != self._fault:
                _LOG.warning("auth: %s The previous keys stay valid.", error.message)
            self._fault = error.message


async def follow(gate: Gate, files: list[FileWatch]) -> None:
    """Check everything that may change, until cancelled.

    Args:
        gate: Notified when keys changed.
        files: Further files; what they call runs in a thread, as reading them may take seconds.
    """
    path = gate.keyring.path

    def reload() -> bool:
        if gate.keyring.reload():
            _LOG.info("keys: `%s` is read again", path)
            gate.forget()
        return gate.keyring.is_read

    # At once: what changed between its first reading and now.
    keys = FileWatch([path] if path else [], reload, at_once=True)
    issuer = IssuerWatch(gate.verifier, gate.forget) if gate.verifier else None
    asking: asyncio.Task[None] | None = None
    reading: asyncio.Task[None] | None = None
    while True:
        keys.look()
        # Neither a slow issuer nor a long list must delay the detection of a revoked key.
        if files and (reading is None or reading.done()):
            reading = asyncio.create_task(asyncio.to_thread(_look_at, files))
        if issuer is not None and (asking is None or asking.done()):
            asking = asyncio.create_task(issuer.look())
        await asyncio.sleep(EVERY_S)


def _look_at(files: list[FileWatch]) -> None:
    for each in files:
        each.look()


def _stamp(path: Path) -> tuple[int, int, int, int] | None:
    """What distinguishes one content of a file from the next; links are followed.

    The time of the last change of its inode is part of it: after `chmod` and `chown` a file that
    could not be read may be readable.
    """
    try:
        found = os.stat(path)  # noqa: PTH116 - once a second, of every file
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_size


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The keys are where the settings say; redirects are not followed."""

    def redirect_request(self, *args: object, **kwargs: object) -> None:
        return None


def _fetch(jwks: str) -> bytes:
    """Read a JWKS document from a URL or a file.

    Raises:
        RemoteError: It cannot be read.
    """
    try:
        if not jwks.startswith(("https://", "http://")):
            return Path(jwks.removeprefix("file:")).read_bytes()
        opener = urllib.request.build_opener(_NoRedirect)
        request = urllib.request.Request(jwks, headers={"accept": "application/json"})  # noqa: S310 - http(s)
        with opener.open(request, timeout=_TIMEOUT_S) as answer:
            text: bytes = answer.read(_MAX_JWKS + 1)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise RemoteError(f"`{jwks}` cannot be read: {error}.") from error
    if len(text) > _MAX_JWKS:
        raise RemoteError(f"`{jwks}` is larger than {_MAX_JWKS} bytes.")
    return text
