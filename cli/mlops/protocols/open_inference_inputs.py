"""Inputs of an Open Inference request, and the payload they make.

Elements may be flat or nested to the shape, in JSON or as binary data. Several inputs are columns,
each of shape [N] or [N, 1]; so is a single one of that shape, unless its or the request's
content type is `np`. Any other single input is one array. The content types are MLServer's.

Specification: "Inference Request JSON Object" and "Tensor Data" in `inference_rest.md` of
kserve/open-inference-protocol; `mlserver/codecs` of MLServer 1.7.1.
"""

from __future__ import annotations

import base64
import binascii
import math
from itertools import chain
from typing import Any

import numpy as np

from mlops.protocols.base import Columns, Payload, ProtocolError, Tensor
from mlops.protocols.binary_tensors import BinaryData, elements_from_binary
from mlops.protocols.json_body import kind_of, malformed, shown
from mlops.protocols.open_inference_types import (
    DTYPES,
    Array,
    OpenInferenceTensor,
    elements_from_json,
)
from mlops.protocols.shapes import read_shape

#: Shared by all tensors without parameters; never written to.
_NONE: dict[str, Any] = {}
# Parameters of a request that are for the codec.
_OURS = frozenset({"content_type", "binary_data_output", "headers"})
_TENSOR_KEYS = ("name", "shape", "datatype", "data")
_ONE_CELL = ([1], [1, 1])


def read_inputs(entries: object, binary: BinaryData, content_type: str | None) -> Payload:
    """Read the inputs of a request.

    Args:
        entries: What is under `inputs`.
        binary: The binary data of the body, all of which must belong to them.
        content_type: That of the request, if it has one.

    Raises:
        ProtocolError: `MALFORMED`: an input is not of its shape or datatype, or the inputs do not
            make columns.
    """
    if type(entries) is not list or not entries:
        raise malformed("`inputs` must be a list of at least one tensor.")
    row = _one_row(entries) if content_type is None and len(entries) > 1 else None
    if row is not None:
        binary.finish()
        return row
    tensors = []
    for index, entry in enumerate(entries):
        try:
            tensors.append(_read_input(entry, binary))
        except ProtocolError as error:
            raise malformed(f"{_label(entry, index)}: {error.message}") from error
    binary.finish()
    return payload_of(tensors, content_type)


def payload_of(tensors: list[OpenInferenceTensor], content_type: str | None) -> Payload:
    """Return the payload that inputs make, at least one.

    Args:
        tensors: The inputs.
        content_type: That of the request, if it has one.

    Raises:
        ProtocolError: `MALFORMED`: they do not make columns.
    """
    if len(tensors) == 1 and content_type != "pd":
        return _single(tensors[0], content_type)
    if content_type == "np":
        raise malformed("The content type `np` takes exactly one input; leave it out for columns.")
    return _columns(tensors)


def _one_row(entries: list[Any]) -> Columns | None:
    """Read one number for each of several columns, which most requests are; else None.

    An array for each of them would cost more than the model does.
    """
    columns: dict[str, Any] = {}
    for entry in entries:
        if type(entry) is not dict or len(entry) != len(_TENSOR_KEYS):
            return None
        name, data = entry.get("name"), entry.get("data")
        if (
            type(data) is not list
            or len(data) != 1
            or type(data[0]) is not float
            or entry.get("datatype") != "FP64"
            or entry.get("shape") not in _ONE_CELL
            or type(name) is not str
            or not name
        ):
            return None
        columns[name] = data
    return Columns(columns) if len(columns) == len(entries) else None


def _label(entry: object, index: int) -> str:
    """Name an input in a message."""
    name = entry.get("name") if isinstance(entry, dict) else None
    return f"Input {index}" if name is None else f"Input {shown(name)}"


def _single(tensor: OpenInferenceTensor, content_type: str | None) -> Payload:
    """Return the payload of a request with one input."""
    is_array = (tensor.content_type or content_type) == "np" or not tensor.name
    if _is_column(tensor.shape) and not is_array:
        return Columns({tensor.name: tensor.data})
    # An object array only for BYTES, whose elements are a list.
    array = np.asarray(tensor.data, dtype=object if tensor.datatype == "BYTES" else None)
    return Tensor(array.reshape(tensor.shape))


def _columns(tensors: list[OpenInferenceTensor]) -> Columns:
    """Return a table with one column for each input."""
    first = tensors[0]
    n_rows = first.shape[0]
    for tensor in tensors:
        if not _is_column(tensor.shape):
            shape = f"[N] or [N, 1], not {list(tensor.shape)}"
            raise malformed(f"Input {shown(tensor.name)} is a column, its shape must be {shape}.")
        if tensor.shape[0] != n_rows:
            sizes = f"{tensor.shape[0]} rows, but {shown(first.name)} has {n_rows}"
            raise malformed(f"Input {shown(tensor.name)} has {sizes}.")
    columns = {tensor.name: tensor.data for tensor in tensors}
    if len(columns) != len(tensors) or "" in columns:
        raise malformed("The inputs are columns, each must have a name of its own.")
    return Columns(columns)


def _is_column(shape: tuple[int, ...]) -> bool:
    """Return whether a shape is [N] or [N, 1]."""
    return len(shape) == 1 or (len(shape) == 2 and shape[1] == 1)


def _read_input(entry: object, binary: BinaryData) -> OpenInferenceTensor:
    """Read one input; the caller adds its name to an error."""
    if type(entry) is not dict:
        raise malformed(f"It must be an object, not {kind_of(entry)}.")
    name = entry.get("name", "")
    if type(name) is not str:
        raise malformed(f"`name` must be a string, not {kind_of(name)}.")
    datatype = read_datatype(entry.get("datatype"))
    shape = read_shape(entry.get("shape"), "shape")
    parameters = read_parameters(entry.get("parameters"))
    content_type = read_content_type(parameters) if parameters else None
    data: Array | list[Any]
    if "binary_data_size" in parameters:
        taken = binary.take(parameters["binary_data_size"])
        data = elements_from_binary(taken, datatype, shape)
    elif "data" in entry:
        data = elements_from_json(_flatten(entry["data"], shape), datatype)
    else:
        raise malformed("It has neither `data` nor `binary_data_size`; nothing else is read.")
    return input_tensor(name, datatype, shape, data, content_type)


def input_tensor(
    name: str,
    datatype: str,
    shape: tuple[int, ...],
    data: Array | list[Any],
    content_type: str | None,
) -> OpenInferenceTensor:
    """Return an input, its elements freed of the form in which they travelled.

    Raises:
        ProtocolError: `MALFORMED`: they are said to be base64 and are not.
    """
    if content_type == "base64" and isinstance(data, list):
        data = [_from_base64(text) for text in data]
    return OpenInferenceTensor(name, datatype, shape, data, content_type)


def read_datatype(datatype: object) -> str:
    """Return a datatype if it is one of the protocol's.

    Raises:
        ProtocolError: `MALFORMED`.
    """
    if type(datatype) is not str or (datatype not in DTYPES and datatype != "BYTES"):
        raise malformed(f"There is no datatype {shown(datatype)}.")
    return datatype


def check_count(data: list[Any], shape: tuple[int, ...]) -> None:
    """Check that a flat list has the elements that its shape takes.

    Raises:
        ProtocolError: `MALFORMED`.
    """
    if len(data) != math.prod(shape):
        sizes = f"{len(data)} elements, but shape {list(shape)} takes {math.prod(shape)}"
        raise malformed(f"It has {sizes}.")


def read_parameters(value: object) -> dict[str, Any]:
    """Read an object of parameters; empty if there are none.

    Raises:
        ProtocolError: `MALFORMED`.
    """
    if value is None:
        return _NONE
    if type(value) is not dict:
        raise malformed(f"`parameters` must be an object, not {kind_of(value)}.")
    return value


def for_model(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters that the model gets: all that do not speak to the codec."""
    if _OURS.isdisjoint(parameters):
        return parameters
    return {key: parameters[key] for key in parameters.keys() - _OURS}


def read_content_type(parameters: dict[str, Any]) -> str | None:
    """Read the parameter `content_type`.

    Raises:
        ProtocolError: `MALFORMED`: no string, or a form that is not read here.
    """
    content_type = parameters.get("content_type")
    if content_type is None:
        return None
    if type(content_type) is not str:
        raise malformed(f"`content_type` must be a string, not {kind_of(content_type)}.")
    if content_type == "pd_json":
        raise malformed("Content type `pd_json` is not read; send one input per column.")
    return content_type


def _flatten(data: object, shape: tuple[int, ...]) -> list[Any]:
    """Return elements that are flat, or nested to `shape`, as a flat list."""
    if type(data) is not list:
        raise malformed(f"`data` must be a list, not {kind_of(data)}.")
    if data and type(data[0]) is list:
        for size in shape[1:]:
            if set(map(type, data)) != {list} or set(map(len, data)) != {size}:
                raise malformed(f"Nested `data` does not have the shape {list(shape)}.")
            data = list(chain.from_iterable(data))
    check_count(data, shape)
    elements: list[Any] = data
    return elements


def _from_base64(text: str | None) -> bytes | None:
    """Return the bytes that one element of content type `base64` encodes."""
    if text is None:
        return None
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise malformed(f"{shown(text)} is not base64.") from error
