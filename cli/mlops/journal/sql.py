"""The journal in a SQL database: SQLite on one machine, PostgreSQL where replicas share it."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence

from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from mlops.errors import RemoteError
from mlops.journal import pruning, reading, voiding
from mlops.journal.base import JournalFullError, JournalUnavailableError
from mlops.journal.engine import first_line, open_engine
from mlops.journal.exporting import JoinedRow, read_joined_rows
from mlops.journal.inserting import ColumnIds, insert_decisions
from mlops.journal.recording import record_facts
from mlops.journal.records import (
    Decision,
    DrawnRequest,
    Fact,
    LabelledRow,
    NewOutcome,
    Observation,
    PolicyEpoch,
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
    Offset,
    log_end,
    log_lock,
    read_decisions,
    read_outcomes,
)

# PostgreSQL's codes, https://www.postgresql.org/docs/current/errcodes-appendix.html.
_DISK_FULL = "53100"
_DEADLOCK = "40P01"
_TRIES = 3


class SqlJournal:
    """A `Journal` behind a SQLAlchemy URL.

    Args:
        url: `sqlite:////folder/wine.db`, or `postgresql+psycopg://user@host/database`, where
            `?schema=NAME` keeps the tables of several deployments apart.

    Raises:
        InvalidInputError: The URL or the tables are not ours to use.
        RemoteError: The database cannot be reached.
    """

    def __init__(self, url: str) -> None:
        self._engine = open_engine(url)
        dialect = sqlite if self._engine.dialect.name == "sqlite" else postgresql
        self._columns = ColumnIds(self._engine)
        self._insert_outcomes = (
            dialect.insert(outcomes)
            .on_conflict_do_nothing()
            .returning(outcomes.c.nonce, outcomes.c.row)
        )

    def append(
        self, decisions: Sequence[Decision], outcomes: Sequence[NewOutcome]
    ) -> list[StoredOutcome]:
        """See `Log.append`."""
        with self._writing():
            rows = decision_rows(decisions, self._columns.of(names_in(decisions)))
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
            return store(connection, self._insert_outcomes, outcomes) if outcomes else []

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """Commit what the block does, or nothing of it."""
        with self._writing(), self._engine.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (DataError, IntegrityError):
            # The rows are at fault, not the database: trying again would fail for ever.
            raise
        except DBAPIError as error:
            raise _unavailable(error) from error

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

    def observations(self, revisions: Iterable[int] | None = None) -> Iterator[Observation]:
        """See `Evidence.observations`."""
        with self._reading() as connection:
            yield from reading.read_observations(connection, revisions)

    def drawn_requests(self, revisions: Iterable[int]) -> Iterator[DrawnRequest]:
        """See `Evidence.drawn_requests`."""
        with self._reading() as connection:
            yield from reading.read_drawn_requests(connection, revisions)

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
            return reading.read_traffic(connection)

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

    def revision_events(self) -> list[RevisionEvent]:
        """See `History.revision_events`."""
        with self._reading() as connection:
            return reading.read_revision_events(connection)

    def epochs(self, revisions: Iterable[int] | None = None) -> list[PolicyEpoch]:
        """See `History.epochs`."""
        with self._reading() as connection:
            return reading.read_epochs(connection, revisions)

    def void(self, nonces: Iterable[bytes], *, time_ms: int, reason: str, by: str) -> int:
        """See `Log.void`."""
        with self._transaction() as connection:
            return voiding.void_outcomes(connection, nonces, time_ms, reason, by)

    def voids(self) -> list[Void]:
        """See `History.voids`."""
        with self._reading() as connection:
            return voiding.read_voids(connection)

    def losses(self) -> dict[str, int]:
        """See `History.losses`."""
        with self._reading() as connection:
            return reading.read_losses(connection)

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
            JournalUnavailableError: It could not go on; what was done is done.
        """
        with self._writing():
            yield from pruning.forget_features(self._engine, before_ms)

    def give_back(self) -> None:
        """Give space that is not needed back to the disk; nobody may write meanwhile.

        Raises:
            JournalUnavailableError: Somebody does.
        """
        with self._writing():
            pruning.give_back(self._engine)

    def close(self) -> None:
        """See `Log.close`."""
        self._engine.dispose()


class _DeadlockError(JournalUnavailableError):
    """Two writers waited for each other's rows, and the database chose to end us."""


def _unavailable(error: DBAPIError) -> JournalUnavailableError:
    kind: type[JournalUnavailableError] = JournalUnavailableError
    hint = "It is tried again by itself; send the feedback again later."
    if _is_full(error.orig):
        kind, hint = JournalFullError, "Free space; it is tried again by itself."
    elif getattr(error.orig, "sqlstate", "") == _DEADLOCK:
        kind = _DeadlockError
    return kind(f"The journal could not be written: {first_line(error)}.", hint=hint)


def _is_full(error: object) -> bool:
    """Whether a database says that its disk is full, be it SQLite or PostgreSQL."""
    # The low byte is the primary code, https://sqlite.org/rescode.html#extrc.
    primary = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return primary == sqlite3.SQLITE_FULL or getattr(error, "sqlstate", "") == _DISK_FULL
