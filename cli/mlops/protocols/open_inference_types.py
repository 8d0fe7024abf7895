"""Tensors of the Open Inference Protocol: datatypes, and what each takes from JSON.

Specification: "Tensor Data Types" in `inference_rest.md` of kserve/open-inference-protocol.
FP16 has no JSON form and travels as binary data only; an answer in FP16 goes out as FP32 in JSON.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np

from mlops.protocols.json_body import malformed, shown

Array: TypeAlias = "np.ndarray[Any, Any]"

#: Datatype to NumPy's, in the byte order of binary data; BYTES has none of fixed size.
DTYPES = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
#: NumPy's types to datatypes.
DATATYPES = {dtype: name for name, dtype in DTYPES.items()}
_LIMITS = {f"UINT{bits}": (0, 2**bits - 1) for bits in (8, 16, 32, 64)} | {
    f"INT{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)
}
_FLOATS: frozenset[type] = frozenset({float, int, type(None)})
_INTEGERS: frozenset[type] = frozenset({int, float})
_BOOLEANS: frozenset[type] = frozenset({bool, int})
_TEXTS: frozenset[type] = frozenset({str, type(None)})


class OpenInferenceTensor(NamedTuple):
    """One input or output; a tuple, as a frozen dataclass takes thrice the time and columns many.

    Attributes:
        name: Its name, for an input possibly empty.
        datatype: A key of `DTYPES`, or BYTES.
        shape: Size of each axis, the first is the number of rows.
        data: Its elements in row-major order: an array of rank 1, for BYTES a list.
        content_type: What BYTES hold, or which form the whole has (`np`); None if not said.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: Any
    content_type: str | None = None


def elements_from_json(flat: list[Any], datatype: str) -> Array | list[Any]:
    """Read a flat list of JSON values as elements of `datatype`.

    null is a missing value in FP32 and FP64 (NaN) and in BYTES (None); 0 and 1 are booleans.

    Raises:
        ProtocolError: `MALFORMED`: an element is of another type, or out of range.
    """
    if datatype in {"FP64", "FP32"}:
        return _floats(flat, datatype)
    if datatype in _LIMITS:
        return _integers(flat, datatype)
    if datatype == "BYTES":
        _check_kinds(flat, _TEXTS, datatype)
        return flat
    if datatype == "BOOL":
        _check_kinds(flat, _BOOLEANS, datatype)
        _check_range(flat, (0, 1), datatype)
        return np.array(flat, dtype=np.bool_)
    raise malformed("FP16 has no JSON form; send it as binary data, or as FP32.")


def _floats(flat: list[Any], datatype: str) -> Array:
    """Read floating point numbers."""
    _check_kinds(flat, _FLOATS, datatype)
    array = np.array(flat, dtype=DTYPES["FP64"])
    if datatype == "FP64":
        return array
    try:
        with np.errstate(over="raise"):
            return array.astype(np.float32)
    except FloatingPointError as error:
        raise malformed("A value is too large for FP32.") from error


def _integers(flat: list[Any], datatype: str) -> Array:
    """Read whole numbers; JSON does not distinguish 1.0 from 1."""
    _check_kinds(flat, _INTEGERS, datatype)
    if float in set(map(type, flat)):
        broken = [cell for cell in flat if cell % 1]
        if broken:
            raise malformed(f"{datatype} takes whole numbers, not {broken[0]}.")
        flat = [int(cell) for cell in flat]
    _check_range(flat, _LIMITS[datatype], datatype)
    return np.array(flat, dtype=DTYPES[datatype])


def _check_kinds(flat: list[Any], kinds: frozenset[type], datatype: str) -> None:
    """Check that every element is of one of the types `kinds`."""
    if not kinds.issuperset(map(type, flat)):
        index = next(i for i, cell in enumerate(flat) if type(cell) not in kinds)
        raise malformed(f"{datatype} does not take {shown(flat[index])} (element {index}).")


def _check_range(flat: list[Any], limits: tuple[int, int], datatype: str) -> None:
    """Check that every element is within `limits`, both of which are."""
    low, high = limits
    if min(flat) < low or max(flat) > high:
        value = next(cell for cell in flat if not low <= cell <= high)
        raise malformed(f"{value} is out of range for {datatype}.")
