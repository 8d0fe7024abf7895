"""The contract of asking, and what all of it has in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import orjson

from mlops.protocols.base import (
    Columns,
    Kind,
    Payload,
    Prediction,
    ProtocolError,
    Records,
    Tensor,
)

_MAX_REASON = 500


class ClientCodec(Protocol):
    """The client side of one wire protocol; keeps no state, and may be called from any thread."""

    def encode(
        self, payload: Payload, parameters: Mapping[str, Any], columns: Mapping[str, str]
    ) -> bytes:
        """Write a question.

        Args:
            payload: n rows.
            parameters: Parameters for the model, mostly empty.
            columns: Name to V2 datatype of the columns the model is known to take, in its order;
                empty if they are not known.

        Raises:
            ProtocolError: `MISMATCH`: the rows have no form in this protocol.
        """
        ...

    def decode(self, body: bytes) -> Prediction:
        """Read the answer of status 200.

        Raises:
            ProtocolError: `UPSTREAM`: it is not of the protocol's form.
        """
        ...


def read_answer(body: bytes) -> dict[str, Any]:
    """Read an answer that must be a JSON object.

    Raises:
        ProtocolError: `UPSTREAM`.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise strange(f"it is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise strange("it is not a JSON object")
    return document


def strange(reason: str) -> ProtocolError:
    """Return the error for an answer that is not of its protocol's form."""
    return ProtocolError(Kind.UPSTREAM, f"The answer cannot be read: {reason}.")


def refusal(body: bytes) -> str:
    """Return what a server said of its error, in whichever form the four protocols have for it.

    >>> refusal(b'{"error": "Model nope not found"}')
    'Model nope not found'
    >>> refusal(b'{"status": {"info": "no such shape", "code": -1}}')
    'no such shape'
    """
    try:
        document: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = body.decode("utf-8", "replace")
    for key in ("error", "message", "detail", "status", "info"):
        if isinstance(document, dict) and document.get(key):
            document = document[key]
    text = document if isinstance(document, str) else orjson.dumps(document).decode()
    return " ".join(text.split())[:_MAX_REASON]


def as_table(
    payload: Payload, columns: Mapping[str, str]
) -> tuple[tuple[str, ...] | None, list[list[Any]]]:
    """Return the names of the columns, where they are known, and n rows of cells.

    Rows without names have those of `columns`, by position, as for a model that mlops serves.

    Raises:
        ProtocolError: `MISMATCH`: an array that is not a table, or objects with differing keys.
    """
    if isinstance(payload, Records):
        names = tuple(payload.values[0])
        if any(len(row) != len(names) for row in payload.values):
            raise ProtocolError(Kind.MISMATCH, "The rows of the request have differing columns.")
        try:
            return names, [[row[name] for name in names] for row in payload.values]
        except KeyError as error:
            raise ProtocolError(
                Kind.MISMATCH, f"A row of the request has no column {error}."
            ) from error
    if isinstance(payload, Columns):
        cells = [column_of(column) for column in payload.values.values()]
        return tuple(payload.values), [list(row) for row in zip(*cells, strict=True)]
    if isinstance(payload, Tensor):
        values = nested(payload.values)
        if not all(isinstance(row, list) for row in values):
            values = [[cell] for cell in values]
        if any(isinstance(cell, list) for row in values for cell in row):
            raise ProtocolError(Kind.MISMATCH, "This model takes rows of cells, not an array.")
        if len({len(row) for row in values}) > 1:
            raise ProtocolError(Kind.MISMATCH, "The rows of the request have differing sizes.")
        return _named(columns, values), values
    rows = [nested(row) for row in payload.values]
    return payload.names or _named(columns, rows), rows


def column_of(column: object) -> list[Any]:
    """Return one column as a flat list; (n, 1) is a column too."""
    cells = nested(column)
    if all(isinstance(cell, list) and len(cell) == 1 for cell in cells):
        return [cell[0] for cell in cells]
    return cells


def nested(values: Any) -> list[Any]:  # noqa: ANN401 - a sequence or an array
    """Return an array as nested lists of Python values; a list as it is."""
    if isinstance(values, np.ndarray):
        cells: list[Any] = values.tolist()
        return cells
    return list(values)


def prediction_of(values: object, names: Sequence[str] = ()) -> Prediction:
    """Return n JSON values as a prediction: numbers as an array, objects as a table.

    Args:
        values: What stood in the answer.
        names: Names of the columns, if rows have several and the answer named them.
    """
    if isinstance(values, dict):
        return {str(name): _cells(column) for name, column in values.items()}
    if not isinstance(values, list):
        return [values]
    kinds = set(map(type, values))
    if kinds == {dict}:
        return _table_of_objects(values)
    array = _array(values, kinds)
    if array is not None:
        return array
    if kinds == {list} and len(names) > 1 and {len(row) for row in values} == {len(names)}:
        return {name: [row[i] for row in values] for i, name in enumerate(names)}
    return values


def _named(columns: Mapping[str, str], rows: list[list[Any]]) -> tuple[str, ...] | None:
    return tuple(columns) if columns and all(len(row) == len(columns) for row in rows) else None


def _cells(column: object) -> Any:  # noqa: ANN401 - JSON data
    if not isinstance(column, list):
        return [column]
    array = _array(column, set(map(type, column)))
    return column if array is None else array


def _table_of_objects(values: list[dict[str, Any]]) -> Prediction:
    names = list(values[0])
    if any(list(row) != names for row in values):
        return values
    return {name: _cells([row[name] for row in values]) for name in names}


def _array(values: list[Any], kinds: set[type]) -> np.ndarray[Any, Any] | None:
    """Return numbers, or rows of equally many numbers, as an array; null among them is NaN."""
    cells = values
    if kinds == {list}:
        if len({len(row) for row in values}) != 1 or not values[0]:
            return None
        cells = [cell for row in values for cell in row]
        kinds = set(map(type, cells))
    if kinds == {bool}:
        return np.array(values, dtype=np.bool_)
    if not kinds or not kinds <= {int, float, type(None)} or kinds == {type(None)}:
        return None
    try:
        return np.array(values, dtype=np.int64 if kinds == {int} else np.float64)
    except OverflowError:
        return None
