"""Requests and outcomes as columns, for experiments too large for an object each.

Rows go from the driver into arrays, some at a time, in the order in which they are stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Select, select

from mlops.journal.schema import decisions, outcomes
from mlops.journal.voiding import counts

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_AT_ONCE = 50_000


@dataclass(frozen=True, slots=True)
class RequestColumns:
    """Requests for which the policy drew an arm, n of them, in the order of the log.

    Attributes:
        times_ms: When, (n,), milliseconds since 1970 in UTC.
        revisions: Revision that answered, (n,).
        arms: Position of the arm in it, (n,).
        epochs: Policy epoch, (n,).
        statuses: HTTP status of the answer, (n,).
        sticky: Whether any of them has a sticky unit.
    """

    times_ms: Ints
    revisions: Ints
    arms: Ints
    epochs: Ints
    statuses: Ints
    sticky: bool


@dataclass(frozen=True, slots=True)
class OutcomeColumns:
    """Outcomes of drawn requests that count, n of them, in order of arrival.

    Attributes:
        nonces: Identity of the decision, as 12 bytes each.
        rows: Row of the request, (n,).
        times_ms: When the feedback arrived, (n,), milliseconds since 1970 in UTC.
        revisions: Revision that its request id names, (n,).
        arms: Arm that it names, (n,).
        propensities: Probability with which that arm was drawn, (n,).
        rewards: Reward as sent, (n,); NaN for none.
        truths: Truth as sent, (n,), where it is one number; else NaN.
        truth_texts: Any other truth, as JSON.
        requests: `seq` of the decision with that nonce, (n,); 0 where there is none.
        request_times_ms: When its arm was drawn, (n,).
        request_revisions: Its revision, (n,), which a retry may have met under another one.
        request_arms: Its arm, (n,).
        request_propensities: Probability with which its arm was drawn, (n,); 0 if forced.
        request_epochs: Its policy epoch, (n,).
        predictions: Prediction where that is one number, (n,); else NaN.
        prediction_texts: Any other predictions, as JSON.
        sticky: Whether any of the decisions has a sticky unit.
    """

    nonces: Sequence[bytes]
    rows: Ints
    times_ms: Ints
    revisions: Ints
    arms: Ints
    propensities: Floats
    rewards: Floats
    truths: Floats
    truth_texts: Sequence[str | None]
    requests: Ints
    request_times_ms: Ints
    request_revisions: Ints
    request_arms: Ints
    request_propensities: Floats
    request_epochs: Ints
    predictions: Floats
    prediction_texts: Sequence[str | None]
    sticky: bool

    @property
    def matched(self) -> NDArray[np.bool_]:
        """Whether the decision is of the revision and arm that the outcome names, (n,)."""
        same = (self.request_revisions == self.revisions) & (self.request_arms == self.arms)
        return np.asarray((self.requests > 0) & same)


def read_request_columns(
    connection: Connection, revisions: Iterable[int]
) -> Iterator[RequestColumns]:
    """See `Evidence.request_columns`."""
    d = decisions.c
    query = (
        select(d.time_ms, d.revision, d.arm, d.epoch, d.status, d.unit)
        .where(d.propensity > 0, d.revision.in_(list(revisions)))
        .order_by(d.seq)
    )
    for columns in _chunks(connection, query):
        times, revision, arms, epochs, statuses = (_ints(column) for column in columns[:5])
        sticky = columns[5].count(None) < len(columns[5])
        yield RequestColumns(times, revision, arms, epochs, statuses, sticky)


def read_outcome_columns(
    connection: Connection, revisions: Iterable[int]
) -> Iterator[OutcomeColumns]:
    """See `Evidence.outcome_columns`."""
    o, d = outcomes.c, decisions.c
    query = (
        select(
            o.nonce, o.row, o.time_ms, o.revision, o.arm, o.propensity, o.reward, o.truth,
            o.truth_json, d.seq, d.time_ms, d.revision, d.arm, d.propensity, d.epoch, d.n_rows,
            d.prediction, d.predictions, d.unit,
        )
        # A nonce is unique, and the decision may be of another revision or arm than the outcome.
        .select_from(outcomes.outerjoin(decisions, d.nonce == o.nonce))
        .where(o.revision.in_(list(revisions)), o.propensity > 0, counts())
        .order_by(o.seq)
    )  # fmt: skip
    for columns in _chunks(connection, query):
        yield _outcome_columns(columns)


def _outcome_columns(columns: list[tuple[Any, ...]]) -> OutcomeColumns:
    found = OutcomeColumns(
        nonces=columns[0],
        rows=_ints(columns[1]),
        times_ms=_ints(columns[2]),
        revisions=_ints(columns[3]),
        arms=_ints(columns[4]),
        propensities=_floats(columns[5]),
        rewards=_floats(columns[6]),
        truths=_floats(columns[7]),
        truth_texts=columns[8],
        requests=_ints(columns[9]),
        request_times_ms=_ints(columns[10]),
        request_revisions=_ints(columns[11]),
        request_arms=_ints(columns[12]),
        request_propensities=_floats(columns[13]),
        request_epochs=_ints(columns[14]),
        predictions=_floats(columns[16]),
        prediction_texts=columns[17],
        sticky=columns[18].count(None) < len(columns[18]),
    )
    # Stored before its decision was, which turned out to have fewer rows.
    beyond = found.matched & (found.rows >= _ints(columns[15]))
    if not beyond.any():
        return found
    kept = np.flatnonzero(~beyond).tolist()
    return _outcome_columns([tuple(column[at] for at in kept) for column in columns])


def _chunks(connection: Connection, query: Select[Any]) -> Iterator[list[tuple[Any, ...]]]:
    if connection.dialect.name != "sqlite":
        result = connection.execution_options(yield_per=_AT_ONCE).execute(query)
        yield from (list(zip(*rows, strict=True)) for rows in result.partitions())
        return
    # As the driver gives them: a row object for each would take as long as all the rest.
    result = connection.execute(query)
    cursor = result.cursor
    assert cursor is not None
    while rows := cursor.fetchmany(_AT_ONCE):
        yield list(zip(*rows, strict=True))
    result.close()


def _ints(column: tuple[Any, ...]) -> Ints:
    """Whole numbers; 0 for null."""
    try:
        return np.array(column, dtype=np.int64)
    except TypeError:
        return np.array([value or 0 for value in column], dtype=np.int64)


def _floats(column: tuple[Any, ...]) -> Floats:
    """Numbers; NaN for null."""
    return np.array(column, dtype=np.float64)
