"""Decisions that wait on disk while a journal on another machine is away.

In memory they would be lost with the process. Each process writes a file of its own, a line of JSON
for each decision, and holds a lock on it; a file whose lock is free, because its process ended, is
delivered by the next process. A file is removed once all of it is in the journal. Delivered twice
after a crash in between, a decision is stored once: its nonce is its key.
"""

from __future__ import annotations

import fcntl
import logging
import os
import uuid
from collections.abc import Callable, Sequence
from io import BufferedReader
from itertools import islice
from pathlib import Path
from shutil import disk_usage
from typing import Any

import orjson

from mlops.journal.base import JournalUnavailableError
from mlops.journal.json_text import as_json
from mlops.journal.records import Decision
from mlops.journal.size_limit import is_nearly_full

_LOG = logging.getLogger(__name__)
_ENDING = ".decisions"
_REFUSED = ".refused"
_AT_ONCE = 5_000
# A day of 100 requests a second with a few features takes about as much.
_MAX_BYTES = 4 * 1024**3


class Spool:
    """Files of decisions in one folder. Used by one thread.

    Args:
        folder: Shared by all processes of a deployment on this machine; made when it is needed.
        max_bytes: Most that this process writes.

    Attributes:
        waiting: Decisions that this process has written, and that are not delivered yet.
    """

    def __init__(self, folder: Path, max_bytes: int = _MAX_BYTES) -> None:
        self._folder, self._max_bytes = folder, max_bytes
        self._own: Path | None = None
        self._descriptor = -1
        self._reading: tuple[Path, BufferedReader] | None = None
        # Who starts looks what others have left.
        self._may_hold = True
        self.waiting = self.refused = 0

    def put(self, decisions: Sequence[Decision]) -> bool:
        """Write decisions down, durably; return False where that cannot be done."""
        if not decisions:
            return True
        text = b"".join(_line(decision) for decision in decisions)
        try:
            if self._own is None:
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._own, self._descriptor = self._create()
            size = os.fstat(self._descriptor).st_size
            if size + len(text) > self._max_bytes or is_nearly_full(*disk_usage(self._folder)[::2]):
                return False
            written = os.write(self._descriptor, text)
            if written < len(text):
                # All or nothing: what stays in memory must not stand here by half.
                os.ftruncate(self._descriptor, size)
                return False
            os.fsync(self._descriptor)
        except OSError as error:
            _LOG.warning("decisions cannot wait on disk: %s", error)
            return False
        self._may_hold = True
        self.waiting += len(decisions)
        return True

    def deliver(self, append: Callable[[Sequence[Decision]], object]) -> bool:
        """Hand some decisions on; return whether there may be more.

        Args:
            append: Stores them. What it raises is raised, and they are handed on again.
        """
        if not self._may_hold:
            return False
        if self._reading is None:
            self._let_go()
            self._reading = self._next()
        if self._reading is None:
            self._may_hold, self.waiting = False, 0
            return False
        path, file = self._reading
        start = file.tell()
        lines = list(islice(file, _AT_ONCE))
        if lines:
            read = [(line, _decision(line)) for line in lines]
            try:
                refused = _refused(append, [each for _, each in read if each is not None])
            except BaseException:
                file.seek(start)
                raise
            # Of a process that was killed the end of the last line was never written: that is none.
            aside = [
                line
                for line, each in read
                if line.endswith(b"\n") and (each is None or each in refused)
            ]
            self._set_aside(path.with_suffix(_REFUSED), aside)
            self.waiting = max(0, self.waiting - len(lines))
        else:
            path.unlink(missing_ok=True)
            file.close()
            self._reading = None
            _LOG.info("decisions that waited on disk are in the journal")
        return True

    def _create(self) -> tuple[Path, int]:
        """Create a file of our own; it has its name only once it is locked."""
        draft = self._folder / uuid.uuid4().hex
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        descriptor = os.open(draft, flags, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return draft.rename(draft.with_suffix(_ENDING)), descriptor

    def _set_aside(self, path: Path, lines: Sequence[bytes]) -> None:
        """Keep what the journal does not take in a file beside."""
        if lines:
            self.refused += len(lines)
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            with os.fdopen(os.open(path, flags, 0o600), "ab") as file:
                file.writelines(lines)
            _LOG.error("%d decisions that cannot be stored are in `%s`", len(lines), path)

    def _let_go(self) -> None:
        if self._own is not None:
            os.close(self._descriptor)
            self._own, self._descriptor = None, -1

    def _next(self) -> tuple[Path, BufferedReader] | None:
        """Open a file that no process writes or delivers."""
        for path in sorted(self._folder.glob(f"*{_ENDING}")):
            try:
                file = path.open("rb")
            except OSError:
                continue
            try:
                fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.close()
                continue
            return path, file
        return None


def _line(decision: Decision) -> bytes:
    values: list[Any] = list(decision)
    for at, value in enumerate(values):
        if isinstance(value, bytes):
            values[at] = {"": value.hex()}
    return as_json(values).encode() + b"\n"


def _decision(line: bytes) -> Decision | None:
    """Read a decision; None where it cannot be read."""
    try:
        values: list[Any] = orjson.loads(line)
        for at, value in enumerate(values):
            if isinstance(value, dict):
                values[at] = bytes.fromhex(value[""])
        return Decision(*values)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _refused(
    append: Callable[[Sequence[Decision]], object], decisions: Sequence[Decision]
) -> list[Decision]:
    """Append decisions; return those that the journal will never take, which spoil no others.

    Raises:
        JournalUnavailableError: It takes none now.
    """
    try:
        append(decisions)
    except JournalUnavailableError:
        raise
    except Exception:  # noqa: BLE001 - of whatever kind; they are looked at one by one
        if len(decisions) == 1:
            _LOG.exception("journal: a decision that waited on disk could not be written")
            return list(decisions)
        half = len(decisions) // 2
        return _refused(append, decisions[:half]) + _refused(append, decisions[half:])
    return []
