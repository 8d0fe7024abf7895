"""Decisions joined with their outcomes, row by row, for analysts."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, exists, select

from mlops.journal.feature_rows import ColumnNames
from mlops.journal.joining import same_decision
from mlops.journal.records import WHOLE_REQUEST, Value
from mlops.journal.rows import Row, prediction_of, truth_of
from mlops.journal.schema import decisions, outcomes
from mlops.journal.voiding import counts

_READ_AHEAD_ROWS = 2_000


@dataclass(frozen=True, slots=True)
class JoinedRow:
    """One row of one request, with one outcome if it has any.

    Attributes:
        nonce: Identity of the decision.
        time_ms: When the arm was drawn; None where the decision is not in the journal.
        revision: Revision that answered.
        arm: Position of the arm in it.
        propensity: Probability with which it was drawn; 0 if forced.
        epoch: Policy epoch of the revision that gave it; None where the decision is not here.
        status: HTTP status of the answer, if the decision is known.
        latency_us: From request read to answer written.
        protocol: Name of the codec.
        client_id: The caller's own id.
        unit: Keyed hash of the sticky unit.
        row: Row of the request from 0, or `WHOLE_REQUEST` for an outcome of all its rows.
        features: Column name to cell, or cells in order; None where they are not kept.
        prediction: What was predicted for it.
        outcome_ms: When its outcome arrived, if it has one.
        ordinal: 0 for the first outcome of the row, then counted on.
        reward: As sent.
        truth: As sent.
    """

    nonce: bytes
    time_ms: int | None
    revision: int
    arm: int
    propensity: float
    epoch: int | None
    status: int | None
    latency_us: int | None
    protocol: str | None
    client_id: str | None
    unit: bytes | None
    row: int
    features: dict[str, Any] | list[Any] | None
    prediction: Value
    outcome_ms: int | None
    ordinal: int
    reward: float | None
    truth: Value


def read_joined_rows(connection: Connection) -> Iterator[JoinedRow]:
    """Read every row of every request in order, then outcomes whose decision is not here.

    Memory does not grow with the journal.
    """
    d, o = decisions.c, outcomes.c
    asked = (
        select(
            *d, o.row, o.ordinal, o.reward, o.truth, o.truth_json,
            o.time_ms.label("outcome_ms"),
        )
        .select_from(decisions.outerjoin(outcomes, and_(same_decision(), counts())))
        .order_by(d.seq)
    )  # fmt: skip
    streamed = connection.execution_options(yield_per=_READ_AHEAD_ROWS)
    names = ColumnNames(connection)
    for _, group in itertools.groupby(streamed.execute(asked), key=lambda row: row.seq):
        yield from _request(list(group), names)
    alone = select(*o).where(~exists().where(same_decision()), counts()).order_by(o.seq)
    for row in streamed.execute(alone):
        yield JoinedRow(
            bytes(row.nonce), None, row.revision, row.arm, row.propensity, None, None, None, None,
            None, None, row.row, None, None, row.time_ms, row.ordinal, row.reward, truth_of(row),
        )  # fmt: skip


def _request(found: Sequence[Row], names: ColumnNames) -> Iterator[JoinedRow]:
    """Spread one decision over its rows, each with its outcomes or with none."""
    first = found[0]
    kept = None if first.features is None else names.kept(first.features, first.columns_id)
    by_row: dict[int, list[Row]] = {index: [] for index in range(first.n_rows)}
    for outcome in sorted((o for o in found if o.row is not None), key=lambda o: o.ordinal):
        index = 0 if outcome.row == WHOLE_REQUEST and first.n_rows == 1 else outcome.row
        if index < first.n_rows:
            by_row.setdefault(index, []).append(outcome)
    for index, answers in sorted(by_row.items()):
        for answer in answers or [None]:
            yield JoinedRow(
                nonce=bytes(first.nonce),
                time_ms=first.time_ms,
                revision=first.revision,
                arm=first.arm,
                propensity=first.propensity,
                epoch=first.epoch,
                status=first.status,
                latency_us=first.latency_us,
                protocol=first.protocol,
                client_id=first.client_id,
                unit=None if first.unit is None else bytes(first.unit),
                row=index,
                features=None if kept is None or index < 0 else kept.row(index),
                prediction=prediction_of(first.prediction, first.predictions, index),
                outcome_ms=answer.outcome_ms if answer else None,
                ordinal=answer.ordinal if answer else 0,
                reward=answer.reward if answer else None,
                truth=truth_of(answer) if answer else None,
            )
