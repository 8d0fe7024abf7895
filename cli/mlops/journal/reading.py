"""Queries of the tables, each on a connection that its caller owns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import orjson
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    and_,
    exists,
    func,
    literal_column,
    select,
)

from mlops.journal.feature_rows import ColumnNames, labelled_row
from mlops.journal.joining import same_decision
from mlops.journal.recording import weights_of
from mlops.journal.records import (
    DrawnRequest,
    LabelledRow,
    Observation,
    PolicyEpoch,
    RevisionEvent,
    ShadowPair,
    ShadowTruth,
    TrafficSlice,
    Value,
)
from mlops.journal.rows import Row, observation_of, prediction_of, predictions_of, truth_of
from mlops.journal.schema import (
    archives,
    decisions,
    epochs,
    losses,
    outcomes,
    revisions,
    shadow_decisions,
    voids,
)
from mlops.journal.voiding import count_voids, counts

_READ_AHEAD_ROWS = 5_000


def observations_query() -> Select[Any]:
    """Return the query for outcomes that count, with their decisions; unordered."""
    o, d = outcomes.c, decisions.c
    return (
        select(
            o.seq, o.nonce, o.row, o.time_ms, o.revision, o.arm, o.propensity, o.reward,
            o.truth, o.truth_json, o.ordinal, o.key_id, d.prediction, d.predictions, d.unit,
            d.time_ms.label("decided_ms"),
        )
        .select_from(outcomes.outerjoin(decisions, same_decision()))
        # Stored before its decision was, which turned out to have fewer rows.
        .where(d.n_rows.is_(None) | (o.row < d.n_rows), counts())
    )  # fmt: skip


def read_observations(
    connection: Connection, revisions: Iterable[int] | None
) -> Iterator[Observation]:
    """See `Evidence.observations`."""
    query = observations_query().order_by(outcomes.c.seq)
    if revisions is not None:
        query = query.where(outcomes.c.revision.in_(list(revisions)))
    yield from map(observation_of, _stream(connection, query))


def read_drawn_requests(connection: Connection, revisions: Iterable[int]) -> Iterator[DrawnRequest]:
    """See `Evidence.drawn_requests`."""
    d = decisions.c
    # Within a batch `seq` follows the nonce; the clock of the draw comes first.
    query = (
        select(
            d.nonce,
            d.time_ms,
            d.revision,
            d.arm,
            d.propensity,
            d.status,
            d.unit,
            d.latency_us,
            d.epoch,
        )
        .where(d.propensity > 0, d.revision.in_(list(revisions)))
        .order_by(d.time_ms, d.seq)
    )
    for nonce, time_ms, revision, arm, propensity, status, unit, latency_us, epoch in _stream(
        connection, query
    ):
        yield DrawnRequest(
            bytes(nonce), time_ms, revision, arm, propensity, status,
            None if unit is None else bytes(unit), latency_us, epoch,
        )  # fmt: skip


def read_cells(
    connection: Connection, revisions: Iterable[int], column: str
) -> Iterator[tuple[bytes, Value]]:
    """See `Evidence.cells`."""
    d = decisions.c
    query = select(d.nonce, d.features, d.columns_id).where(
        d.propensity > 0, d.revision.in_(list(revisions)), d.features.is_not(None)
    )
    names = ColumnNames(connection)
    for nonce, features, columns_id in _stream(connection, query):
        row = names.kept(features, columns_id).row(0)
        if isinstance(row, dict) and column in row:
            yield bytes(nonce), row[column]


def read_labelled_rows(connection: Connection, revisions: Iterable[int]) -> Iterator[LabelledRow]:
    """See `Evidence.labelled_rows`."""
    o, d = outcomes.c, decisions.c
    query = (
        select(
            d.nonce,
            d.unit,
            d.features,
            d.columns_id,
            d.n_rows,
            d.arm,
            d.propensity,
            d.revision,
            d.time_ms,
            o.row,
            o.truth,
            o.truth_json,
            o.key_id,
            o.time_ms.label("arrived_ms"),
            d.prediction,
            d.predictions,
        )
        .select_from(outcomes.join(decisions, same_decision()))
        .where(d.revision.in_(list(revisions)), d.features.is_not(None))
        .where(o.truth.is_not(None) | o.truth_json.is_not(None), o.row < d.n_rows, *_standing())
        .order_by(o.seq)
    )
    names = ColumnNames(connection)
    for row in _stream(connection, query):
        labelled = labelled_row(row, names)
        if labelled is not None:
            yield labelled


def read_traffic_over_time(
    connection: Connection, revisions: Iterable[int], width_ms: int
) -> list[TrafficSlice]:
    """See `Sums.traffic_over_time`."""
    d = decisions.c
    # A literal, since PostgreSQL takes two placeholders for two different groupings.
    stretch = d.time_ms // literal_column(str(int(width_ms)), BigInteger)
    query = (
        select(stretch, d.revision, d.arm, func.count())
        .where(d.propensity > 0, d.revision.in_(list(revisions)))
        .group_by(stretch, d.revision, d.arm)
        .order_by(stretch, d.revision, d.arm)
    )
    return [
        TrafficSlice(int(start) * width_ms, revision, arm, drawn)
        for start, revision, arm, drawn in connection.execute(query)
    ]


def read_revision_events(connection: Connection) -> list[RevisionEvent]:
    """See `History.revision_events`."""
    return [
        RevisionEvent(
            row.revision,
            row.time_ms,
            row.event,
            None if row.spec is None else orjson.loads(row.spec),
        )
        for row in connection.execute(select(revisions).order_by(revisions.c.seq))
    ]


def read_epochs(connection: Connection, chosen: Iterable[int] | None) -> list[PolicyEpoch]:
    """See `History.epochs`."""
    found: dict[tuple[int, int], PolicyEpoch] = {}
    for event in read_revision_events(connection):
        weights = weights_of(event)
        if weights is not None:
            found.setdefault((event.revision, 0), weights)
    for row in connection.execute(select(epochs)):
        found[row.revision, row.epoch] = _epoch(row)
    wanted = None if chosen is None else set(chosen)
    return [
        epoch
        for (revision, _), epoch in sorted(found.items())
        if wanted is None or revision in wanted
    ]


def read_newer_epoch(connection: Connection, revision: int, after: int) -> PolicyEpoch | None:
    """See `History.newer_epoch`."""
    query = select(epochs).where(epochs.c.revision == revision, epochs.c.epoch > after)
    row = connection.execute(query.order_by(epochs.c.epoch.desc()).limit(1)).first()
    return None if row is None else _epoch(row)


def _epoch(row: Row) -> PolicyEpoch:
    return PolicyEpoch(
        row.revision,
        row.epoch,
        row.time_ms,
        tuple(orjson.loads(row.probabilities)),
        None if row.parameters is None else orjson.loads(row.parameters),
    )


def read_losses(connection: Connection) -> dict[str, int]:
    """See `History.losses`."""
    query = select(losses.c.kind, func.sum(losses.c.n)).group_by(losses.c.kind)
    return {kind: int(count) for kind, count in connection.execute(query)}


def read_totals(connection: Connection) -> dict[str, int]:
    """See `Sums.totals`."""
    found = {"requests": decisions, "outcomes": outcomes}
    totals = {
        name: int(connection.execute(select(func.count()).select_from(table)).scalar_one())
        for name, table in found.items()
    }
    totals["outcomes"] -= count_voids(connection)
    a = archives.c
    # What is archived and not yet deleted here is counted once.
    moved = select(func.sum(a.requests), func.sum(a.outcomes - a.outcomes_left), func.max(a.upto))
    requests, rated, upto = connection.execute(moved).one()
    if upto is not None:
        left = select(func.count()).where(decisions.c.seq <= upto)
        totals["requests"] += int(requests) - connection.execute(left).scalar_one()
        totals["outcomes"] += int(rated)
    return totals


def read_shadow_pairs(connection: Connection, revisions: Iterable[int]) -> Iterator[ShadowPair]:
    """See `ShadowReader.shadow_pairs`."""
    s, d = shadow_decisions.c, decisions.c
    query = (
        select(
            s.revision, s.shadow, s.status, s.latency_us, s.prediction, s.predictions, d.arm,
            d.status.label("served_status"), d.latency_us.label("served_latency_us"),
            d.prediction.label("served_prediction"), d.predictions.label("served_predictions"),
        )
        .select_from(shadow_decisions.outerjoin(decisions, _same_request()))
        .where(s.revision.in_(list(revisions)))
        .order_by(s.seq)
    )  # fmt: skip
    for row in _stream(connection, query):
        yield ShadowPair(
            revision=row.revision,
            shadow=row.shadow,
            status=row.status,
            latency_us=row.latency_us,
            predictions=predictions_of(row.prediction, row.predictions),
            arm=row.arm,
            served_status=row.served_status,
            served_latency_us=row.served_latency_us,
            served_predictions=predictions_of(row.served_prediction, row.served_predictions),
        )


def read_shadow_truths(connection: Connection, revisions: Iterable[int]) -> Iterator[ShadowTruth]:
    """See `ShadowReader.shadow_truths`."""
    o, d, s = outcomes.c, decisions.c, shadow_decisions.c
    query = (
        select(
            s.revision, s.shadow, s.prediction, s.predictions, o.row, o.truth, o.truth_json,
            d.arm, d.prediction.label("served_prediction"),
            d.predictions.label("served_predictions"),
        )
        .select_from(
            outcomes.join(decisions, same_decision()).join(shadow_decisions, _same_request())
        )
        .where(s.revision.in_(list(revisions)), o.row < d.n_rows)
        .where(o.truth.is_not(None) | o.truth_json.is_not(None), *_standing())
        .order_by(o.seq)
    )  # fmt: skip
    for row in _stream(connection, query):
        yield ShadowTruth(
            revision=row.revision,
            shadow=row.shadow,
            arm=row.arm,
            prediction=prediction_of(row.prediction, row.predictions, row.row),
            served=prediction_of(row.served_prediction, row.served_predictions, row.row),
            truth=truth_of(row),
        )


def _standing() -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """Conditions on `outcomes`: its truth is neither voided nor replaced by a later one."""
    later = outcomes.alias("later")
    corrected = exists().where(
        later.c.nonce == outcomes.c.nonce,
        later.c.row == outcomes.c.row,
        later.c.ordinal > outcomes.c.ordinal,
        later.c.truth.is_not(None) | later.c.truth_json.is_not(None),
        ~exists().where(voids.c.outcome == later.c.seq),
    )
    return counts(), ~corrected


def _same_request() -> ColumnElement[bool]:
    return and_(
        shadow_decisions.c.nonce == decisions.c.nonce,
        shadow_decisions.c.revision == decisions.c.revision,
    )


def _stream(connection: Connection, query: Select[Any]) -> Iterable[Row]:
    """Read the rows of a long result in batches."""
    return connection.execution_options(yield_per=_READ_AHEAD_ROWS).execute(query)
