"""A request that fits a signature, for models that were logged without an input example."""

from __future__ import annotations

import json
from typing import Any

from mlops.tables.signature import Signature

_CELLS: dict[str, Any] = {
    "double": 0.0,
    "float": 0.0,
    "long": 0,
    "integer": 0,
    "boolean": False,
    "string": "text",
    "binary": "dGV4dA==",
    "datetime": "2024-05-01T12:00:00",
    "any": "text",
}


def sample_body(signature: Signature) -> dict[str, Any] | None:
    """Return a body for MLflow's `/invocations` with one row; None for an empty signature.

    >>> sample_body(Signature(unnamed=("string",), hinted=True))
    {'inputs': ['text']}
    """
    inputs = json.loads(signature.document.get("inputs") or "[]")
    if signature.columns:
        specs = {item["name"]: item for item in inputs} or {
            column.name: {"type": column.type} for column in signature.columns
        }
        row = {name: _cell(spec) for name, spec in specs.items()}
        return {"dataframe_split": {"columns": list(row), "data": [list(row.values())]}}
    if not inputs:
        return {"inputs": [_CELLS["string"]]} if signature.unnamed else None
    if all(item.get("type") == "tensor" for item in inputs):
        arrays = [(item.get("name"), _tensor(item["tensor-spec"])) for item in inputs]
        is_named = arrays[0][0] is not None
        return {"inputs": dict(arrays) if is_named else arrays[0][1]}
    return {"inputs": [_cell(item) for item in inputs]}


def _cell(spec: Any) -> Any:  # noqa: ANN401 - a type of MLflow's signatures, and a value of it
    match spec["type"]:
        case "array":
            return [_cell(spec["items"])]
        case "object":
            return {name: _cell(value) for name, value in spec["properties"].items()}
        case "map":
            return {"key": _cell(spec["values"])}
        case kind:
            return _CELLS.get(kind, 0.0)


def _tensor(spec: Any) -> Any:  # noqa: ANN401 - nested lists
    kind = str(spec["dtype"])
    cell: Any = 0.0 if kind.startswith("float") else 0
    if kind == "bool":
        cell = False
    elif kind.startswith(("str", "object", "bytes")):
        cell = "text"
    for size in reversed(spec["shape"]):
        cell = [cell] * (size if size > 0 else 1)
    return cell
