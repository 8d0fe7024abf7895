"""Turns of several processes that write one SQLite file.

SQLite lets one write at a time, and a process that finds it taken sleeps up to 100 ms before asking
again: with four writers one commit in a hundred took more than a second. Here they ask each
millisecond, at a file beside the journal. The kernel ends a turn with its process. The lock
saves waiting only: after a limit a writer uses SQLite's own lock, which protects the file.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

_PAUSE_S = 0.001
_PATIENCE_S = 2.0


class Turns:
    """The queue of writers of a file; used by any number of threads and processes.

    Args:
        path: The SQLite file; None for a database that needs no turns.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path.with_name(f"{path.name}-turn") if path else None

    @contextlib.contextmanager
    def take(self) -> Iterator[None]:
        """Wait for a turn, which ends with the block."""
        descriptor = self._open()
        if descriptor is None:
            yield
            return
        try:
            _wait(descriptor)
            yield
        finally:
            os.close(descriptor)

    def _open(self) -> int | None:
        if self._path is None:
            return None
        # On a full or read-only disk, SQLite reports the error.
        with contextlib.suppress(OSError):
            return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return None


def _wait(descriptor: int) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            time.sleep(_PAUSE_S)
        else:
            return
