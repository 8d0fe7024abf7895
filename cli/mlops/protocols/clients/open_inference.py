"""Asking a model server that speaks the Open Inference Protocol, `POST /v2/models/NAME/infer`.

Named cells go as one input per column, flat and of shape [N, 1]: MLServer takes nested data for
tuples. An array is one input. Datatypes are those the server's metadata names, where the cells fit.

Specification: `inference_rest.md` of kserve/open-inference-protocol.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np

from mlops.protocols.base import Kind, Payload, Prediction, ProtocolError, Rows, Tensor
from mlops.protocols.clients.base import as_table, column_of, nested, read_answer, strange
from mlops.protocols.json_body import write
from mlops.protocols.open_inference_types import DATATYPES, DTYPES

_NOTHING: type = type(None)
_FITTING: dict[str, set[type]] = {"BOOL": {bool}, "BYTES": {str, bytes, _NOTHING}}
_NUMBERS: dict[str, set[type]] = {"F": {int, float, _NOTHING}, "I": {int}, "U": {int}}


class OpenInferenceAsking:
    """See `ClientCodec`."""

    def encode(
        self, payload: Payload, parameters: Mapping[str, Any], columns: Mapping[str, str]
    ) -> bytes:
        """See `Asking.encode`."""
        if isinstance(payload, Tensor):
            return _write([_array_input(payload)], "np", parameters)
        names, rows = as_table(payload, columns)
        if names is None:
            return _write([_array_input(payload)], "np", parameters)
        inputs = [
            _input(name, [row[i] for row in rows], columns.get(name, ""))
            for i, name in enumerate(names)
        ]
        return _write(inputs, "pd", parameters)

    def decode(self, body: bytes) -> Prediction:
        """See `Asking.decode`."""
        outputs = read_answer(body).get("outputs")
        if not isinstance(outputs, list) or not outputs:
            raise strange("it has no `outputs`")
        try:
            found = {str(output.get("name", "")): _output(output) for output in outputs}
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise strange(f"an output is broken: {error!r}") from error
        if len(found) == 1:
            return next(iter(found.values()))
        return {
            name: column_of(cells) if isinstance(cells, list) or cells.ndim > 1 else cells
            for name, cells in found.items()
        }


def _write(inputs: list[dict[str, Any]], content_type: str, parameters: Mapping[str, Any]) -> bytes:
    said = {**parameters, "content_type": content_type}
    return write({"inputs": inputs, "parameters": said})


def _array_input(payload: Payload) -> dict[str, Any]:
    values = payload.values if isinstance(payload, Tensor | Rows) else []
    cells = nested(values)
    array = values if isinstance(values, np.ndarray) else np.array(cells)
    datatype = DATATYPES.get(array.dtype)
    if array.dtype == np.float16:
        datatype = "FP32"
    found: dict[str, Any]
    if datatype is None:
        # Text, null among numbers, objects: each element for itself.
        array = np.array(cells, dtype=object)
        found = _input("input-0", array.ravel().tolist(), "")
        return {**found, "shape": list(array.shape)}
    return {
        "name": "input-0",
        "shape": list(array.shape),
        "datatype": datatype,
        "data": array.ravel().tolist(),
    }


def _input(name: str, cells: list[Any], declared: str) -> dict[str, Any]:
    kinds = set(map(type, cells))
    datatype = declared if _fits(kinds, declared) else _inferred(name, kinds)
    found: dict[str, Any] = {"name": name, "shape": [len(cells), 1], "datatype": datatype}
    if datatype != "BYTES":
        return {**found, "data": cells}
    if bytes in kinds:
        texts = [
            base64.b64encode(cell).decode() if isinstance(cell, bytes) else cell for cell in cells
        ]
        return {**found, "parameters": {"content_type": "base64"}, "data": texts}
    return {**found, "parameters": {"content_type": "str"}, "data": cells}


def _fits(kinds: set[type], datatype: str) -> bool:
    if datatype in _FITTING:
        return kinds <= _FITTING[datatype]
    # FP16 has no JSON form.
    return datatype in DTYPES and datatype != "FP16" and kinds <= _NUMBERS[datatype[0]]


def _inferred(name: str, kinds: set[type]) -> str:
    if kinds == {bool}:
        return "BOOL"
    if kinds == {int}:
        return "INT64"
    if kinds <= _NUMBERS["F"]:
        return "FP64"
    if kinds <= _FITTING["BYTES"] and not {str, bytes} <= kinds:
        return "BYTES"
    raise ProtocolError(
        Kind.MISMATCH, f"Column `{name[:80]}` has cells of several types; V2 has no form for it."
    )


def _output(output: dict[str, Any]) -> np.ndarray[Any, Any] | list[Any]:
    datatype, shape = output["datatype"], tuple(int(size) for size in output["shape"])
    if datatype == "BYTES":
        cells = np.array(output["data"], dtype=object).reshape(shape)
        return column_of(cells)
    array = np.array(output["data"], dtype=DTYPES[datatype]).reshape(shape)
    # One value a row, whichever way the server shapes it.
    return array.reshape(shape[0]) if array.ndim == 2 and shape[1] == 1 else array


CODEC = OpenInferenceAsking()
