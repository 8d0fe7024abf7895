"""Requests and outcomes as columns, for experiments too large for an object each.

Rows go from the driver into arrays, some at a time, in the order in which they are stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import chain
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Select, select

from mlops.journal.schema import decisions, outcomes
from mlops.journal.voiding import counts

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
_Columns = TypeVar("_Columns", "RequestColumns", "OutcomeColumns")

_AT_ONCE = 50_000
# As in `joining`: older builds of SQLite take 999 variables.
_KEYS_PER_QUERY = 900


@dataclass(frozen=True, slots=True)
class RequestColumns:
    """Requests for which the policy drew an arm, n of them, in the order of the log.

    Attributes:
        times_ms: When, (n,), milliseconds since 1970 in UTC.
        revisions: Revision that answered, (n,).
        arms: Position of the arm in it, (n,).
        epochs: Policy epoch, (n,).
        statuses: HTTP status of the answer, (n,).
        sticky: Whether it has a sticky unit, (n,).
    """

    times_ms: Ints
    revisions: Ints
    arms: Ints
    epochs: Ints
    statuses: Ints
    sticky: Bools


@dataclass(frozen=True, slots=True)
class OutcomeColumns:
    """Outcomes of drawn requests that count, n of them, in order of arrival.

    Attributes:
        seqs: Their offsets in the log, (n,).
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
        sticky: Whether the decision has a sticky unit, (n,).
    """

    seqs: Ints
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
    sticky: Bools

    @property
    def matched(self) -> NDArray[np.bool_]:
        """Whether the decision is of the revision and arm that the outcome names, (n,)."""
        same = (self.request_revisions == self.revisions) & (self.request_arms == self.arms)
        return np.asarray((self.requests > 0) & same)


def read_request_columns(
    connection: Connection,
    revisions: Iterable[int] | None,
    after: int = 0,
    upto: int | None = None,
) -> Iterator[RequestColumns]:
    """Read drawn requests; see `Evidence.request_columns`.

    Args:
        connection: To the journal.
        revisions: Only requests that these answered; None for all.
        after: Offset after which they begin.
        upto: Offset of the last of them; that of the log by default.
    """
    d = decisions.c
    query = _between(
        select(d.time_ms, d.revision, d.arm, d.epoch, d.status, d.unit)
        .where(d.propensity > 0)
        .order_by(d.seq),
        d, revisions, after, upto,
    )  # fmt: skip
    for columns in _chunks(connection, query):
        yield _request_columns(columns)


def no_requests() -> RequestColumns:
    """Return columns of no requests."""
    return _request_columns([()] * 6)


def _request_columns(columns: list[tuple[Any, ...]]) -> RequestColumns:
    times, revisions, arms, epochs, statuses = (_ints(column) for column in columns[:5])
    return RequestColumns(times, revisions, arms, epochs, statuses, _is_there(columns[5]))


def read_outcome_columns(
    connection: Connection,
    revisions: Iterable[int] | None,
    after: int = 0,
    upto: int | None = None,
    only: Sequence[int] | None = None,
    *,
    voided_too: bool = False,
) -> Iterator[OutcomeColumns]:
    """Read outcomes of drawn requests that count; see `Evidence.outcome_columns`.

    Args:
        connection: To the journal.
        revisions: Only outcomes of these; None for all.
        after: Offset after which they begin.
        upto: Offset of the last of them; that of the log by default.
        only: Offsets of the only ones; None for all.
        voided_too: Also read those that no longer count.
    """
    o, d = outcomes.c, decisions.c
    query = _between(
        select(
            o.nonce, o.row, o.time_ms, o.revision, o.arm, o.propensity, o.reward, o.truth,
            o.truth_json, d.seq, d.time_ms, d.revision, d.arm, d.propensity, d.epoch, d.n_rows,
            d.prediction, d.predictions, d.unit, o.seq,
        )
        # A nonce is unique, and the decision may be of another revision or arm than the outcome.
        .select_from(outcomes.outerjoin(decisions, d.nonce == o.nonce))
        .where(o.propensity > 0, *([] if voided_too else [counts()]))
        .order_by(o.seq),
        o, revisions, after, upto,
    )  # fmt: skip
    if only is None:
        pieces = [query]
    else:
        steps = range(0, len(only), _KEYS_PER_QUERY)
        pieces = [query.where(o.seq.in_(only[at : at + _KEYS_PER_QUERY])) for at in steps]
    for piece in pieces:
        for columns in _chunks(connection, piece):
            yield _outcome_columns(columns)


def _between(
    query: Select[Any],
    table: Any,  # noqa: ANN401 - columns of either table
    revisions: Iterable[int] | None,
    after: int,
    upto: int | None,
) -> Select[Any]:
    if revisions is not None:
        query = query.where(table.revision.in_(list(revisions)))
    if after:
        query = query.where(table.seq > after)
    return query if upto is None else query.where(table.seq <= upto)


def _outcome_columns(columns: list[tuple[Any, ...]]) -> OutcomeColumns:
    found = OutcomeColumns(
        seqs=_ints(columns[19]),
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
        sticky=_is_there(columns[18]),
    )
    # Stored before its decision was, which turned out to have fewer rows.
    beyond = found.matched & (found.rows >= _ints(columns[15]))
    return picked(found, ~beyond) if beyond.any() else found


def names(kind: type[Any]) -> list[str]:
    """Names of the columns of requests or outcomes, in order."""
    return [each.name for each in fields(kind)]


def picked(columns: _Columns, chosen: Bools | Ints) -> _Columns:
    """Return some of the rows: those chosen by a mask, or by their positions in order."""
    at = np.flatnonzero(chosen) if chosen.dtype == np.bool_ else chosen
    positions = at.tolist()
    found: dict[str, Any] = {}
    for name in names(type(columns)):
        values = getattr(columns, name)
        found[name] = (
            values[at] if isinstance(values, np.ndarray) else [values[each] for each in positions]
        )
    return type(columns)(**found)


def after_first(pieces: Iterable[_Columns], count: int) -> Iterator[_Columns]:
    """Yield the rows of pieces but the first so many."""
    for piece in pieces:
        size = piece.revisions.size
        if size > count:
            yield picked(piece, np.arange(count, size)) if count else piece
        count = max(0, count - size)


def of_revisions(columns: _Columns, revisions: Sequence[int]) -> _Columns:
    """Return the rows of some revisions."""
    chosen = np.isin(columns.revisions, revisions)
    return columns if chosen.all() else picked(columns, chosen)


def joined(pieces: Iterable[OutcomeColumns]) -> OutcomeColumns:
    """Concatenate pieces, in their order."""
    found = list(pieces) or [_outcome_columns([()] * 20)]
    columns: dict[str, Any] = {}
    for name in names(OutcomeColumns):
        values = [getattr(piece, name) for piece in found]
        is_array = isinstance(values[0], np.ndarray)
        columns[name] = np.concatenate(values) if is_array else list(chain.from_iterable(values))
    return OutcomeColumns(**columns)


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


def _is_there(column: tuple[Any, ...]) -> Bools:
    if column.count(None) == len(column):
        return np.zeros(len(column), dtype=np.bool_)
    return np.array([value is not None for value in column], dtype=np.bool_)


def _ints(column: tuple[Any, ...]) -> Ints:
    """Whole numbers; 0 for null."""
    try:
        return np.array(column, dtype=np.int64)
    except TypeError:
        return np.array([value or 0 for value in column], dtype=np.int64)


def _floats(column: tuple[Any, ...]) -> Floats:
    """Numbers; NaN for null."""
    return np.array(column, dtype=np.float64)
