"""The journal in a SQL database: SQLite on one machine, PostgreSQL where replicas share it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from mlops.journal import (
    archive_columns,
    archived,
    memory,
    progress,
    pruning,
    reading,
    traffic,
    voiding,
)
from mlops.journal.archivable import ArchivableDatabase
from mlops.journal.base import JournalUnavailableError
from mlops.journal.columns import OutcomeColumns, RequestColumns
from mlops.journal.consumer_records import Alarm, Offset, Progress, Reading
from mlops.journal.database import DeadlockError
from mlops.journal.earlier import Earlier
from mlops.journal.exporting import JoinedRow, read_joined_rows
from mlops.journal.feature_rows import ColumnNames
from mlops.journal.features import KeptRows
from mlops.journal.inserting import insert_decisions, insert_partitioned
from mlops.journal.looking_up import (
    StoredDecision,
    find_decision,
    first_of_unit,
    requests_named,
    rows_of,
)
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
from mlops.journal.storing import store
from mlops.journal.streaming import (
    Decisions,
    count_outcomes,
    first_of,
    log_end,
    log_lock,
    outcomes_of,
    read_decisions,
    read_outcomes,
)

_TRIES = 3


class SqlJournal(ArchivableDatabase):
    """A `Journal` behind a SQLAlchemy URL; takes and raises what `Database` does."""

    def append(
        self, decisions: Sequence[Decision], outcomes: Sequence[NewOutcome]
    ) -> list[StoredOutcome]:
        """See `Log.append`."""
        for attempt in range(_TRIES):
            try:
                return self._append(decisions, outcomes)
            except DeadlockError as error:
                # Outcomes keep the order of their arrival, so that they can meet in two orders.
                if attempt == _TRIES - 1:
                    raise JournalUnavailableError(error.message, hint=error.hint) from error
        raise AssertionError("unreachable")

    def _append(
        self, decisions: Sequence[Decision], outcomes: Sequence[NewOutcome]
    ) -> list[StoredOutcome]:
        last = 0
        while True:
            with self._writing():
                opened = self._open()
                rows = decision_rows(decisions, opened.columns.of(names_in(decisions)))
            earlier = self._looked_up(rows, outcomes)
            with self._transaction() as connection:
                if self._of(connection) is not opened:
                    # Another database, in which lists of columns have other ids.
                    continue
                log_lock(connection)
                self._begin(connection)
                if archived.read_stage(connection) != earlier.stage:
                    # Again under the lock, since rows are archived or deleted ten times a second;
                    # but no file is read under it.
                    if any(opened.lookups.far(connection, outcomes)):
                        continue
                    earlier = opened.lookups.look(connection, rows, outcomes)
                rows = [row for row in rows if row[0] not in earlier.retried]
                if rows and opened.partitioned:
                    last = insert_partitioned(connection, rows)
                elif rows:
                    insert_decisions(connection, rows)
                fates = (
                    store(connection, opened.insert_outcomes, outcomes, earlier) if outcomes else []
                )
            if last:
                self._make_room(last)
            return fates

    def _looked_up(self, rows: Sequence[DecisionRow], batch: Sequence[NewOutcome]) -> Earlier:
        """Look in the archive, before the transaction, since a store may take its time.

        Raises:
            ArchiveAwayError: It cannot be reached.
        """
        with self._writing(), self._connected() as connection:
            return self._of(connection).lookups.look(connection, rows, batch)

    def far(self, outcomes: Sequence[NewOutcome]) -> list[bool]:
        """See `Log.far`."""
        with self._writing(), self._connected() as connection:
            return self._of(connection).lookups.far(connection, outcomes)

    def look_up(self, outcomes: Sequence[NewOutcome]) -> None:
        """See `Log.look_up`."""
        self._looked_up([], outcomes)

    def record(self, facts: Sequence[Fact]) -> None:
        """See `Log.record`."""
        with self._transaction() as connection:
            record_facts(connection, facts)

    def end(self) -> Offset:
        """See `Stream.end`."""
        with self._reading() as connection:
            return log_end(connection)

    def begin(self, revisions: Iterable[int]) -> Offset:
        """See `Stream.begin`."""
        chosen, last = set(revisions), self.end()
        with self._snapshot() as connection:
            first = first_of(connection, chosen, last)
            parts = archived.read_parts(connection)
        its = [each for each in parts if any(sums[0] in chosen for sums in each.traffic)]
        return Offset(
            min([first.decisions, *(part.after for part in its)]),
            min([first.outcomes, *(part.first_outcome - 1 for part in its if part.outcomes)]),
        )

    def decisions(self, after: int, end: int, limit: int, *, features: bool = True) -> Decisions:
        """See `Stream.decisions`; without features where nobody looks at them."""
        with self._snapshot() as connection:
            # One part at a time: to put all that is archived together takes minutes.
            for part in archived.read_parts(connection):
                if part.upto > after:
                    names, archive = ColumnNames(connection), self._of(connection).archive
                    with archive.part(connection, part.part, features=features) as its:
                        upto = min(end, part.upto)
                        found = read_decisions(its, after, upto, limit, names, features=features)
                    if len(found) or end <= part.upto:
                        return found
                    # Its last offsets are of no decision.
                    after = part.upto
            return read_decisions(connection, after, end, limit, features=features)

    def outcomes(self, after: int, end: int, limit: int) -> tuple[list[Observation], int]:
        """See `Stream.outcomes`."""
        with self._snapshot() as connection:
            if after >= archived.last_outcome(connection):
                found, upto = read_outcomes(connection, after, end, limit)
                return self._of(connection).lookups.completed(connection, found), upto
        with self._evidence() as connection:
            return read_outcomes(connection, after, end, limit)

    def rows_of(self, nonces: Iterable[bytes]) -> dict[bytes, KeptRows]:
        """See `Stream.rows_of`."""
        chosen = set(nonces)
        with self._snapshot() as connection:
            names = ColumnNames(connection)
            found = rows_of(connection, chosen, names)
            archive = self._of(connection).archive
            for part, some in archived.by_part(connection, chosen - found.keys()).items():
                with archive.part(connection, part, features=True) as its:
                    found |= rows_of(its, some, names)
            return found

    def count_outcomes(self, nonces: Iterable[bytes], upto: int) -> Counter[bytes]:
        """See `Stream.count_outcomes`."""
        chosen = set(nonces)
        with self._snapshot() as connection:
            found = count_outcomes(connection, chosen, upto)
            return found + self._of(connection).archive.count_outcomes(connection, chosen, upto)

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
        with self._evidence() as connection:
            yield from reading.read_observations(connection, revisions)

    def drawn_requests(self, revisions: Iterable[int]) -> Iterator[DrawnRequest]:
        """See `Evidence.drawn_requests`."""
        with self._evidence() as connection:
            yield from reading.read_drawn_requests(connection, revisions)

    def request_columns(self, revisions: Iterable[int]) -> Iterator[RequestColumns]:
        """See `Evidence.request_columns`."""
        chosen = list(revisions)
        with self._snapshot() as connection:
            opened, parts = self._of(connection), archived.read_parts(connection)
            yield from archive_columns.request_columns(opened.archive, parts, chosen)
            yield from opened.parts.requests(connection, chosen)

    def outcome_columns(self, revisions: Iterable[int]) -> Iterator[OutcomeColumns]:
        """See `Evidence.outcome_columns`."""
        chosen = list(revisions)
        with self._snapshot() as connection:
            opened, parts = self._of(connection), archived.read_parts(connection)
            live = opened.parts.outcomes(connection, chosen)
            if parts:
                live = archive_columns.outcome_columns(
                    opened.archive, connection, parts, chosen, live
                )
            yield from live

    def joined_rows(self) -> Iterator[JoinedRow]:
        """Read every row of every request with its outcomes; see `read_joined_rows`."""
        with self._evidence(features=True) as connection:
            yield from read_joined_rows(connection)

    def cells(self, revisions: Iterable[int], column: str) -> Iterator[tuple[bytes, Value]]:
        """See `Evidence.cells`."""
        with self._evidence(features=True) as connection:
            yield from reading.read_cells(connection, revisions, column)

    def labelled_rows(self, revisions: Iterable[int]) -> Iterator[LabelledRow]:
        """See `Evidence.labelled_rows`."""
        with self._evidence(features=True) as connection:
            yield from reading.read_labelled_rows(connection, revisions)

    def traffic(self) -> list[Traffic]:
        """See `Sums.traffic`."""
        with self._snapshot() as connection:
            closed, rest = self._of(connection).parts.sums(connection)
            for part in archived.read_parts(connection):
                closed += [traffic.Sums(*each) for each in part.traffic]
        if not any(each.units for each in closed):
            return traffic.added([*closed, *rest])
        # A sticky unit may come in several parts, and counts once.
        with self._evidence() as connection:
            return traffic.read_traffic(connection)

    def traffic_over_time(self, revisions: Iterable[int], width_ms: int) -> list[TrafficSlice]:
        """See `Sums.traffic_over_time`."""
        with self._evidence() as connection:
            return reading.read_traffic_over_time(connection, revisions, width_ms)

    def shadow_pairs(self, revisions: Iterable[int]) -> Iterator[ShadowPair]:
        """See `ShadowReader.shadow_pairs`."""
        with self._evidence() as connection:
            yield from reading.read_shadow_pairs(connection, revisions)

    def shadow_truths(self, revisions: Iterable[int]) -> Iterator[ShadowTruth]:
        """See `ShadowReader.shadow_truths`."""
        with self._evidence() as connection:
            yield from reading.read_shadow_truths(connection, revisions)

    def decision(self, nonce: bytes) -> StoredDecision | None:
        """See `find_decision`."""
        with self._snapshot() as connection:
            found = find_decision(connection, nonce)
            if found is not None:
                return found
            part = archived.parts_of(connection, [nonce]).get(nonce)
            if part is None:
                return None
            names = ColumnNames(connection)
            with self._of(connection).archive.part(connection, part, features=True) as its:
                return find_decision(its, nonce, names)

    def outcomes_of(self, nonce: bytes) -> list[Observation]:
        """Return the outcomes of one decision that count, in order of arrival."""
        with self._snapshot() as connection:
            opened, found = self._of(connection), outcomes_of(connection, nonce)
            part = archived.parts_of(connection, [nonce]).get(nonce)
            if part is None:
                return found
            with opened.archive.part(connection, part) as its:
                moved = outcomes_of(its, nonce)
            # While rows are deleted, an outcome may be in the archive and here.
            there = {each.seq for each in moved}
            late = [each for each in found if each.seq not in there]
            return [*moved, *opened.lookups.completed(connection, late)]

    def requests_named(self, client_id: str, most: int) -> list[bytes]:
        """See `looking_up.requests_named`."""
        with self._snapshot() as connection:
            return requests_named(connection, client_id, most)

    def first_of_unit(self, unit: bytes, revisions: Iterable[int]) -> StoredDecision | None:
        """See `looking_up.first_of_unit`."""
        with self._evidence(features=True) as connection:
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
        nonces = list(nonces)
        while True:
            with self._writing(), self._connected() as connection:
                parts = archived.count_parts(connection)
                back = (
                    self._of(connection).archive.outcome_rows(connection, nonces) if parts else []
                )
            with self._transaction() as connection:
                log_lock(connection)
                self._begin(connection)
                # Nothing is unpacked under the lock. Rows that are deleted meanwhile are in `back`.
                if archived.count_parts(connection) == parts:
                    for part, rows in back:
                        voiding.bring_back(connection, part, rows)
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

    def settle(self, consumer: str, part: str, document: Any, now_ms: int) -> Any:  # noqa: ANN401 - JSON data
        """See `Memory.settle`."""
        with self._transaction() as connection:
            return memory.settle(connection, consumer, part, document, now_ms)

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

    def alarms_sent(self, ids: Iterable[str], now_ms: int) -> None:
        """See `Memory.alarms_sent`."""
        with self._transaction() as connection:
            memory.alarms_sent(connection, ids, now_ms)

    def totals(self) -> dict[str, int]:
        """See `Sums.totals`."""
        with self._snapshot() as connection:
            return reading.read_totals(connection)

    def size_bytes(self) -> int:
        """See `Sums.size_bytes`."""
        with self._reading() as connection:
            return pruning.size_bytes(connection)

    def count_features(self, before_ms: int) -> int:
        """Count the decisions from before a time that still have features."""
        with self._reading() as connection:
            return pruning.count_features(connection, before_ms)

    def forget_features(self, before_ms: int) -> Iterator[int]:
        """Clear the features of decisions from before a time; yield how many, in batches.

        Raises:
            JournalUnavailableError: It could not continue; what was done is done.
        """
        with self._writing():
            yield from pruning.forget_features(self._engine, before_ms)

    def known_units(self, units: Collection[bytes]) -> set[bytes]:
        """Return which of some sticky units have requests that are not archived.

        Raises:
            JournalUnavailableError: It cannot be read.
        """
        with self._reading() as connection:
            return pruning.known_units(connection, units)

    def forget_units(self, units: Collection[bytes]) -> Iterator[int]:
        """Clear the features of sticky units that are not archived; yield how many, in batches.

        Raises:
            JournalUnavailableError: It could not continue; what was done is done.
        """
        with self._writing():
            yield from pruning.forget_units(self._engine, units)

    def drain_log(self) -> bool:
        """Empty the write-ahead log of SQLite; return whether no reader held it."""
        with self._writing():
            return pruning.drain_log(self._engine)

    def give_back(self) -> None:
        """Give space that is not needed back to the disk; needs that no process writes.

        Raises:
            JournalUnavailableError: A process is writing.
        """
        with self._writing():
            pruning.give_back(self._engine)
