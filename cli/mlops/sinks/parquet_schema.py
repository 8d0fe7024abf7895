"""Columns of the request log in Parquet: their types never change.

Every feature has a column, with the type of its first values. A later value that does not fit, as
text in a column of numbers, is in `other`, a JSON object of the row, so that a column has the
same type in every file. New features get new columns behind the others; `_schema.json` beside the
files says which there are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import orjson

from mlops.sinks.base import Event
from mlops.stats.outlier_document import LEVEL

if TYPE_CHECKING:
    import pyarrow as pa

#: Of one kind of event, name to type.
REQUESTS: Mapping[str, str] = {
    "request_id": "text", "nonce": "text", "row": "integer", "time": "time", "revision": "integer",
    "arm": "text", "model": "text", "propensity": "number", "epoch": "integer", "unit": "text",
    "status": "integer", "latency_ms": "number", "protocol": "text", "client_id": "text",
    "prediction": "number", "prediction_json": "text", "outlier": "boolean",
    "outlier_p_value": "number", "other": "text",
}  # fmt: skip
OUTCOMES: Mapping[str, str] = {
    "request_id": "text", "nonce": "text", "row": "integer", "ordinal": "integer", "time": "time",
    "revision": "integer", "arm": "text", "model": "text", "propensity": "number", "unit": "text",
    "reward": "number", "truth": "number", "truth_json": "text",
}  # fmt: skip
# Callers must not be able to create columns without limit.
_MAX_FEATURES = 2_000
_EXACT = 2**53


class Columns:
    """Columns of the features so far.

    Args:
        known: Name of the feature to type, `number`, `text` or `boolean`.
    """

    def __init__(self, known: Mapping[str, str]) -> None:
        self._types = dict(known)

    def grown(self, events: Iterable[Event]) -> Columns:
        """Return columns for the features that have none too; itself if there are none such."""
        types = dict(self._types)
        for event in events:
            for row in event.named_rows() if event.rows else ():
                for name, cell in _cells(row):
                    kind = None if name in types else _kind(cell)
                    if kind and len(types) < _MAX_FEATURES:
                        types[name] = kind
        return Columns(types) if len(types) > len(self._types) else self

    def joined(self, others: Columns) -> Columns:
        """Return these columns, and behind them those of others that they lack."""
        return Columns(
            self._types | {k: v for k, v in others._types.items() if k not in self._types}
        )

    def to_json(self) -> str:
        """Write them for `_schema.json`."""
        return json.dumps({"schema_version": 1, "features": self._types}, indent=1)

    @staticmethod
    def from_json(text: str) -> Columns:
        """Read what `to_json` has written."""
        return Columns(json.loads(text)["features"])

    def arrow(self, kind: str) -> pa.Schema:
        """Return the schema of files with one kind of event."""
        import pyarrow as pa

        types = {
            "boolean": pa.bool_(),
            "integer": pa.int64(),
            "number": pa.float64(),
            "text": pa.string(),
            "time": pa.timestamp("ms", tz="UTC"),
        }
        base = REQUESTS if kind == "request" else OUTCOMES
        columns = [(name, types[each]) for name, each in base.items()]
        if kind == "request":
            columns += [(column(name), types[each]) for name, each in self._types.items()]
        return pa.schema(columns, metadata={"mlops": "request-log/1"})

    def lines(self, event: Event) -> list[dict[str, Any]]:
        """Return one line per row of a request, or the line of an outcome."""
        fields = event.fields
        if event.kind == "outcome":
            number, text = _split(fields["truth"])
            known = {name: fields.get(name) for name in OUTCOMES}
            return [{**known, "time": event.time_ms, "truth": number, "truth_json": text}]
        shared = {name: fields.get(name) for name in REQUESTS}
        shared |= {"time": event.time_ms, "other": None}
        predictions, p_values = fields["predictions"] or [], fields.get("outlier_p_values") or []
        rows = event.named_rows() if event.rows is not None else []
        found = []
        for index in range(fields["n_rows"]):
            number, text = _split(predictions[index] if index < len(predictions) else None)
            line = {**shared, "row": index, "prediction": number, "prediction_json": text}
            if index < len(p_values):
                p_value = p_values[index]
                line |= {"outlier": p_value <= LEVEL, "outlier_p_value": p_value}
            if index < len(rows):
                self._put(line, rows[index])
            found.append(line)
        return found

    def _put(self, line: dict[str, Any], row: object) -> None:
        other = {}
        for name, cell in _cells(row):
            kind = _kind(cell)
            if kind and kind == self._types.get(name):
                line[column(name)] = float(cell) if kind == "number" else cell
            elif cell is not None:
                other[name] = cell
        if other:
            line["other"] = orjson.dumps(other).decode()


def column(feature: str) -> str:
    """Return the column of a feature, whose name may be that of another column.

    >>> column("alcohol"), column("row")
    ('alcohol', 'feature_row')
    """
    return f"feature_{feature}" if feature in REQUESTS or feature == "hour" else feature


def _cells(row: object) -> Iterable[tuple[str, Any]]:
    if isinstance(row, dict):
        return row.items()
    cells = row if isinstance(row, list | tuple) else [row]
    return ((f"feature_{index}", cell) for index, cell in enumerate(cells))


def _kind(cell: object) -> str:
    """Return the type of a column that holds a cell; empty for what has none of its own."""
    if isinstance(cell, bool):
        return "boolean"
    if isinstance(cell, float) or (isinstance(cell, int) and abs(cell) <= _EXACT):
        return "number"
    return "text" if isinstance(cell, str) else ""


def _split(value: Any) -> tuple[float | None, str | None]:  # noqa: ANN401 - a JSON value
    """Return a value as a number, else as JSON."""
    if value is None:
        return None, None
    if _kind(value) == "number":
        return float(value), None
    return None, orjson.dumps(value).decode()
