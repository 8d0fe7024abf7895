"""The journal in a SQL database: SQLite on one machine, PostgreSQL where replicas share it."""

from __future__ import annotations

import contextlib
import math
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import orjson
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    and_,
    case,
    distinct,
    func,
    insert,
    literal_column,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from mlops.journal.base import JournalFullError, JournalUnavailableError
from mlops.journal.engine import open_engine
from mlops.journal.labelled import labelled_row
from mlops.journal.records import (
    WHOLE_REQUEST,
    Decision,
    Fate,
    LabelledRow,
    NewOutcome,
    Observation,
    RevisionEvent,
    StoredOutcome,
    Traffic,
    TrafficSlice,
    Value,
)
from mlops.journal.schema import decisions, losses, outcomes, revisions
from mlops.protocols.json_body import plain, write_text

# SQLite allows 32,766 variables in a statement since 3.32; older builds 999.
_KEYS_PER_QUERY = 900
_READ_AHEAD_ROWS = 5_000
# PostgreSQL's code, https://www.postgresql.org/docs/current/errcodes-appendix.html.
_DISK_FULL = "53100"
# Characters of a client's id; PostgreSQL indexes 2,704 bytes, and its text holds no zero.
_MAX_CLIENT_ID = 500

# A result row; its type differs between the minor versions of SQLAlchemy we accept.
_Row: TypeAlias = Any


class SqlJournal:
    """A `Journal` behind a SQLAlchemy URL.

    Args:
        url: For example `sqlite:////folder/wine.db`.

    Raises:
        InvalidInputError: The URL or the tables are not ours to use.
        RemoteError: The database cannot be reached.
    """

    def __init__(self, url: str) -> None:
        self._engine = open_engine(url)
        dialect = sqlite if self._engine.dialect.name == "sqlite" else postgresql
        self._insert_decisions = dialect.insert(decisions).on_conflict_do_nothing()
        self._insert_outcomes = (
            dialect.insert(outcomes)
            .on_conflict_do_nothing()
            .returning(outcomes.c.nonce, outcomes.c.row)
        )

    def append(
        self, decisions: Sequence[Decision], outcomes: Sequence[NewOutcome]
    ) -> list[StoredOutcome]:
        """See `Journal.append`."""
        with self._transaction() as connection:
            if decisions:
                connection.execute(self._insert_decisions, [_decision(d) for d in decisions])
            return self._store(connection, outcomes) if outcomes else []

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """Commit what the block does, or nothing of it."""
        try:
            with self._engine.begin() as connection:
                yield connection
        except (DataError, IntegrityError):
            # The rows are at fault, not the database: trying again would fail for ever.
            raise
        except DBAPIError as error:
            kind = JournalFullError if _is_full(error.orig) else JournalUnavailableError
            raise kind(
                f"The journal could not be written: {error.orig}.",
                hint="Free space or mend the database, then send it again.",
            ) from error

    def _store(self, connection: Connection, batch: Sequence[NewOutcome]) -> list[StoredOutcome]:
        """Join a batch to its decisions, insert what can be stored, and tell each one's fate."""
        matches = _by_nonce(connection, {o.nonce for o in batch if o.nonce is not None})
        named = _by_client_id(connection, {o.client_id for o in batch if o.nonce is None})
        joined = [_join(outcome, matches, named) for outcome in batch]
        early = _whole_requests(connection, {o.nonce for o in batch if o.nonce is not None})
        joined = [_not_again(item, early) for item in joined]
        rows: dict[tuple[bytes | None, int], dict[str, Any]] = {}
        for item in joined:
            if item.fate in (Fate.ACCEPTED, Fate.UNMATCHED):
                rows.setdefault((item.outcome.nonce, item.outcome.row), _outcome(item.outcome))
        fresh: set[tuple[bytes | None, int]] = set()
        if rows:
            fresh = {
                (bytes(nonce), row)
                for nonce, row in connection.execute(self._insert_outcomes, list(rows.values()))
            }
        return [_settle(item, fresh) for item in joined]

    def record_loss(self, kind: str, count: int, time_ms: int) -> None:
        """See `Journal.record_loss`."""
        with self._transaction() as connection:
            connection.execute(insert(losses).values(time_ms=time_ms, kind=kind, n=count))

    def record_revision(self, event: RevisionEvent) -> None:
        """See `Journal.record_revision`."""
        spec = None if event.spec is None else _json(event.spec)
        with self._transaction() as connection:
            connection.execute(
                insert(revisions).values(
                    revision=event.revision, time_ms=event.time_ms, event=event.event, spec=spec
                )
            )

    def observations(self, revisions: Iterable[int] | None = None) -> Iterator[Observation]:
        """See `Journal.observations`."""
        o, d = outcomes.c, decisions.c
        query = (
            select(
                o.seq, o.nonce, o.row, o.time_ms, o.revision, o.arm, o.propensity, o.reward,
                o.truth, o.truth_json, d.prediction, d.predictions, d.unit,
                d.time_ms.label("decided_ms"),
            )
            .select_from(outcomes.outerjoin(decisions, _same_decision()))
            # Stored before its decision was, which turned out to have fewer rows.
            .where(d.n_rows.is_(None) | (o.row < d.n_rows))
            .order_by(o.seq)
        )  # fmt: skip
        if revisions is not None:
            query = query.where(o.revision.in_(list(revisions)))
        with self._engine.connect() as connection:
            result = connection.execution_options(yield_per=_READ_AHEAD_ROWS).execute(query)
            yield from map(_observation, result)

    def labelled_rows(self, revisions: Iterable[int]) -> Iterator[LabelledRow]:
        """See `Journal.labelled_rows`."""
        o, d = outcomes.c, decisions.c
        query = (
            select(d.nonce, d.unit, d.features, d.n_rows, o.row, o.truth, o.truth_json)
            .select_from(outcomes.join(decisions, _same_decision()))
            .where(d.revision.in_(list(revisions)), d.features.is_not(None))
            .where(o.truth.is_not(None) | o.truth_json.is_not(None), o.row < d.n_rows)
            .order_by(o.seq)
        )
        with self._engine.connect() as connection:
            result = connection.execution_options(yield_per=_READ_AHEAD_ROWS).execute(query)
            for row in result:
                labelled = labelled_row(row)
                if labelled is not None:
                    yield labelled

    def traffic(self) -> list[Traffic]:
        """See `Journal.traffic`."""
        d = decisions.c
        drawn = d.propensity > 0
        query = (
            select(
                d.revision,
                d.arm,
                _count(drawn),
                # A decision without a sticky unit is its own unit.
                func.count(distinct(case((drawn, func.coalesce(d.unit, d.nonce))))),
                _count(d.propensity == 0),
                _count(d.status >= 500),
                func.sum(d.n_rows),
                func.coalesce(func.avg(case((drawn, d.latency_us))), 0.0),
                func.min(d.time_ms),
                func.max(d.time_ms),
            )
            .group_by(d.revision, d.arm)
            .order_by(d.revision, d.arm)
        )
        with self._engine.connect() as connection:
            rows: list[_Row] = list(connection.execute(query))
        return [
            Traffic(
                revision=row[0],
                arm=row[1],
                drawn=row[2],
                units=row[3],
                forced=row[4],
                errors=row[5],
                rows=int(row[6]),
                latency_us_mean=float(row[7]),
                first_ms=row[8],
                last_ms=row[9],
            )
            for row in rows
        ]

    def traffic_over_time(self, revisions: Iterable[int], width_ms: int) -> list[TrafficSlice]:
        """See `Journal.traffic_over_time`."""
        d = decisions.c
        # A literal, since PostgreSQL takes two placeholders for two different groupings.
        stretch = d.time_ms // literal_column(str(int(width_ms)), BigInteger)
        query = (
            select(stretch, d.revision, d.arm, func.count())
            .where(d.propensity > 0, d.revision.in_(list(revisions)))
            .group_by(stretch, d.revision, d.arm)
            .order_by(stretch, d.revision, d.arm)
        )
        with self._engine.connect() as connection:
            return [
                TrafficSlice(int(start) * width_ms, revision, arm, drawn)
                for start, revision, arm, drawn in connection.execute(query)
            ]

    def revision_events(self) -> list[RevisionEvent]:
        """See `Journal.revision_events`."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(revisions).order_by(revisions.c.seq)).all()
        return [
            RevisionEvent(
                row.revision,
                row.time_ms,
                row.event,
                None if row.spec is None else orjson.loads(row.spec),
            )
            for row in rows
        ]

    def losses(self) -> dict[str, int]:
        """See `Journal.losses`."""
        query = select(losses.c.kind, func.sum(losses.c.n)).group_by(losses.c.kind)
        with self._engine.connect() as connection:
            return {kind: int(count) for kind, count in connection.execute(query)}

    def close(self) -> None:
        """See `Journal.close`."""
        self._engine.dispose()


def _is_full(error: object) -> bool:
    """Whether a database says that its disk is full, be it SQLite or PostgreSQL."""
    # The low byte is the primary code, https://sqlite.org/rescode.html#extrc.
    primary = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return primary == sqlite3.SQLITE_FULL or getattr(error, "sqlstate", "") == _DISK_FULL


def _count(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.count(case((condition, 1)))


def _same_decision() -> ColumnElement[bool]:
    """Join condition of outcomes and decisions.

    A retry after a change of weights may have been answered by another arm than the decision
    that stands; its outcome keeps the arm of its own request id and is joined to no prediction.
    """
    return and_(
        decisions.c.nonce == outcomes.c.nonce,
        decisions.c.revision == outcomes.c.revision,
        decisions.c.arm == outcomes.c.arm,
    )


def _decision(decision: Decision) -> dict[str, Any]:
    number, text = _split_predictions(decision.predictions)
    return {
        "nonce": decision.nonce,
        "time_ms": decision.time_ms,
        "revision": decision.revision,
        "arm": decision.arm,
        "propensity": decision.propensity,
        "n_rows": decision.n_rows,
        "latency_us": decision.latency_us,
        "status": decision.status,
        "protocol": decision.protocol,
        "client_id": decision.client_id if _is_kept(decision.client_id) else None,
        "unit": decision.unit,
        "features": None if decision.features is None else _json(decision.features),
        "prediction": number,
        "predictions": text,
    }


def _split_predictions(predictions: list[Any] | None) -> tuple[float | None, str | None]:
    if predictions is None:
        return None, None
    if len(predictions) == 1 and isinstance(predictions[0], float):
        # Like JSON, evidence knows neither NaN nor infinity.
        return (predictions[0], None) if math.isfinite(predictions[0]) else (None, None)
    return None, _json(predictions)


def _is_kept(client_id: str | None) -> bool:
    """Whether an id can be stored and looked up; callers choose it, and may choose nonsense."""
    return client_id is None or (len(client_id) <= _MAX_CLIENT_ID and "\0" not in client_id)


def _outcome(outcome: NewOutcome) -> dict[str, Any]:
    is_number = isinstance(outcome.truth, float)
    return {
        "nonce": outcome.nonce,
        "row": outcome.row,
        "time_ms": outcome.time_ms,
        "revision": outcome.revision,
        "arm": outcome.arm,
        "propensity": outcome.propensity,
        "reward": outcome.reward,
        "truth": outcome.truth if is_number else None,
        "truth_json": None if is_number or outcome.truth is None else _json(outcome.truth),
    }


def _by_nonce(connection: Connection, nonces: set[bytes]) -> dict[bytes, _Row]:
    found = {}
    keys = sorted(nonces)
    for start in range(0, len(keys), _KEYS_PER_QUERY):
        chunk = keys[start : start + _KEYS_PER_QUERY]
        query = select(*_JOINED).where(decisions.c.nonce.in_(chunk))
        found.update({bytes(row.nonce): row for row in connection.execute(query)})
    return found


def _by_client_id(
    connection: Connection, client_ids: set[str | None]
) -> dict[str | None, list[_Row]]:
    found: dict[str | None, list[_Row]] = {}
    for client_id in client_ids:
        # Two are enough to know that the id is not unique; a constant id may have a million.
        query = select(*_JOINED).where(decisions.c.client_id == client_id).limit(2)
        found[client_id] = list(connection.execute(query)) if _is_kept(client_id) else []
    return found


_JOINED = (
    decisions.c.nonce,
    decisions.c.revision,
    decisions.c.arm,
    decisions.c.propensity,
    decisions.c.n_rows,
    decisions.c.prediction,
    decisions.c.predictions,
)


def _join(
    outcome: NewOutcome,
    matches: dict[bytes, _Row],
    named: dict[str | None, list[_Row]],
) -> StoredOutcome:
    if outcome.nonce is not None:
        decision = matches.get(outcome.nonce)
        if decision is None or (decision.revision, decision.arm) != (outcome.revision, outcome.arm):
            return StoredOutcome(Fate.UNMATCHED, outcome)
    else:
        candidates = named[outcome.client_id]
        if len(candidates) != 1:
            return StoredOutcome(Fate.AMBIGUOUS if candidates else Fate.UNKNOWN, outcome)
        decision = candidates[0]
        outcome = replace(
            outcome,
            nonce=bytes(decision.nonce),
            revision=decision.revision,
            arm=decision.arm,
            propensity=decision.propensity,
        )
    if outcome.row >= decision.n_rows:
        return StoredOutcome(Fate.NO_SUCH_ROW, outcome)
    single = decision.n_rows == 1
    if single:
        # Its only row and the whole of it are one thing, which must not be credited twice.
        outcome = replace(outcome, row=0)
    return StoredOutcome(Fate.ACCEPTED, outcome, _prediction(decision, outcome.row), single)


def _whole_requests(connection: Connection, nonces: set[bytes]) -> set[bytes | None]:
    """Which of these requests have feedback about the whole of them already."""
    found: set[bytes | None] = set()
    keys = sorted(nonces)
    for start in range(0, len(keys), _KEYS_PER_QUERY):
        chunk = keys[start : start + _KEYS_PER_QUERY]
        query = select(outcomes.c.nonce).where(
            outcomes.c.nonce.in_(chunk), outcomes.c.row == WHOLE_REQUEST
        )
        found.update(bytes(nonce) for (nonce,) in connection.execute(query))
    return found


def _not_again(item: StoredOutcome, early: set[bytes | None]) -> StoredOutcome:
    """Turn feedback about the only row of a request into a duplicate of that about the whole.

    Feedback about the whole came before its decision was known to have a single row.
    """
    again = item.fate is Fate.ACCEPTED and item.single_row and item.outcome.nonce in early
    return replace(item, fate=Fate.DUPLICATE) if again else item


def _settle(item: StoredOutcome, fresh: set[tuple[bytes | None, int]]) -> StoredOutcome:
    """Turn what was already there, or came twice in the batch, into a duplicate."""
    if item.fate not in (Fate.ACCEPTED, Fate.UNMATCHED):
        return item
    key = (item.outcome.nonce, item.outcome.row)
    if key in fresh:
        fresh.discard(key)
        return item
    return replace(item, fate=Fate.DUPLICATE)


def _prediction(row: _Row, index: int) -> Value:
    """Prediction of one row; that of a whole request only if it has a single row."""
    if row.prediction is not None:
        return float(row.prediction)
    if row.predictions is None:
        return None
    values = orjson.loads(row.predictions)
    if index == WHOLE_REQUEST:
        index = 0 if len(values) == 1 else len(values)
    value: Value = values[index] if index < len(values) else None
    return value


def _observation(row: _Row) -> Observation:
    truth: Value = row.truth if row.truth_json is None else orjson.loads(row.truth_json)
    return Observation(
        seq=row.seq,
        nonce=bytes(row.nonce),
        row=row.row,
        time_ms=row.time_ms,
        revision=row.revision,
        arm=row.arm,
        propensity=row.propensity,
        reward=row.reward,
        truth=truth,
        prediction=_prediction(row, row.row),
        unit=None if row.unit is None else bytes(row.unit),
        decided_ms=row.decided_ms,
    )


def _json(value: Any) -> str:  # noqa: ANN401 - any JSON data
    try:
        return orjson.dumps(value, default=_as_list, option=orjson.OPT_SERIALIZE_NUMPY).decode()
    except orjson.JSONEncodeError:
        # Whole numbers beyond 64 bits, broken text: rare, but one row must not lose its batch.
        if isinstance(value, list):
            return f"[{','.join(map(_json, value))}]"
        return orjson.dumps(_simplified(value)).decode()


def _simplified(value: Any) -> Any:  # noqa: ANN401 - any JSON data
    try:
        return plain(value)
    except (TypeError, RecursionError):
        return write_text(str(value)).decode()


def _as_list(value: Any) -> Any:  # noqa: ANN401 - what orjson cannot write by itself
    """Write arrays that orjson cannot (strided, of objects) as lists, anything else as text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)
