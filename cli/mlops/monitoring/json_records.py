"""Records of a report as JSON data and back.

JSON has no NaN and no infinity. They are written as null and read as what the field means by it:
an unknown lower bound is minus infinity, an upper one infinity, any other number NaN.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from typing import Any

from mlops.errors import InvalidInputError

_UNKNOWN = {"lower": -math.inf, "upper": math.inf}


def read_record(kind: object, document: object) -> Any:  # noqa: ANN401 - any record
    """Read a record out of what `finite` has made of it.

    Raises:
        InvalidInputError: It is of another form.
    """
    try:
        return _record(kind, document)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InvalidInputError(
            f"This report cannot be read: {error!r}.",
            hint="Is the server of the same release as this program?",
        ) from error


def finite(value: object) -> Any:  # noqa: ANN401 - JSON data
    """Write bounds that are not known yet as null: JSON has no NaN and no infinity."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _record(kind: Any, document: Any) -> Any:  # noqa: ANN401 - any record
    hints = typing.get_type_hints(kind)
    values = {
        field.name: _value(hints[field.name], document[field.name], field.name)
        for field in dataclasses.fields(kind)
        if field.name in document or field.default is dataclasses.MISSING
    }
    return kind(**values)


def _value(kind: Any, value: Any, name: str) -> Any:  # noqa: ANN401 - any value of a record
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        rest = [each for each in arguments if each is not type(None)]
        return None if value is None else _value(rest[0], value, name)
    if origin is tuple:
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else arguments
        return tuple(_value(k, v, name) for k, v in zip(kinds, value, strict=True))
    if origin is dict:
        return dict(value)
    if dataclasses.is_dataclass(kind):
        return _record(kind, value)
    if kind is float:
        return _UNKNOWN.get(name, math.nan) if value is None else float(value)
    if isinstance(kind, type) and not isinstance(value, kind):
        raise TypeError(f"`{name}` is {value!r}")
    return value
