"""A throw-away SQLite database with the tables of a journal, filled from archived parts."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, create_engine, event, func, select

from mlops.journal.archive_files import insert_rows, load_rows
from mlops.journal.schema import (
    decisions,
    feature_columns,
    metadata,
    outcomes,
    shadow_decisions,
    voids,
)

_AT_ONCE = 10_000
_TABLES = [decisions, feature_columns, outcomes, shadow_decisions, voids]


class Scratch:
    """A database in the folder for temporary files, gone with this object.

    Whatever is put into it twice is there once.
    """

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="mlops-archive-")
        self.engine: Engine = create_engine(f"sqlite:///{self._folder}/journal.db")
        event.listen(self.engine, "connect", _pragmas)
        metadata.create_all(self.engine, tables=_TABLES)
        # By table, offset of the last row that was copied.
        self._marks: dict[str, int] = {}
        self.close = weakref.finalize(self, _remove, self.engine, self._folder)

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """Give a connection for reading."""
        with self.engine.connect() as connection:
            yield connection

    def load(self, file: Path, name: str) -> None:
        """Take over a file of an archived part."""
        with self.engine.begin() as connection:
            load_rows(connection, file, name)

    def copy_voids(self, journal: Connection) -> None:
        """Take over what has been voided since the last time."""
        self._copy(journal, voids, "seq", None if _in_order(journal) else 0)

    def copy_all(self, journal: Connection, *, features: bool) -> None:
        """Take over what has come into the journal since the last time.

        Args:
            journal: As it is at one moment.
            features: Whether with features; the same each time.
        """
        mark = None if _in_order(journal) else 0
        self._copy(journal, feature_columns, "id", mark)
        for table in (decisions, outcomes, shadow_decisions, voids):
            self._copy(journal, table, "seq", mark, features=features)

    def _copy(
        self,
        journal: Connection,
        table: Table,
        key: str,
        mark: int | None = None,
        *,
        features: bool = True,
    ) -> None:
        ordered = table.c[key]
        after = self._marks.get(table.name, 0)
        columns = [each for each in table.c if features or each is not decisions.c.features]
        names = [column.name for column in columns]
        query = select(*columns).where(ordered > after).order_by(ordered)
        # Of the statement: as an option of the connection it would hold for what is written later.
        found = journal.execute(query, execution_options={"yield_per": _AT_ONCE})
        with self.engine.begin() as connection:
            for rows in found.partitions():
                insert_rows(connection, table, names, [tuple(row) for row in rows])
            if mark is None:
                last = connection.execute(select(func.max(ordered))).scalar_one()
                mark = last or 0
        self._marks[table.name] = max(after, mark)


def _in_order(journal: Connection) -> bool:
    """Whether rows are seen in the order of their offsets; else all are read again each time."""
    return journal.dialect.name == "sqlite"


def _pragmas(connection: Any, _record: Any) -> None:  # noqa: ANN401 - DBAPI objects
    # It is made again after a crash.
    for pragma in ("journal_mode=WAL", "synchronous=OFF", "cache_size=-65536", "busy_timeout=5000"):
        connection.execute(f"PRAGMA {pragma}")


def _remove(engine: Engine, folder: str) -> None:
    engine.dispose()
    shutil.rmtree(folder, ignore_errors=True)
