"""What moves the oldest rows of a journal's database into an archive."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.exc import OperationalError

from mlops.journal import archive_cleanup, archived, archiving, partitions
from mlops.journal.archive_cleanup import Pace, Removal, Step
from mlops.journal.archived import ArchivedPart
from mlops.journal.database import Database
from mlops.journal.streaming import archive_lock, log_end

_LOCK_TIMEOUT = "55P03"
_PAUSE_S = 0.5


@dataclass(frozen=True, slots=True)
class Draft:
    """A part that is to be stored.

    Attributes:
        part: It, without files.
        files: Name to file.
        forgotten: How often features had been forgotten when it was read.
    """

    part: ArchivedPart
    files: dict[str, Path]
    forgotten: int


class ArchivableDatabase(Database):
    """A journal's database, as `mlops.deployment.archiving` sees it."""

    @contextlib.contextmanager
    def archive_held(self) -> Iterator[bool]:
        """Hold the archive for this process alone, if nobody has it; gives whether it is held."""
        with self._reading() as connection:
            yield archive_lock(connection)

    def archived_parts(self) -> list[ArchivedPart]:
        """Return what is in an artifact store, in order."""
        with self._reading() as connection:
            return archived.read_parts(connection)

    def plan_archive(self, before_ms: int, rows: int) -> archiving.Planned:
        """Count what would be archived; see `write_part`."""
        with self._reading() as connection:
            end = log_end(connection).decisions
        with self._snapshot() as connection:
            return archiving.plan(connection, before_ms, end, rows)

    def write_part(self, before_ms: int, rows: int, location: str, folder: Path) -> Draft | None:
        """Write the next part that may be archived to files; None if there is none.

        Args:
            before_ms: Only decisions from before this time, milliseconds since 1970 in UTC.
            rows: Most decisions.
            location: Root of the store where it will be.
            folder: Where to write.
        """
        with self._reading() as connection:
            end = log_end(connection).decisions
        with self._snapshot() as connection:
            before = archiving.last_span(connection)
            span = archiving.next_span(connection, before, before_ms, end, rows)
            if span is None:
                return None
            files = archiving.write_files(connection, span, folder)
            part = archiving.describe(connection, span, location, files)
            return Draft(part, files, archived.count_forgettings(connection))

    def note_part(self, part: ArchivedPart, draft: Draft) -> None:
        """Take note of a part whose files are stored; its rows are archived from then on.

        `remove_rows` deletes them.

        Args:
            part: As it is stored.
            draft: As it was written.

        Raises:
            ConflictError: Another process archives or prunes; nothing was changed.
            JournalUnavailableError: It could not be written; nothing was changed.
        """
        for name, file in draft.files.items():
            self._open().archive.keep(file, name, part)
        with self._alone() as connection:
            archiving.note_part(connection, part, draft.forgotten)

    def remove_rows(self, part: ArchivedPart, *, patience_s: float = 60.0) -> bool:
        """Delete the rows of an archived part, a few at a time; continues what was interrupted.

        Args:
            part: Archived, and not cleared.
            patience_s: How long to wait for readers of a partition that is to be dropped.

        Returns:
            Whether all are gone; else they stay until the next time.

        Raises:
            JournalUnavailableError: It could not continue; what was done is done.
            RemoteError: The files of the part cannot be read.
        """
        offsets = {}
        for name in ("outcomes", "shadows"):
            if name in part.files:
                with self.part_file(part, name) as file:
                    offsets[name] = archiving.offsets(file)
        removal = Removal(part, offsets.get("outcomes", ()), offsets.get("shadows", ()))
        if self._open().partitioned:
            self._repeat(archive_cleanup.steps_before_drop(removal))
            if not self._drop(part, patience_s):
                return False
        self._repeat(archive_cleanup.steps(removal))
        with self._alone() as connection:
            archive_cleanup.note_cleared(connection, part)
        return True

    def _repeat(self, steps: Iterator[Step]) -> None:
        for step in steps:
            pace, more = Pace(), True
            while more:
                with self._alone() as connection:
                    started = time.monotonic()
                    more = step(connection, pace.rows)
                pace.took(time.monotonic() - started)

    def _drop(self, part: ArchivedPart, patience_s: float) -> bool:
        """Drop a partition as soon as no reader holds it; return whether that came."""
        deadline = time.monotonic() + patience_s
        with self._writing():
            while True:
                try:
                    with self._engine.begin() as connection:
                        partitions.drop_partitions(connection, part.after, part.upto)
                    return True
                except OperationalError as error:
                    if getattr(error.orig, "sqlstate", "") != _LOCK_TIMEOUT:
                        raise
                    if time.monotonic() > deadline:
                        return False
                time.sleep(_PAUSE_S)

    def note_files(self, part: ArchivedPart) -> None:
        """Take note of the files that an archived part has now."""
        with self._alone() as connection:
            archiving.note_files(connection, part)

    @contextlib.contextmanager
    def part_file(self, part: ArchivedPart, name: str) -> Iterator[Path]:
        """Give a file of an archived part.

        Raises:
            RemoteError: It cannot be read, or is not what was archived.
        """
        with self._open().archive.file(part, name) as file:
            yield file
