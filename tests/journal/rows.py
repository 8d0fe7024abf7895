"""Rows of a journal, made short."""

from __future__ import annotations

from typing import Any, TypeAlias

from mlops.journal.features import features_of
from mlops.journal.records import WHOLE_REQUEST, Decision, NewOutcome

Json: TypeAlias = Any

T0 = 1_700_000_000_000


def nonce(number: int) -> bytes:
    return number.to_bytes(12, "big")


def decision(number: int, **changes: Json) -> Decision:
    """The decision of that number: arm 0 of revision 1, drawn with 0.5, one row.

    `features` are a payload."""
    fields: dict[str, Json] = {
        "nonce": nonce(number),
        "time_ms": T0 + number,
        "revision": 1,
        "arm": 0,
        "propensity": 0.5,
        "n_rows": 1,
        "latency_us": 100,
        "status": 200,
        "protocol": "mlflow",
        "predictions": [float(number)],
    }
    if changes.get("features") is not None:
        changes["features"] = features_of(changes["features"], "all")
    return Decision(**{**fields, **changes})


def outcome(
    number: int,
    *,
    row: int = WHOLE_REQUEST,
    reward: float | None = 1.0,
    truth: Any = None,
    revision: int = 1,
    arm: int = 0,
    propensity: float = 0.5,
) -> NewOutcome:
    """An outcome of the decision of that number."""
    return NewOutcome(nonce(number), None, row, T0 + 1000, revision, arm, propensity, reward, truth)


def named(client_id: str, *, row: int = WHOLE_REQUEST, reward: float = 1.0) -> NewOutcome:
    """An outcome that knows only the client's id."""
    return NewOutcome(None, client_id, row, T0 + 1000, 0, 0, 0.0, reward, None)
