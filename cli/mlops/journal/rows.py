"""Records as rows of the tables, and rows as records."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, TypeAlias

import orjson

from mlops.journal.json_text import as_json
from mlops.journal.records import (
    WHOLE_REQUEST,
    Decision,
    NewOutcome,
    Observation,
    ShadowDecision,
    Value,
)

# Characters of a client's id; PostgreSQL indexes 2,704 bytes, and its text holds no zero.
_MAX_CLIENT_ID = 500

#: Columns of the table that `decision_rows` fills, in order, with their types in PostgreSQL.
DECISION_COLUMNS = {
    "nonce": "bytea", "time_ms": "bigint", "revision": "integer", "arm": "smallint",
    "propensity": "float8", "n_rows": "integer", "latency_us": "bigint", "status": "smallint",
    "protocol": "text", "client_id": "text", "unit": "bytea", "features": "text",
    "prediction": "float8", "predictions": "text", "epoch": "integer", "columns_id": "integer",
    "key_id": "text",
}  # fmt: skip
DecisionRow: TypeAlias = tuple[Any, ...]

# A result row; its type differs between the supported minor versions of SQLAlchemy.
Row: TypeAlias = Any


def decision_rows(decisions: Iterable[Decision], ids: Mapping[bytes, int]) -> list[DecisionRow]:
    """Return decisions as rows of `DECISION_COLUMNS`.

    Args:
        decisions: What to write.
        ids: Key of each list of column names in `feature_columns`.
    """
    rows: list[DecisionRow] = []
    for (
        nonce, time_ms, revision, arm, propensity, n_rows, latency_us, status, protocol, client_id,
        unit, features, predictions, epoch, key_id,
    ) in decisions:  # fmt: skip
        columns_id = cells = None
        if features is not None:
            names, _, written = features.partition(b"\n")
            columns_id, cells = ids[names], written.decode()
        number, text = _split_predictions(predictions)
        kept_id = client_id if client_id is not None and is_kept(client_id) else None
        rows.append((
            nonce, time_ms, revision, arm, propensity, n_rows, latency_us, status, protocol,
            kept_id, unit, cells, number, text, epoch, columns_id, key_id,
        ))  # fmt: skip
    return rows


def names_in(decisions: Iterable[Decision]) -> set[bytes]:
    """Return the different lists of column names that decisions have, as JSON."""
    return {
        features[: features.index(b"\n")]
        for decision in decisions
        if (features := decision.features) is not None
    }


def _split_predictions(predictions: list[Any] | None) -> tuple[float | None, str | None]:
    if predictions is None:
        return None, None
    if len(predictions) == 1 and isinstance(predictions[0], float):
        # Like JSON, evidence has neither NaN nor infinity.
        return (predictions[0], None) if math.isfinite(predictions[0]) else (None, None)
    return None, as_json(predictions)


def is_kept(client_id: str | None) -> bool:
    """Whether an id can be stored and looked up; callers choose it, and may choose anything."""
    return client_id is None or (len(client_id) <= _MAX_CLIENT_ID and "\0" not in client_id)


def shadow_row(decision: ShadowDecision) -> dict[str, Any]:
    """Return the columns of a shadow's answer."""
    number, text = _split_predictions(decision.predictions)
    return {
        "nonce": decision.nonce,
        "revision": decision.revision,
        "shadow": decision.shadow,
        "time_ms": decision.time_ms,
        "latency_us": decision.latency_us,
        "status": decision.status,
        "prediction": number,
        "predictions": text,
    }


def outcome_row(outcome: NewOutcome, ordinal: int = 0) -> dict[str, Any]:
    """Return the columns of an outcome."""
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
        "truth_json": None if is_number or outcome.truth is None else as_json(outcome.truth),
        "ordinal": ordinal,
        "outcome_id": outcome.outcome_id,
        "key_id": outcome.key_id,
    }


def predictions_of(number: float | None, text: str | None) -> list[Any] | None:
    """Predictions of a request, one per row, as they were given to `decision_row`."""
    if number is not None:
        return [float(number)]
    if text is None:
        return None
    values: list[Any] = orjson.loads(text)
    return values


def prediction_of(number: float | None, text: str | None, index: int) -> Value:
    """Prediction of one row; that of a whole request only if it has a single row."""
    if number is not None:
        return float(number)
    return None if text is None else prediction_at(_last_read(text), index)


@lru_cache(maxsize=1)
def _last_read(text: str) -> list[Any]:
    """Read predictions once for all outcomes of a request, which mostly follow each other."""
    values: list[Any] = orjson.loads(text)
    return values


def prediction_at(values: list[Any] | None, index: int) -> Value:
    """Prediction of one row among those of its request, as `prediction_of`."""
    if values is None:
        return None
    if index == WHOLE_REQUEST:
        index = 0 if len(values) == 1 else len(values)
    value: Value = values[index] if index < len(values) else None
    return value


def truth_of(row: Row) -> Value:
    """Truth of a row with the columns `truth` and `truth_json`."""
    value: Value = row.truth if row.truth_json is None else orjson.loads(row.truth_json)
    return value


def observation_of(row: Row) -> Observation:
    """Turn an outcome joined to its decision into an `Observation`."""
    return Observation(
        seq=row.seq,
        nonce=bytes(row.nonce),
        row=row.row,
        time_ms=row.time_ms,
        revision=row.revision,
        arm=row.arm,
        propensity=row.propensity,
        reward=row.reward,
        truth=truth_of(row),
        prediction=prediction_of(row.prediction, row.predictions, row.row),
        unit=None if row.unit is None else bytes(row.unit),
        decided_ms=row.decided_ms,
        ordinal=row.ordinal,
        key_id=row.key_id,
    )
