"""Rows in the forms that applications have them, as the body of a request.

The body is MLflow's scoring protocol, which every deployment speaks
(https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally/, "Inference server").
"""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import decimal
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from mlops.errors import InvalidInputError

_FORMS = frozenset({"dataframe_split", "dataframe_records", "inputs", "instances"})
_OPTIONS = orjson.OPT_NON_STR_KEYS
_NUMPY = _OPTIONS | orjson.OPT_SERIALIZE_NUMPY
# What orjson writes for NaT of NumPy: in nanoseconds, and in minutes to weeks. In other units it
# refuses NaT.
_MAYBE_NOT_A_TIME = (b'"1677-09-21T00:12:43.145224"', b'"1970-01-01T00:00:00"')
# Levels of lists and objects that are looked through for what cannot be written.
_MOST_LEVELS = 20


def body_of(rows: object, params: Mapping[str, Any] | None = None) -> bytes:
    """Return the body of a request.

    Args:
        rows: One row as a mapping or a pandas Series with names; a list of mappings, of lists or
            of values; a pandas or polars frame; a NumPy array; or a body of MLflow's scoring
            protocol. A Series whose index has texts only is always one row, also where it is a
            column of a frame with such an index: that column is sent as `frame[["text"]]`.
        params: Parameters of the model's signature.

    Raises:
        InvalidInputError: They are none of these, or hold what JSON cannot say.

    >>> body_of({"pH": 3.5})
    b'{"dataframe_records":[{"pH":3.5}]}'
    >>> body_of([[1.0, 2.0]], params={"top": 3})
    b'{"instances":[[1.0,2.0]],"params":{"top":3}}'
    """
    document = _document(rows)
    if params:
        document = {**document, "params": dict(params)}
    return to_json(document)


def to_json(document: object) -> bytes:
    """Write a document; NaN and missing values become null, times ISO 8601, bytes base64.

    Raises:
        InvalidInputError: It holds what JSON cannot say; the place is named.
    """
    # Numbers of NumPy are the usual case, and by far quicker this way. What has NaT is written
    # again: to look for it first would take longer than to write.
    with contextlib.suppress(TypeError):
        body = orjson.dumps(document, default=_plain, option=_NUMPY)
        if not any(text in body for text in _MAYBE_NOT_A_TIME):
            return body
    try:
        return orjson.dumps(document, default=_plain, option=_OPTIONS)
    except TypeError as error:
        place = _place(document).lstrip(".")
        where = f" at `{place}`" if place else ""
        raise InvalidInputError(f"These values cannot be sent: {error}{where}.") from error


def _place(value: object, levels: int = _MOST_LEVELS) -> str:
    """Return the path to the first value that cannot be written, such as `.instances[3][0]`."""
    inner: Iterable[tuple[str, object]] = ()
    if isinstance(value, Mapping):
        inner = ((f".{name}", each) for name, each in value.items())
    elif isinstance(value, list | tuple):
        inner = ((f"[{at}]", each) for at, each in enumerate(value))
    for step, each in inner if levels else ():
        try:
            orjson.dumps(each, default=_plain, option=_OPTIONS)
        except TypeError:
            return step + _place(each, levels - 1)
    return ""


def _document(rows: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever has rows
    if isinstance(rows, Mapping):
        whole = bool(_FORMS & rows.keys()) and rows.keys() <= _FORMS | {"params"}
        return dict(rows) if whole else {"dataframe_records": [rows]}
    if hasattr(rows, "to_dicts"):  # polars
        return {"dataframe_records": rows.to_dicts()}
    if hasattr(rows, "columns") and hasattr(rows, "to_dict"):  # pandas
        split = rows.to_dict(orient="split")
        return {"dataframe_split": {"columns": split["columns"], "data": split["data"]}}
    if hasattr(rows, "to_frame") and _is_named(rows):  # a row of a pandas frame, as `iloc[0]`
        return {"dataframe_records": [rows.to_dict()]}
    if hasattr(rows, "tolist") and hasattr(rows, "shape"):  # NumPy
        return {"inputs": _listed(rows)}
    if isinstance(rows, Sequence) and not isinstance(rows, str | bytes):
        if not rows:
            raise InvalidInputError("There are no rows to predict.")
        records = isinstance(rows[0], Mapping)
        return {"dataframe_records" if records else "instances": list(rows)}
    raise InvalidInputError(
        f"Rows cannot be a {type(rows).__name__}.",
        hint="Give a mapping, a list, a frame, or an array.",
    )


def _is_named(rows: Any) -> bool:  # noqa: ANN401 - a Series of pandas or polars
    names = getattr(rows, "index", ())
    return len(names) > 0 and all(isinstance(name, str) for name in names)


def _listed(array: Any) -> Any:  # noqa: ANN401 - JSON values
    """Return the values of an array, or of a scalar of NumPy; times in ISO 8601."""
    import numpy as np

    if not isinstance(array.dtype, np.dtype):
        return array.tolist()
    if array.dtype in (np.float32, np.float16):
        # `tolist` would write out the difference to the nearest number of eight bytes.
        short = np.asarray(array, dtype=np.float32, order="C")
        if short.size:
            digits = orjson.dumps(short if short.ndim else short[()], option=_NUMPY)
            return orjson.loads(digits)
    if array.dtype.kind != "M":
        return array.tolist()
    # `tolist` would make integers of nanoseconds.
    texts = np.asarray(np.datetime_as_string(array)).astype(object)
    texts[np.isnat(array)] = None
    return texts.tolist()


def _plain(value: object) -> Any:  # noqa: ANN401 - orjson asks about anything
    if isinstance(value, dt.datetime | dt.date):
        # NaT of pandas is a datetime that is not equal to itself.
        return value.isoformat() if value == value else None
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, tuple | set | frozenset):
        return list(value)
    if hasattr(value, "tolist"):
        return _listed(value)
    if type(value).__name__ == "NAType":
        return None
    raise TypeError(f"a {type(value).__name__} has no form in JSON")
