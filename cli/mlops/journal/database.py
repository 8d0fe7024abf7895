"""Opening a journal's database, and its transactions; what its parts are read through."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Connection, Engine, event, func, literal_column, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.pool import ConnectionPoolEntry

from mlops.errors import MlopsError, RemoteError
from mlops.journal import archived, partitions
from mlops.journal.archive_lookup import Lookups
from mlops.journal.archive_parts import ROWS, Parts
from mlops.journal.archived import Archive, Fetch
from mlops.journal.base import JournalFullError, JournalUnavailableError
from mlops.journal.engine import creating_lock, first_line, open_engine
from mlops.journal.inserting import ColumnIds
from mlops.journal.partitions import is_partitioned, make_room
from mlops.journal.schema import meta, outcomes
from mlops.journal.streaming import log_lock
from mlops.journal.turns import Turns

_LOG = logging.getLogger(__name__)
# PostgreSQL's codes, https://www.postgresql.org/docs/current/errcodes-appendix.html.
_DISK_FULL = "53100"
_DEADLOCK = "40P01"
_REOPEN_S = 0.5
_LATER = "The server retries by itself; send the feedback again later."
# Option of a connection: the database that it belongs to.
_OPENED = "mlops_journal"
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class Database:
    """The database of a journal, behind a SQLAlchemy URL.

    Args:
        url: `sqlite:////folder/wine.db`, or `postgresql+psycopg://user@host/database`, where
            `?schema=NAME` keeps the tables of several deployments apart.
        patient: Whether to run without a database that cannot be reached, until it can.
        part_rows: Rows of the log in a closed part, see `mlops.journal.archive_parts`.
        fetch: Brings files of archived parts; by default from stores as this process's environment
            says how to reach them.

    Raises:
        InvalidInputError: The URL or the tables cannot be used.
        RemoteError: The database cannot be reached.
    """

    def __init__(
        self,
        url: str,
        *,
        patient: bool = False,
        part_rows: int = ROWS,
        fetch: Fetch | None = None,
    ) -> None:
        self._url = url
        self._fetch = fetch or archived.fetch
        self._part_rows = part_rows
        self._opened: _Opened | None = None
        self._fault: RemoteError | None = None
        self._retry_at = 0.0
        self._opening = threading.Lock()
        self._is_new = True
        self._openings = 0
        try:
            self._open()
        except RemoteError:
            if not patient:
                raise
        self._is_new = False

    def _open(self) -> _Opened:
        """Return the open database; one that could not be opened is tried again at intervals.

        A file that is not the one that was opened is opened again; so is another server's database
        that is not the same, once a connection has broken.

        Raises:
            RemoteError: It cannot be reached.
        """
        opened = self._opened
        if opened is not None and opened.is_current():
            return opened
        with self._opening:
            opened = self._opened
            if opened is not None and not opened.is_current() and not self._is_same(opened):
                self._discard(opened)
            if self._opened is None:
                self._opened = self._reopened()
                self._openings += 1
            return self._opened

    def _is_same(self, opened: _Opened) -> bool:
        """Whether a database that is open is there still, with the lock held.

        Raises:
            RemoteError: Its server cannot be reached.
        """
        self._pause()
        try:
            same = opened.is_there()
        except ProgrammingError:
            # It has no such tables.
            same = False
        except DBAPIError as error:
            raise self._failed(
                RemoteError(f"The journal cannot be reached: {first_line(error)}.")
            ) from error
        # Whoever writes looks again what it has: a check could miss what was restored in place.
        self._openings += int(same)
        return same

    def _reopened(self) -> _Opened:
        """Open it, with the lock held."""
        self._pause()
        try:
            return _Opened(open_engine(self._url), self._part_rows, self._fetch)
        except MlopsError as error:
            if self._is_new and not isinstance(error, RemoteError):
                raise
            # What is in its place now is not the caller's mistake, and may be replaced again.
            raise self._failed(RemoteError(error.message, hint=error.hint)) from error

    def _pause(self) -> None:
        """Raise the last fault again until it is time for another try."""
        if self._fault and time.monotonic() < self._retry_at:
            raise self._fault

    def _failed(self, fault: RemoteError) -> RemoteError:
        self._fault, self._retry_at = fault, time.monotonic() + _REOPEN_S
        return fault

    def _discard(self, opened: _Opened) -> None:
        """Close a database, with the lock held: the next use opens the one that is there then.

        Nothing that is known of it holds for another: not the ids of lists of columns, nor what was
        read of its archive. Other threads may still be reading that; it goes when they are done.
        """
        if self._opened is opened:
            self._opened = None
        opened.end()

    def openings(self) -> int:
        """See `Log.openings`."""
        with self._writing():
            self._open()
        return self._openings

    @property
    def _engine(self) -> Engine:
        return self._open().engine

    @contextlib.contextmanager
    def _connected(self, *, in_turn: bool = False) -> Iterator[Connection]:
        """Connect to the database that is open.

        Args:
            in_turn: Whether other writers of a file wait meanwhile.
        """
        while True:
            opened = self._open()
            turn = opened.turns.take() if in_turn else contextlib.nullcontext()
            with turn, opened.engine.connect() as connection:
                # A connection that had to be made again may be to another database.
                if opened.is_current():
                    yield connection.execution_options(**{_OPENED: opened})
                    return

    @staticmethod
    def _of(connection: Connection) -> _Opened:
        """Return the database that a connection belongs to, also where another is open by now."""
        opened: _Opened = connection.get_execution_options()[_OPENED]
        return opened

    def _begin(self, connection: Connection) -> None:
        """Take the write lock now, where the driver would wait for the first row."""
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """Commit what the block does, or nothing of it."""
        with (
            self._writing(),
            self._connected(in_turn=True) as connection,
            connection.begin(),
        ):
            yield connection

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (DataError, IntegrityError):
            # The rows are at fault, not the database: trying again would fail forever.
            raise
        except DBAPIError as error:
            self._look_again(error)
            raise _unavailable(error) from error
        except JournalUnavailableError:
            raise
        except RemoteError as error:
            raise JournalUnavailableError(error.message, hint=_LATER) from error

    def _look_again(self, error: DBAPIError) -> None:
        """Close a file that is damaged: a repair puts another in its place."""
        opened = self._opened
        if opened and getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in _DAMAGED:
            with self._opening:
                self._discard(opened)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[Connection]:
        try:
            with self._connected() as connection:
                yield connection
        except DBAPIError as error:
            self._look_again(error)
            raise RemoteError(f"The journal cannot be read: {first_line(error)}.") from error

    @contextlib.contextmanager
    def _evidence(self, *, features: bool = False) -> Iterator[Connection]:
        """Give what has every row of the log, at one moment, wherever the rows are."""
        with self._snapshot() as connection:
            parts = archived.read_parts(connection)
            if not parts:
                yield connection
                return
            whole = self._of(connection).archive.whole(connection, parts, features=features)
        with whole.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def _snapshot(self) -> Iterator[Connection]:
        """Give a connection that sees one moment, while rows may go into the archive."""
        with self._reading() as connection:
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN")
                yield connection
            else:
                yield connection.execution_options(isolation_level="REPEATABLE READ")

    @contextlib.contextmanager
    def _alone(self) -> Iterator[Connection]:
        """Write while no other process does."""
        with self._transaction() as connection:
            log_lock(connection, alone=True)
            self._begin(connection)
            yield connection

    def _make_room(self, last: int) -> None:
        """Make partitions ahead of the log; without them it goes on, and is tried again later."""
        opened = self._open()
        if last + partitions.ROWS // 2 <= opened.room:
            return
        try:
            with opened.engine.begin() as connection:
                connection.execute(text("SET LOCAL lock_timeout = '1s'"))
                creating_lock(connection)
                opened.room = make_room(connection, last)
        except DBAPIError as error:
            _LOG.warning("no partition was made ahead: %s", first_line(error))

    @property
    def is_file(self) -> bool:
        """Whether it is a file of this machine, whose space can be given back."""
        return self._engine.dialect.name == "sqlite"

    def close(self) -> None:
        """See `Log.close`."""
        if self._opened is not None:
            self._opened.lookups.close()
            self._opened.archive.close()
            self._opened.engine.dispose()


class _Opened:
    """A database that could be opened, and what is prepared for it."""

    def __init__(self, engine: Engine, part_rows: int, fetch: Fetch) -> None:
        self.engine = engine
        dialect = sqlite if engine.dialect.name == "sqlite" else postgresql
        self.columns = ColumnIds(engine)
        file = engine.url.database if engine.dialect.name == "sqlite" else None
        self._path = path = Path(file) if file and "mode" not in engine.url.query else None
        self._identity = _identity(path)
        self._connections = _Connections(engine)
        self._checked = 0
        self.turns = Turns(path)
        self.parts = Parts(path, part_rows)
        self.archive = Archive(path, fetch)
        self.lookups = Lookups(self.archive)
        with engine.connect() as connection:
            self.partitioned = is_partitioned(connection)
            self._server = _read_server(connection)
        #: The last offset of which it is known that it has a partition.
        self.room = 0
        self.insert_outcomes = (
            dialect.insert(outcomes)
            .on_conflict_do_nothing()
            .returning(outcomes.c.nonce, outcomes.c.row)
        )

    def end(self) -> None:
        """Close its connections, each that is in use when that ends."""
        self._connections.are_over = True
        self.engine.dispose()

    def is_current(self) -> bool:
        """Whether it is still the database that was opened, as far as is known.

        A file is by its identity. Another server's database may be another one once a connection
        has broken; `is_there` asks.
        """
        unbroken = self._connections.lost == self._checked
        return unbroken and self._identity == _identity(self._path)

    def is_there(self) -> bool:
        """Ask whether it is still the database that was opened.

        Raises:
            DBAPIError: Its server cannot be reached; a `ProgrammingError`: it has no such tables.
        """
        if self._identity != _identity(self._path):
            return False
        with self.engine.connect() as connection:
            lost = self._connections.lost
            same = self._server == _read_server(connection)
        if same:
            self._checked = lost
        return same


class _Connections:
    """What has become of the connections of an engine.

    Apart from what is open, which the engine would hold in a cycle with all that was unpacked.

    Attributes:
        lost: How many have broken.
        are_over: Whether those in use are to be closed when they come back.
    """

    def __init__(self, engine: Engine) -> None:
        self.lost = 0
        self.are_over = False
        event.listen(engine, "invalidate", self._count)
        event.listen(engine, "checkin", self._close_late)

    def _count(self, *_: object) -> None:
        self.lost += 1

    def _close_late(self, _connection: object, record: ConnectionPoolEntry) -> None:
        # Its pool is gone, and would leave it to the collector.
        if self.are_over:
            record.invalidate()


def _read_server(connection: Connection) -> tuple[object, ...]:
    """Return what changes when a server's database is restored; nothing for a file.

    Files of a server are replaced only while it is stopped, and it starts at another time then; a
    dump is restored into other tables. A standby that takes over has a start of its own.
    """
    if connection.dialect.name == "sqlite":
        return ()
    query = select(
        func.pg_postmaster_start_time(),
        literal_column("tableoid"),
        select(literal_column("oid"))
        .select_from(text("pg_database"))
        .where(text("datname = current_database()"))
        .scalar_subquery(),
    ).select_from(meta)
    return tuple(connection.execute(query).one_or_none() or ())


def _identity(path: Path | None) -> tuple[int, int] | None:
    """Return what tells a file from another with its name; None where there is none."""
    with contextlib.suppress(OSError):
        found = path.stat() if path else None
        return (found.st_dev, found.st_ino) if found else None
    return None


class DeadlockError(JournalUnavailableError):
    """Two writers waited for each other's rows, and the database aborted this one."""


def _unavailable(error: DBAPIError) -> JournalUnavailableError:
    kind: type[JournalUnavailableError] = JournalUnavailableError
    hint = _LATER
    if _is_full(error.orig):
        kind, hint = JournalFullError, "Free space; the server retries by itself."
    elif getattr(error.orig, "sqlstate", "") == _DEADLOCK:
        kind = DeadlockError
    return kind(f"The journal could not be written: {first_line(error)}.", hint=hint)


def _is_full(error: object) -> bool:
    """Whether a database says that its disk is full, be it SQLite or PostgreSQL."""
    # The low byte is the primary code, https://sqlite.org/rescode.html#extrc.
    primary = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return primary == sqlite3.SQLITE_FULL or getattr(error, "sqlstate", "") == _DISK_FULL
