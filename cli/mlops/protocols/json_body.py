"""JSON bodies: read strictly, written whatever a model answers.

Reading refuses what RFC 8259 refuses (NaN, Infinity, bad UTF-8, lone surrogates, a byte order
mark) and what no honest client sends (1,024 levels of nesting); integers beyond 64 bits become
doubles, of a repeated key the last counts. Writing turns NaN and Infinity into null, since JSON
has no other word for them, and knows the values of NumPy and pandas that models answer with.
"""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson

from mlops.errors import MODEL_FAILED
from mlops.protocols.base import Kind, ProtocolError

_KINDS = {
    dict: "an object",
    list: "a list",
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    type(None): "null",
}


def malformed(message: str) -> ProtocolError:
    """Return the error for a body that is not of its protocol's form."""
    return ProtocolError(Kind.MALFORMED, message)


def kind_of(value: object) -> str:
    """Name the JSON type of `value` for a message.

    >>> kind_of([1])
    'a list'
    """
    return _KINDS[type(value)]


def shown(value: object) -> str:
    """Show an offending value in a message, cut to 40 characters.

    >>> shown("x" * 100)
    "'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx..."
    """
    if isinstance(value, list | dict):
        # It may be as large as the body, and nested deeper than `repr` can go.
        return kind_of(value)
    text = repr(value[:40] if isinstance(value, str) else value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def read_object(body: bytes | memoryview, *, literals: bool = False) -> dict[str, Any]:
    """Read a body that must be one JSON object.

    Args:
        body: UTF-8.
        literals: Whether to take `NaN` and `Infinity`, which JSON does not have; Python writes
            them, and so do MLflow's own clients.

    Raises:
        ProtocolError: `MALFORMED`: empty, not JSON, or another JSON value.
    """
    if not body:
        raise malformed("The body is empty; a JSON object was expected.")
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        document = _with_literals(bytes(body)) if literals else None
        if document is None:
            raise malformed(f"The body is not valid JSON: {error}.") from error
    if type(document) is not dict:
        raise malformed(f"The body must be a JSON object, not {kind_of(document)}.")
    return document


def _with_literals(body: bytes) -> Any:  # noqa: ANN401 - a JSON value
    """Read JSON with `NaN` or `Infinity` in it; None if it is not that either."""
    if b"NaN" not in body and b"Infinity" not in body:
        return None
    try:
        document = json.loads(body.decode())
        # Refuses what orjson does not read either, such as half a surrogate.
        orjson.dumps(document)
    except (ValueError, TypeError, RecursionError):
        return None
    return document


def write(document: object, encode: Callable[[Any], Any] | None = None) -> bytes:
    """Write `document`, which may hold NumPy arrays (but of times) and scalars anywhere.

    Args:
        document: What to write.
        encode: Makes JSON data of what is none, in place of `plain`.

    Raises:
        ProtocolError: `MODEL_FAILED`: a value in it has no JSON form.
    """
    try:
        return orjson.dumps(document, encode or plain, orjson.OPT_SERIALIZE_NUMPY)
    except TypeError:
        # Seldom: keys that are not strings, a foreign byte order, integers beyond 64 bits.
        try:
            return orjson.dumps(plain(document))
        except (TypeError, RecursionError) as error:
            message = f"{MODEL_FAILED}: its answer cannot be written as JSON: {error}."
            raise ProtocolError(Kind.MODEL_FAILED, message) from error


def write_text(text: str) -> bytes:
    """UTF-8 of `text`, with `?` for what UTF-8 cannot hold (lone surrogates)."""
    return text.encode("utf-8", "replace")


def array_cells(array: np.ndarray[Any, Any]) -> list[Any]:
    """Return a NumPy array as nested lists of Python values; times as `datetime`."""
    if array.dtype.kind == "M":
        # `tolist` of nanoseconds gives integers; microseconds are what `datetime` can hold.
        array = array.astype("datetime64[us]")
    elif array.dtype == np.longdouble:
        array = array.astype(np.float64)
    cells: list[Any] = array.tolist()
    return cells


def plain(value: object) -> Any:  # noqa: ANN401 - any value a model may answer with
    """Return `value` in the types JSON has, to any depth.

    Bytes become base64, as in MLflow's and Seldon's answers; pandas' missing values null.

    Raises:
        TypeError: It has no JSON form.
    """
    match value:
        case None | bool() | float():
            return float(value) if isinstance(value, float) else value
        case int():
            return int(value) if -(2**63) <= value < 2**64 else float(value)
        case str():
            return write_text(value).decode()
        case dict():
            return {str(plain(key)): plain(cell) for key, cell in value.items()}
        case list() | tuple() | set() | frozenset():
            return [plain(cell) for cell in value]
        case np.ndarray():
            return plain(array_cells(value))
        case np.generic():
            return plain(array_cells(np.asarray(value)))
        case bytes() | bytearray():
            return base64.b64encode(value).decode()
        case decimal.Decimal():
            return float(value)
    return _foreign(value)


def _foreign(value: object) -> Any:  # noqa: ANN401 - as `plain`
    """Treat the missing values and times of pandas, without importing it."""
    if type(value).__name__ in {"NAType", "NaTType"}:
        return None
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if hasattr(value, "model_dump"):  # pydantic's
        return plain(value.model_dump())
    message = f"a `{type(value).__name__}` has no JSON form"
    raise TypeError(message)
