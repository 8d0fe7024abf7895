"""`data.tensor` of Seldon v1: a shape, and the values in row-major order.

Specification: message `Tensor` of `proto/prediction.proto`, seldon-core 1.18.2.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mlops.protocols.base import Rows, Tensor
from mlops.protocols.json_body import malformed, shown
from mlops.protocols.shapes import check_width, read_shape

#: protobuf's JSON writes NaN and the infinities of a double as strings; null is a missing value.
_NUMBERS = {float, int, str, type(None)}


def read_tensor(tensor: object, where: str, names: tuple[str, ...] | None) -> Rows | Tensor:
    """Read a tensor: `Rows` of doubles for rank 2, else an array.

    Args:
        tensor: A JSON value.
        where: Its key, for messages.
        names: Column names, which only rank 2 can have.

    Raises:
        ProtocolError: `MALFORMED`: the shape is none, or not that of the values.
    """
    if type(tensor) is not dict or not {"shape", "values"} <= tensor.keys():
        raise malformed(f"`{where}` must be an object with `shape` and `values`.")
    shape = read_shape(tensor["shape"], f"{where}.shape")
    values = _read_values(tensor["values"], f"{where}.values")
    if math.prod(shape) != len(values):
        sizes = f"{len(values)} values, but shape {list(shape)} takes {math.prod(shape)}"
        raise malformed(f"`{where}` has {sizes}.")
    if len(shape) == 2:
        width = shape[1]
        check_width(names, width, where)
        return Rows([values[i : i + width] for i in range(0, len(values), width)], names)
    if names is not None:
        raise malformed(f"`{where}` has shape {list(shape)}, but column names need rows of cells.")
    return Tensor(np.array(values, dtype=np.float64).reshape(shape))


def _read_values(value: object, where: str) -> list[Any]:
    """Check that `value` is a flat list of numbers, and make numbers of numeric strings."""
    if type(value) is not list:
        raise malformed(f"`{where}` must be a list of numbers.")
    kinds = set(map(type, value))
    if not kinds <= _NUMBERS:
        index = next(i for i, cell in enumerate(value) if type(cell) not in _NUMBERS)
        raise malformed(f"`{where}`[{index}] must be a number, not {shown(value[index])}.")
    return [_number(cell, where) for cell in value] if str in kinds else value


def _number(cell: object, where: str) -> Any:  # noqa: ANN401 - number, string or None
    """Return the number that a string spells; anything else as it is."""
    if type(cell) is not str:
        return cell
    try:
        return float(cell)
    except ValueError as error:
        raise malformed(f"`{where}` must hold numbers, not {shown(cell)}.") from error
