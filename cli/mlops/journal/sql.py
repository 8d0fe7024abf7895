"""The journal in a SQL database: SQLite on one machine, PostgreSQL where replicas share it."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from mlops.errors import RemoteError
from mlops.journal import memory, progress, pruning, reading, voiding
from mlops.journal.base import JournalFullError, JournalUnavailableError
from mlops.journal.columns import OutcomeColumns, RequestColumns
from mlops.journal.engine import first_line, open_engine
from mlops.journal.exporting import JoinedRow, read_joined_rows
from mlops.journal.features import KeptRows
from mlops.journal.inserting import ColumnIds, insert_decisions
from mlops.journal.looking_up import StoredDecision, find_decision, first_of_unit, rows_of
from mlops.journal.parts import ROWS, Parts
from mlops.journal.recording import record_facts
from mlops.journal.records import (
    Alarm,
    Decision,
    DrawnRequest,
    Fact,
    LabelledRow,
    NewOutcome,
    Observation,
    Offset,
    PolicyEpoch,
    Progress,
    Reading,
    RevisionEvent,
    ShadowPair,
    ShadowTruth,
    StoredOutcome,
    Traffic,
    TrafficSlice,
    Value,
    Void,
)
from mlops.journal.rows import DecisionRow, decision_rows, names_in
from mlops.journal.schema import outcomes
from mlops.journal.storing import store
from mlops.journal.streaming import (
    Decisions,
    count_outcomes,
    log_end,
    log_lock,
    read_decisions,
    read_outcomes,
)
from mlops.journal.turns import Turns

# PostgreSQL's codes, https://www.postgresql.org/docs/current/errcodes-appendix.html.
_DISK_FULL = "53100"
_DEADLOCK = "40P01"
_TRIES = 3
_REOPEN_S = 0.5
_LATER = "The server retries by itself; send the feedback again later."
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class SqlJournal:
    """A `Journal` behind a SQLAlchemy URL.

    Args:
        url: `sqlite:////folder/wine.db`, or `postgresql+psycopg://user@host/database`, where
            `?schema=NAME` keeps the tables of several deployments apart.

        patient: Whether to run without a database that cannot be reached, until it can.
        part_rows: Rows of the log in a closed part, see `mlops.journal.parts`.

    Raises:
        InvalidInputError: The URL or the tables cannot be used.
        RemoteError: The database cannot be reached.
    """

    def __init__(self, url: str, *, patient: bool = False, part_rows: int = ROWS) -> None:
        self._url = url
        self._part_rows = part_rows
        self._opened: _Opened | None = None
        self._fault: RemoteError | None = None
        self._retry_at = 0.0
        self._opening = threading.Lock()
        try:
            self._open()
        except RemoteError:
            if not patient:
                raise

    def _open(self) -> _Opened:
        """Return the open database; one that could not be opened is tried again now and then.

        Raises:
            RemoteError: It cannot be reached.
        """
        if self._opened is None:
            with self._opening:
                if self._fault and time.monotonic() < self._retry_at:
                    raise self._fault
                try:
                    self._opened = self._opened or _Opened(open_engine(self._url), self._part_rows)
                except RemoteError as error:
                    self._fault, self._retry_at = error, time.monotonic() + _REOPEN_S
                    raise
        return self._opened

    @property
    def _engine(self) -> Engine:
        return self._open().engine

    def append(
        self, decisions: Sequence[Decision], outcomes: Sequence[NewOutcome]
    ) -> list[StoredOutcome]:
        """See `Log.append`."""
        with self._writing():
            rows = decision_rows(decisions, self._open().columns.of(names_in(decisions)))
        for attempt in range(_TRIES):
            try:
                return self._append(rows, outcomes)
            except _DeadlockError as error:
                # Outcomes keep the order of their arrival, so that they can meet in two orders.
                if attempt == _TRIES - 1:
                    raise JournalUnavailableError(error.message, hint=error.hint) from error
        raise AssertionError("unreachable")

    def _append(
        self, rows: list[DecisionRow], outcomes: Sequence[NewOutcome]
    ) -> list[StoredOutcome]:
        with self._transaction() as connection:
            log_lock(connection)
            if rows:
                insert_decisions(connection, rows)
            return store(connection, self._open().insert_outcomes, outcomes) if outcomes else []

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """Commit what the block does, or nothing of it."""
        with self._writing():
            opened = self._open()
            with opened.turns.take(), opened.engine.begin() as connection:
                yield connection

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (DataError, IntegrityError):
            # The rows are at fault, not the database: trying again would fail for ever.
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
        if getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in _DAMAGED and self._opened:
            self._opened.engine.dispose()

    def record(self, facts: Sequence[Fact]) -> None:
        """See `Log.record`."""
        with self._transaction() as connection:
            record_facts(connection, facts)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[Connection]:
        try:
            with self._engine.connect() as connection:
                yield connection
        except DBAPIError as error:
            self._look_again(error)
            raise RemoteError(f"The journal cannot be read: {first_line(error)}.") from error

    def end(self) -> Offset:
        """See `Stream.end`."""
        with self._reading() as connection:
            return log_end(connection)

    def decisions(self, after: int, end: int, limit: int) -> Decisions:
        """See `Stream.decisions`."""
        with self._reading() as connection:
            return read_decisions(connection, after, end, limit)

    def outcomes(self, after: int, end: int, limit: int) -> tuple[list[Observation], int]:
        """See `Stream.outcomes`."""
        with self._reading() as connection:
            return read_outcomes(connection, after, end, limit)

    def rows_of(self, nonces: Iterable[bytes]) -> dict[bytes, KeptRows]:
        """See `Stream.rows_of`."""
        with self._reading() as connection:
            return rows_of(connection, nonces)

    def count_outcomes(self, nonces: Iterable[bytes], upto: int) -> Counter[bytes]:
        """See `Stream.count_outcomes`."""
        with self._reading() as connection:
            return count_outcomes(connection, nonces, upto)

    def claim(self, start: Progress, owner: str, now_ms: int, lease_ms: int) -> Progress | None:
        """See `Consumption.claim`."""
        with self._transaction() as connection:
            return progress.claim(connection, start, owner, now_ms, lease_ms)

    def advance(self, step: Progress, owner: str, now_ms: int, lease_ms: int) -> bool:
        """See `Consumption.advance`."""
        with self._transaction() as connection:
            return progress.advance(connection, step, owner, now_ms, lease_ms)

    def progress(self, now_ms: int) -> list[Progress]:
        """See `Consumption.progress`."""
        with self._reading() as connection:
            return progress.read_progress(connection, now_ms)

    def observations(self, revisions: Iterable[int] | None = None) -> Iterator[Observation]:
        """See `Evidence.observations`."""
        with self._reading() as connection:
            yield from reading.read_observations(connection, revisions)

    def drawn_requests(self, revisions: Iterable[int]) -> Iterator[DrawnRequest]:
        """See `Evidence.drawn_requests`."""
        with self._reading() as connection:
            yield from reading.read_drawn_requests(connection, revisions)

    def request_columns(self, revisions: Iterable[int]) -> Iterator[RequestColumns]:
        """See `Evidence.request_columns`."""
        with self._reading() as connection:
            yield from self._open().parts.requests(connection, revisions)

    def outcome_columns(self, revisions: Iterable[int]) -> Iterator[OutcomeColumns]:
        """See `Evidence.outcome_columns`."""
        with self._reading() as connection:
            yield from self._open().parts.outcomes(connection, revisions)

    def joined_rows(self) -> Iterator[JoinedRow]:
        """Read every row of every request with its outcomes; see `read_joined_rows`."""
        with self._reading() as connection:
            yield from read_joined_rows(connection)

    def cells(self, revisions: Iterable[int], column: str) -> Iterator[tuple[bytes, Value]]:
        """See `Evidence.cells`."""
        with self._reading() as connection:
            yield from reading.read_cells(connection, revisions, column)

    def labelled_rows(self, revisions: Iterable[int]) -> Iterator[LabelledRow]:
        """See `Evidence.labelled_rows`."""
        with self._reading() as connection:
            yield from reading.read_labelled_rows(connection, revisions)

    def traffic(self) -> list[Traffic]:
        """See `Sums.traffic`."""
        with self._reading() as connection:
            return self._open().parts.traffic(connection)

    def traffic_over_time(self, revisions: Iterable[int], width_ms: int) -> list[TrafficSlice]:
        """See `Sums.traffic_over_time`."""
        with self._reading() as connection:
            return reading.read_traffic_over_time(connection, revisions, width_ms)

    def shadow_pairs(self, revisions: Iterable[int]) -> Iterator[ShadowPair]:
        """See `ShadowReader.shadow_pairs`."""
        with self._reading() as connection:
            yield from reading.read_shadow_pairs(connection, revisions)

    def shadow_truths(self, revisions: Iterable[int]) -> Iterator[ShadowTruth]:
        """See `ShadowReader.shadow_truths`."""
        with self._reading() as connection:
            yield from reading.read_shadow_truths(connection, revisions)

    def decision(self, nonce: bytes) -> StoredDecision | None:
        """See `find_decision`."""
        with self._reading() as connection:
            return find_decision(connection, nonce)

    def first_of_unit(self, unit: bytes, revisions: Iterable[int]) -> StoredDecision | None:
        """See `looking_up.first_of_unit`."""
        with self._reading() as connection:
            return first_of_unit(connection, unit, revisions)

    def revision_events(self) -> list[RevisionEvent]:
        """See `History.revision_events`."""
        with self._reading() as connection:
            return reading.read_revision_events(connection)

    def epochs(self, revisions: Iterable[int] | None = None) -> list[PolicyEpoch]:
        """See `History.epochs`."""
        with self._reading() as connection:
            return reading.read_epochs(connection, revisions)

    def newer_epoch(self, revision: int, after: int) -> PolicyEpoch | None:
        """See `History.newer_epoch`."""
        with self._reading() as connection:
            return reading.read_newer_epoch(connection, revision, after)

    def void(self, nonces: Iterable[bytes], *, time_ms: int, reason: str, by: str) -> int:
        """See `Log.void`."""
        with self._transaction() as connection:
            return voiding.void_outcomes(connection, nonces, time_ms, reason, by)

    def voids(self) -> list[Void]:
        """See `History.voids`."""
        with self._reading() as connection:
            return voiding.read_voids(connection)

    def count_voids(self) -> int:
        """See `History.count_voids`."""
        with self._reading() as connection:
            return voiding.count_voids(connection)

    def losses(self) -> dict[str, int]:
        """See `History.losses`."""
        with self._reading() as connection:
            return reading.read_losses(connection)

    def remember(self, consumer: str, parts: Mapping[str, Any], now_ms: int) -> None:
        """See `Memory.remember`."""
        with self._transaction() as connection:
            memory.remember(connection, consumer, parts, now_ms)

    def remembered(self, consumer: str, parts: Iterable[str]) -> dict[str, Any]:
        """See `Memory.remembered`."""
        with self._reading() as connection:
            return memory.remembered(connection, consumer, parts)

    def readings(self, consumers: Iterable[str]) -> list[Reading]:
        """See `Memory.readings`."""
        with self._reading() as connection:
            return memory.read_readings(connection, consumers)

    def raise_alarms(self, alarms: Iterable[Alarm]) -> None:
        """See `Memory.raise_alarms`."""
        with self._transaction() as connection:
            memory.raise_alarms(connection, alarms)

    def alarms(self) -> list[Alarm]:
        """See `Memory.alarms`."""
        with self._reading() as connection:
            return memory.read_alarms(connection)

    def alarm_sent(self, key: str, now_ms: int) -> None:
        """See `Memory.alarm_sent`."""
        with self._transaction() as connection:
            memory.alarm_sent(connection, key, now_ms)

    def totals(self) -> dict[str, int]:
        """See `Sums.totals`."""
        with self._reading() as connection:
            return reading.read_totals(connection)

    @property
    def is_file(self) -> bool:
        """Whether it is a file of this machine, whose space can be given back."""
        return self._engine.dialect.name == "sqlite"

    def size_bytes(self) -> int:
        """See `Sums.size_bytes`."""
        with self._reading() as connection:
            return pruning.size_bytes(connection)

    def count_features(self, before_ms: int) -> int:
        """Count the decisions from before a time that still have features."""
        with self._reading() as connection:
            return pruning.count_features(connection, before_ms)

    def forget_features(self, before_ms: int) -> Iterator[int]:
        """Clear the features of decisions from before a time; yield how many, bit by bit.

        Raises:
            JournalUnavailableError: It could not continue; what was done is done.
        """
        with self._writing():
            yield from pruning.forget_features(self._engine, before_ms)

    def give_back(self) -> None:
        """Give space that is not needed back to the disk; needs that no process writes.

        Raises:
            JournalUnavailableError: A process is writing.
        """
        with self._writing():
            pruning.give_back(self._engine)

    def close(self) -> None:
        """See `Log.close`."""
        if self._opened is not None:
            self._opened.engine.dispose()


class _Opened:
    """A database that could be opened, and what is prepared for it."""

    def __init__(self, engine: Engine, part_rows: int) -> None:
        self.engine = engine
        dialect = sqlite if engine.dialect.name == "sqlite" else postgresql
        self.columns = ColumnIds(engine)
        file = engine.url.database if engine.dialect.name == "sqlite" else None
        path = Path(file) if file and "mode" not in engine.url.query else None
        self.turns = Turns(path)
        self.parts = Parts(path, part_rows)
        self.insert_outcomes = (
            dialect.insert(outcomes)
            .on_conflict_do_nothing()
            .returning(outcomes.c.nonce, outcomes.c.row)
        )


class _DeadlockError(JournalUnavailableError):
    """Two writers waited for each other's rows, and the database aborted this one."""


def _unavailable(error: DBAPIError) -> JournalUnavailableError:
    kind: type[JournalUnavailableError] = JournalUnavailableError
    hint = _LATER
    if _is_full(error.orig):
        kind, hint = JournalFullError, "Free space; the server retries by itself."
    elif getattr(error.orig, "sqlstate", "") == _DEADLOCK:
        kind = _DeadlockError
    return kind(f"The journal could not be written: {first_line(error)}.", hint=hint)


def _is_full(error: object) -> bool:
    """Whether a database says that its disk is full, be it SQLite or PostgreSQL."""
    # The low byte is the primary code, https://sqlite.org/rescode.html#extrc.
    primary = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return primary == sqlite3.SQLITE_FULL or getattr(error, "sqlstate", "") == _DISK_FULL
