"""Records as rows of the tables, and rows as records."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import orjson

from mlops.journal.records import (
    WHOLE_REQUEST,
    Decision,
    NewOutcome,
    Observation,
    ShadowDecision,
    Value,
)
from mlops.protocols.json_body import plain, write_text

# Characters of a client's id; PostgreSQL indexes 2,704 bytes, and its text holds no zero.
_MAX_CLIENT_ID = 500

# A result row; its type differs between the minor versions of SQLAlchemy we accept.
Row: TypeAlias = Any


def decision_row(decision: Decision) -> dict[str, Any]:
    """Return the columns of a decision."""
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
        "client_id": decision.client_id if is_kept(decision.client_id) else None,
        "unit": decision.unit,
        "features": None if decision.features is None else as_json(decision.features),
        "prediction": number,
        "predictions": text,
    }


def _split_predictions(predictions: list[Any] | None) -> tuple[float | None, str | None]:
    if predictions is None:
        return None, None
    if len(predictions) == 1 and isinstance(predictions[0], float):
        # Like JSON, evidence knows neither NaN nor infinity.
        return (predictions[0], None) if math.isfinite(predictions[0]) else (None, None)
    return None, as_json(predictions)


def is_kept(client_id: str | None) -> bool:
    """Whether an id can be stored and looked up; callers choose it, and may choose nonsense."""
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
    values = predictions_of(number, text)
    if values is None:
        return None
    if index == WHOLE_REQUEST:
        index = 0 if len(values) == 1 else len(values)
    if number is not None:
        index = 0
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
    )


def as_json(value: Any) -> str:  # noqa: ANN401 - any JSON data
    """Write anything as JSON; what has no such form, as text."""
    try:
        return orjson.dumps(value, default=_as_list, option=orjson.OPT_SERIALIZE_NUMPY).decode()
    except orjson.JSONEncodeError:
        # Whole numbers beyond 64 bits, broken text: rare, but one row must not lose its batch.
        if isinstance(value, list):
            return f"[{','.join(map(as_json, value))}]"
        return orjson.dumps(_simplified(value)).decode()


def _simplified(value: Any) -> Any:  # noqa: ANN401 - any JSON data
    try:
        return plain(value)
    except (TypeError, RecursionError):
        return write_text(str(value)).decode()


def _as_list(value: Any) -> Any:  # noqa: ANN401 - what orjson cannot write by itself
    """Write arrays that orjson cannot (strided, of objects) as lists, anything else as text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)
