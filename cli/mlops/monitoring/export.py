"""Decisions joined with outcomes as one table, for a notebook or a warehouse.

One line per row of a request; a row with several outcomes (corrections, repeated purchases) has one
line for each, counted in `outcome`. The table is read twice: once to learn the columns of the
features and the types of all values, once to be written, so that memory does not grow with it.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from mlops.journal.exporting import JoinedRow
from mlops.journal.records import RevisionEvent, Value
from mlops.rewards import REWARDS, Reward
from mlops.spec.deployment import DeploymentSpec, from_dict
from mlops.spec.request_id import mint

Type: TypeAlias = Literal["boolean", "integer", "number", "text", "json", "time"]
Line: TypeAlias = dict[str, Any]

_BEFORE: Mapping[str, Type] = {
    "request_id": "text", "nonce": "text", "row": "integer", "time": "time",
    "revision": "integer", "arm": "text", "model": "text", "propensity": "number",
    "epoch": "integer", "unit": "text",
    "status": "integer", "latency_ms": "number", "protocol": "text", "client_id": "text",
}  # fmt: skip
_AFTER: Mapping[str, Type] = {"outcome": "integer", "outcome_time": "time", "reward": "number"}


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose lines are read lazily.

    Attributes:
        columns: Name to type, in order.
        count: How many lines it has.
        lines: Reads them.
    """

    columns: Mapping[str, Type]
    count: int
    lines: Callable[[], Iterator[Line]]


def export_table(
    rows: Callable[[], Iterator[JoinedRow]], events: list[RevisionEvent], key: bytes | None
) -> Table:
    """Return the joined table of a journal.

    Args:
        rows: Reads the journal; called twice.
        events: Its administrative rows, which name arms and rewards.
        key: The deployment's key, for the request ids; without it they are left out.
    """
    live = [e for e in events if e.event in ("live", "started")]
    specs = {e.revision: from_dict(e.spec) for e in live if e.spec is not None}
    features: dict[str, Type | None] = {}
    values: dict[str, Type | None] = {"prediction": None, "truth": None}
    count = 0
    for row in rows():
        count += 1
        for name, cell in _named(row.features).items():
            features[name] = wider(features.get(name), cell)
        values["prediction"] = wider(values["prediction"], row.prediction)
        values["truth"] = wider(values["truth"], row.truth)
    taken = {*_BEFORE, *_AFTER, *values}
    names = {name: f"feature_{name}" if name in taken else name for name in features}
    columns = {
        **_BEFORE,
        **{names[name]: kind or "text" for name, kind in features.items()},
        **{name: kind or "text" for name, kind in values.items()},
        **_AFTER,
    }
    deriving = {number: _deriving(spec) for number, spec in specs.items()}

    def lines() -> Iterator[Line]:
        for row in rows():
            spec = specs.get(row.revision)
            line = _line(row, spec, deriving.get(row.revision), key)
            for name, cell in _named(row.features).items():
                line[names[name]] = cell
            yield {
                name: as_type(line[name], kind) for name, kind in columns.items() if name in line
            }

    return Table(columns, count, lines)


def wider(known: Type | None, value: object) -> Type | None:
    """Return a type for all values so far and one more.

    >>> wider(wider(None, 1), 2.5), wider("integer", True), wider("text", None)
    ('number', 'json', 'text')
    """
    if value is None:
        return known
    if isinstance(value, bool):
        kind: Type = "boolean"
    elif isinstance(value, int):
        kind = "integer" if -(2**63) <= value < 2**63 else "number"
    elif isinstance(value, float):
        kind = "number"
    else:
        kind = "text" if isinstance(value, str) else "json"
    if known in (None, kind):
        return kind
    return "number" if {known, kind} == {"integer", "number"} else "json"


def as_type(value: Any, kind: Type) -> Any:  # noqa: ANN401 - a JSON value
    """Return a value as its column has it."""
    if value is None or kind not in ("number", "json"):
        return value
    return float(value) if kind == "number" else json.dumps(value, ensure_ascii=False)


def _line(
    row: JoinedRow, spec: DeploymentSpec | None, derive: Reward | None, key: bytes | None
) -> Line:
    known = spec is not None and row.arm < len(spec.arms)
    arm = spec.arms[row.arm] if spec is not None and known else None
    request_id = None
    if key is not None and row.time_ms is not None:
        request_id = mint(
            key, nonce=row.nonce, time_ms=row.time_ms, revision=row.revision, arm=row.arm,
            propensity=row.propensity,
        )  # fmt: skip
    return {
        "request_id": request_id,
        "nonce": row.nonce.hex(),
        "row": row.row if row.row >= 0 else None,
        "time": _time(row.time_ms),
        "revision": row.revision,
        "arm": arm.name if arm else str(row.arm),
        "model": arm.model.label if arm else None,
        "propensity": row.propensity,
        "epoch": row.epoch,
        "unit": row.unit.hex() if row.unit else None,
        "status": row.status,
        "latency_ms": None if row.latency_us is None else row.latency_us / 1000,
        "protocol": row.protocol,
        "client_id": row.client_id,
        "prediction": row.prediction,
        "truth": row.truth,
        "outcome": None if row.outcome_ms is None else row.ordinal,
        "outcome_time": _time(row.outcome_ms),
        "reward": _reward(row.reward, row.prediction, row.truth, derive),
    }


def _reward(
    sent: float | None, prediction: Value, truth: Value, derive: Reward | None
) -> float | None:
    """Return the reward as the report takes it: as sent, else derived from the truth."""
    if sent is not None or derive is None or truth is None or prediction is None:
        return sent
    try:
        return derive(prediction, truth)
    except ValueError:
        return None


def _deriving(spec: DeploymentSpec) -> Reward | None:
    return REWARDS.load(spec.reward) if spec.reward in REWARDS else None


def _named(features: Any) -> dict[str, Any]:  # noqa: ANN401 - a row of features
    if isinstance(features, list):
        return {f"feature_{index}": cell for index, cell in enumerate(features)}
    return features or {}


def _time(time_ms: int | None) -> dt.datetime | None:
    return None if time_ms is None else dt.datetime.fromtimestamp(time_ms / 1000, dt.UTC)
