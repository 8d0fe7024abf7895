"""Requests to try a model with: its own input example, else one made up from its signature."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from mlops.errors import InvalidInputError
from mlops.protocols.base import Columns, Payload, Records, Rows, Source, Tensor
from mlops.protocols.json_body import write
from mlops.tables.sample import sample_body
from mlops.tables.signature import Signature
from mlops.tables.times import seconds

_SOME_DAY = "2000-01-01"
_LISTS = ("inputs", "instances", "dataframe_records")


def read_example(path: Path, mlmodel: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the body that MLflow saved for its scoring server; None without an input example.

    Models of MLflow before 2.16 have only the example itself, which is a body if it is a table.

    Raises:
        InvalidInputError: It is damaged.
    """
    info = mlmodel.get("saved_input_example_info") or {}
    serving = path / str(info.get("serving_input_path") or "")
    table = path / str(info.get("artifact_path") or "")
    try:
        if serving.is_file():
            document = json.loads(serving.read_text(encoding="utf-8"))
        elif info.get("type") == "dataframe" and table.is_file():
            document = {"dataframe_split": json.loads(table.read_text(encoding="utf-8"))}
        else:
            return None
    except ValueError as error:
        raise InvalidInputError(f"The input example of `{path}` is damaged: {error}") from error
    # To JSON and back: NaN, which Python writes and JSON does not have, becomes null.
    plain: Any = orjson.loads(write(document))
    return plain if isinstance(plain, dict) and _has_rows(plain) else None


def shortened(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a body with its first row only, if it is one of rows, then the whole body."""
    split = body.get("dataframe_split")
    if split is not None:
        first = {**split, "data": split["data"][:1]}
        first.pop("index", None)
        return [{**body, "dataframe_split": first}, body]
    form = next((name for name in _LISTS if isinstance(body.get(name), list)), None)
    if form is None or len(body[form]) < 2:
        return [body]
    return [{**body, form: body[form][:1]}, body]


def concealed(body: dict[str, Any] | None, hidden: Collection[str]) -> dict[str, Any] | None:
    """Return a body to show: an input example has rows of training data.

    Args:
        body: A request that works; None if none is known.
        hidden: Features that are kept hashed, or not at all: their cells become `<NAME>`, 0, false
            or 2000-01-01.

    Returns:
        None where something is hidden and the rows have no names, as the journal keeps none of them
        then.

    >>> concealed({"inputs": [{"name": "Ada", "age": 36}]}, ("name",))
    {'inputs': [{'name': '<name>', 'age': 36}]}
    """
    if body is None or not hidden:
        return body
    split = body.get("dataframe_split")
    if split is not None:
        names = split.get("columns")
        if not names:
            return None
        data = [
            [_shown(*cell, hidden) for cell in zip(names, r, strict=True)] for r in split["data"]
        ]
        return {**body, "dataframe_split": {**split, "data": data}}
    form = next((name for name in _LISTS if name in body), None)
    if form is None:
        return None
    rows: Any = body[form]
    if isinstance(rows, dict):
        return {**body, form: {name: _column(name, rows[name], hidden) for name in rows}}
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        return None
    shown = [{name: _shown(name, cell, hidden) for name, cell in row.items()} for row in rows]
    return {**body, form: shown}


def _column(name: str, cells: object, hidden: Collection[str]) -> object:
    each = cells if isinstance(cells, list) else [cells]
    shown = [_shown(name, cell, hidden) for cell in each]
    return shown if isinstance(cells, list) else shown[0]


def _shown(name: object, cell: object, hidden: Collection[str]) -> object:
    if name not in hidden or cell is None:
        return cell
    if isinstance(cell, bool | int | float):
        return type(cell)(0)
    if isinstance(cell, str):
        return _SOME_DAY if seconds(cell) is not None else f"<{name}>"
    return type(cell)()


def made_up(signature: Signature, width: int) -> Iterator[dict[str, Any]]:
    """Yield bodies that a model without an input example may answer.

    Args:
        signature: Its signature.
        width: Number of columns its estimator takes; 0 if it does not say.
    """
    body = sample_body(signature)
    if body is not None:
        yield body
        return
    if width:
        yield {"inputs": [[0.0] * width]}


def doubled(payload: Payload) -> Payload | None:
    """Return twice the rows; None if they are not rows to a model."""
    source = payload.source
    if source is not None and source.form != "csv":
        if not isinstance(source.value, list):
            return None
        source = Source(source.form, source.value * 2)
    if isinstance(payload, Columns):
        return Columns({name: list(cells) * 2 for name, cells in payload.values.items()}, source)
    twice = list(payload.values) * 2
    if isinstance(payload, Rows):
        return Rows(twice, payload.names, source)
    return Records(twice, source) if isinstance(payload, Records) else Tensor(twice, source)


def _has_rows(body: Mapping[str, Any]) -> bool:
    split = body.get("dataframe_split")
    return bool(split.get("data")) if isinstance(split, dict) else bool(body)
