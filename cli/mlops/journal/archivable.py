"""What moves the oldest rows of a journal's database into an archive."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from mlops.journal import archived, archiving
from mlops.journal.archived import ArchivedPart
from mlops.journal.database import Database
from mlops.journal.streaming import log_end


class ArchivableDatabase(Database):
    """A journal's database, as `mlops.deployment.archiving` sees it."""

    def archived_parts(self) -> list[ArchivedPart]:
        """Return what is in an artifact store, in order."""
        with self._reading() as connection:
            return archived.read_parts(connection)

    def count_old(self, before_ms: int) -> int:
        """Count the decisions from before a time that are not archived."""
        with self._reading() as connection:
            return archiving.count_old(connection, before_ms)

    def write_part(
        self, before_ms: int, rows: int, location: str, folder: Path
    ) -> tuple[ArchivedPart, dict[str, Path]] | None:
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
            span = archiving.next_span(connection, before_ms, end, rows)
            if span is None:
                return None
            files = archiving.write_files(connection, span, folder)
            return archiving.describe(connection, span, location, files), files

    def take_away(self, part: ArchivedPart, files: dict[str, Path]) -> None:
        """Take note of a part whose files are stored, and let go of its rows, in one commit.

        Raises:
            ConflictError: Another process archives or prunes; nothing was changed.
            JournalUnavailableError: It could not be written; nothing was changed.
        """
        for name, file in files.items():
            self._open().archive.keep(file, name, part)
        with self._alone() as connection:
            archiving.take_away(connection, part, files)

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
