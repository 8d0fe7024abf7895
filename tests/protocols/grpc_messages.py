"""Open Inference requests as messages of gRPC, made from the same request as JSON."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from mlops.protocols.open_inference_types import DTYPES
from mlops.protocols.protobuf import Message, message_class
from tests.protocols.answers import Json

REQUEST = message_class("inference.ModelInferRequest")
#: Datatype to the field that the specification gives its elements; FP16 has none.
FIELDS = {
    **dict.fromkeys(["INT8", "INT16", "INT32"], "int_contents"),
    **dict.fromkeys(["UINT8", "UINT16", "UINT32"], "uint_contents"),
    "BOOL": "bool_contents",
    "INT64": "int64_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def message_of(document: Json, *, raw: bool, model: str = "wine", version: str = "") -> Message:
    """Return the message that says what a request says in JSON; `data` is flat."""
    message = REQUEST(model_name=model, model_version=version, id=document.get("id", ""))
    _set(message.parameters, document.get("parameters", {}))
    for entry in document["inputs"]:
        tensor = message.inputs.add(
            name=entry.get("name", ""), datatype=entry["datatype"], shape=entry["shape"]
        )
        _set(tensor.parameters, entry.get("parameters", {}))
        if raw:
            message.raw_input_contents.append(raw_elements(entry["datatype"], entry["data"]))
        else:
            is_text = entry["datatype"] == "BYTES"
            data = [text.encode() for text in entry["data"]] if is_text else entry["data"]
            getattr(tensor.contents, FIELDS[entry["datatype"]]).extend(data)
    for output in document.get("outputs", ()):
        message.outputs.add(name=output["name"])
    return message


def raw_elements(datatype: str, data: list[Any]) -> bytes:
    """Write elements as the binary data extension does."""
    if datatype == "BYTES":
        return b"".join(struct.pack("<I", len(t)) + t for t in (text.encode() for text in data))
    return np.array(data, dtype=DTYPES[datatype]).tobytes()


def elements(response: Message) -> dict[str, tuple[str, list[int], list[Any]]]:
    """Return datatype, shape and elements of each output, typed or raw."""
    found = {}
    for index, output in enumerate(response.outputs):
        if response.raw_output_contents:
            data = _from_raw(output.datatype, response.raw_output_contents[index])
        else:
            data = list(getattr(output.contents, FIELDS[output.datatype]))
            if output.datatype == "BYTES":
                data = [element.decode() for element in data]
        found[output.name] = (output.datatype, list(output.shape), data)
    return found


def parameters(entries: Any) -> dict[str, Any]:
    """Return parameters as plain values."""
    return {
        name: getattr(each, each.WhichOneof("parameter_choice")) for name, each in entries.items()
    }


def _set(entries: Any, values: Json) -> None:
    fields = {bool: "bool_param", int: "int64_param", str: "string_param", float: "double_param"}
    for name, value in values.items():
        setattr(entries[name], fields[type(value)], value)


def _from_raw(datatype: str, raw: bytes) -> list[Any]:
    if datatype != "BYTES":
        data: list[Any] = np.frombuffer(raw, dtype=DTYPES[datatype]).tolist()
        return data
    texts = []
    while raw:
        size = struct.unpack_from("<I", raw)[0]
        texts.append(raw[4 : 4 + size].decode())
        raw = raw[4 + size :]
    return texts
