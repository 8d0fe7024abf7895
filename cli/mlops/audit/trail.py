"""The file of a trail: appended under a lock, each batch durable before its writer returns."""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from mlops.audit.canonical import canonical
from mlops.audit.entries import NONE, Entry, Event, State, by_actor, digest, read_entry, write_entry
from mlops.errors import InvalidInputError
from mlops.settings.actor import Actor

#: Prefix of the ids of states.
STATE = "state/"


@dataclass(slots=True)
class Known:
    """The content of a trail.

    Attributes:
        trail: Its id; empty before its first entry.
        ids: Ids of what is recorded.
        states: Id of each state to what was last recorded of it.
        hashes: Of all entries, in order.
    """

    trail: str = ""
    ids: set[str] = field(default_factory=set)
    states: dict[str, Any] = field(default_factory=dict)
    hashes: list[str] = field(default_factory=list)

    @property
    def seq(self) -> int:
        """Number of the last entry, 0 for none."""
        return len(self.hashes)

    @property
    def head(self) -> str:
        """Hash of the last entry."""
        return self.hashes[-1] if self.hashes else NONE

    def learn(self, entry: Entry) -> None:
        """Add the next entry."""
        self.trail = self.trail or str(entry.document.get("trail", ""))
        self.ids.add(entry.id)
        if entry.id.startswith(STATE):
            self.states[entry.id.removeprefix(STATE)] = entry.document["after"]
        self.hashes.append(entry.hash)


class Trail:
    """One trail, in a file of mode 0600. Any number of processes may use it at once.

    Args:
        path: The file; made with the first entry.
        clock: Gives milliseconds since 1970 in UTC.
    """

    def __init__(
        self, path: Path, clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    ) -> None:
        self.path = path
        self._clock = clock

    def lines(self) -> list[bytes]:
        """Return the lines without their newlines; the last is empty unless it was cut off."""
        try:
            return self.path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return [b""]

    def entries(self) -> list[Entry]:
        """Return all entries, oldest first.

        Raises:
            InvalidInputError: One is damaged.
        """
        return list(_read(self.path, self.lines()))

    def known(self) -> Known:
        """Return the content of the trail.

        Raises:
            InvalidInputError: An entry is damaged.
        """
        return _known(self.path, self.lines())

    def intact(self) -> Known:
        """Return the content of the trail, up to its first damaged entry if it has one."""
        known = Known()
        with suppress(InvalidInputError):
            for entry in _read(self.path, self.lines()):
                known.learn(entry)
        return known

    def append(
        self,
        told: Iterable[Event | State],
        actor: Actor,
        anchor: Callable[[Known, list[Entry]], None] = lambda _known, _new: None,
    ) -> list[Entry]:
        """Record what is not recorded yet, and return the new entries.

        Args:
            told: Events and states, in order.
            actor: Who runs this command, and is named for changes of a state.
            anchor: Called with the trail's content then, before another command may append.

        Raises:
            InvalidInputError: An entry is damaged; nothing is added to what cannot be trusted.
            OSError: The file cannot be written; nothing was added.
        """
        with self._alone() as descriptor:
            lines = self.lines()
            known = _known(self.path, lines)
            events = list(_mended(descriptor, lines[-1], actor, self._clock()))
            events += _new(told, known, actor, self._clock())
            new = self._write(descriptor, events, known)
            anchor(known, new)
            return new

    def _write(self, descriptor: int, events: list[Event], known: Known) -> list[Entry]:
        if not events:
            return []
        trail = known.trail or secrets.token_hex(8)
        now_ms = self._clock()
        lines: list[bytes] = []
        new = []
        for event in events:
            line = write_entry(event, trail, known.seq + 1, known.head, now_ms)
            lines.append(line)
            new.append(read_entry(line[:-1]))
            known.learn(new[-1])
        size = os.fstat(descriptor).st_size
        try:
            view = memoryview(b"".join(lines))
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        except OSError:
            # What a full disk took of it is not an entry.
            os.ftruncate(descriptor, size)
            raise
        return new

    @contextmanager
    def _alone(self) -> Iterator[int]:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        descriptor = os.open(self.path, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if not os.fstat(descriptor).st_size:
                _sync_folder(self.path.parent)
            yield descriptor
        finally:
            os.close(descriptor)


def _known(path: Path, lines: list[bytes]) -> Known:
    known = Known()
    for entry in _read(path, lines):
        known.learn(entry)
    return known


def _read(path: Path, lines: list[bytes]) -> Iterator[Entry]:
    # What follows the last newline was never finished, and is not an entry.
    for number, line in enumerate(lines[:-1], 1):
        try:
            yield read_entry(line)
        except ValueError as error:
            raise InvalidInputError(
                f"`{path}` is damaged: in entry {number}, {error}.",
                hint="`mlops audit verify` shows what is valid. Keep the file as evidence, and "
                "put a copy from a backup in its place.",
            ) from None


def _new(told: Iterable[Event | State], known: Known, actor: Actor, now_ms: int) -> Iterator[Event]:
    ids = set(known.ids)
    states = dict(known.states)
    for each in told:
        if isinstance(each, Event):
            if not each.id or each.id not in ids:
                ids.add(each.id)
                yield each
            continue
        before = states.get(each.id)
        value = orjson.loads(canonical(each.value))
        if value != before:
            states[each.id] = value
            yield Event(
                each.action,
                each.subject,
                now_ms,
                by_actor(actor),
                STATE + each.id,
                before=before,
                after=value,
            )


def _mended(descriptor: int, rest: bytes, actor: Actor, now_ms: int) -> Iterator[Event]:
    """Cut off an entry that a killed command left incomplete, and record that in the next one."""
    if rest:
        os.ftruncate(descriptor, os.fstat(descriptor).st_size - len(rest))
        said = {"bytes": len(rest), "sha256": digest(rest)}
        yield Event(
            "repair", "an unfinished line was cut off", now_ms, by_actor(actor), evidence=said
        )


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
