"""The Open Inference Protocol (V2) over gRPC: the messages of `ModelInfer`.

What a request means, and what is in an answer, is that of the protocol over REST
(`mlops.protocols.open_inference`); only the form of the elements differs. They are typed, in the
field of `contents` that belongs to the datatype, or raw, in `raw_input_contents`, in the form of
the binary data extension. The answer to a raw request is raw, as in KServe and MLServer; Triton's
client reads no other. FP16 has no typed form: typed, it goes out as FP32.

Specification: `specification/protocol/inference_grpc.md` of kserve/open-inference-protocol.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlops.protocols.base import InferenceRequest, InferenceResponse, ProtocolError
from mlops.protocols.binary_tensors import binary_elements, elements_from_binary
from mlops.protocols.json_body import malformed, shown
from mlops.protocols.open_inference_inputs import (
    check_count,
    for_model,
    input_tensor,
    payload_of,
    read_content_type,
    read_datatype,
)
from mlops.protocols.open_inference_outputs import response_parameters, wanted_outputs
from mlops.protocols.open_inference_types import Array, OpenInferenceTensor, elements_from_json
from mlops.protocols.protobuf import Message, message_class
from mlops.protocols.shapes import read_shape
from mlops.tables.signature import Signature

_RESPONSE = message_class("inference.ModelInferResponse")
#: Datatype to the field of `InferTensorContents` that holds its elements; FP16 has none.
_FIELDS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


@dataclass(frozen=True, slots=True)
class RequestedOutputs:
    """Names of the outputs a client asked for, none for all, and whether it sent raw elements."""

    names: tuple[str, ...]
    raw: bool


def read_request(
    message: Message, signature: Signature, *, client_id: str = ""
) -> InferenceRequest:
    """Read a `ModelInferRequest`.

    Args:
        message: The request.
        signature: What the live models take; not needed, as tensors have types of their own.
        client_id: From the metadata of the call, where the message has no `id`.

    Raises:
        ProtocolError: `MALFORMED`: an input is not of its shape or datatype, or the inputs do not
            make columns.
    """
    parameters = _read_parameters(message.parameters)
    content_type = read_content_type(parameters)
    raw = message.raw_input_contents
    if not message.inputs:
        raise malformed("`inputs` must be a list of at least one tensor.")
    if raw and len(raw) != len(message.inputs):
        sizes = f"{len(raw)} elements, but there are {len(message.inputs)} inputs"
        raise malformed(f"`raw_input_contents` has {sizes}; it holds one for each.")
    tensors = []
    for index, entry in enumerate(message.inputs):
        try:
            tensors.append(_read_input(entry, raw[index] if raw else None))
        except ProtocolError as error:
            label = shown(entry.name) if entry.name else index
            raise malformed(f"Input {label}: {error.message}") from error
    return InferenceRequest(
        payload_of(tensors, content_type),
        message.id or client_id or None,
        for_model(parameters),
        RequestedOutputs(tuple(output.name for output in message.outputs), bool(raw)),
    )


def _read_input(entry: Message, raw: bytes | None) -> OpenInferenceTensor:
    """Read one input; the caller adds its name to an error."""
    datatype = read_datatype(entry.datatype)
    shape = read_shape(list(entry.shape), "shape")
    content_type = read_content_type(_read_parameters(entry.parameters))
    data: Array | list[Any]
    if raw is None:
        data = _typed(entry.contents, datatype, shape)
    elif entry.HasField("contents") and entry.contents.ListFields():
        raise malformed("It has `contents`, and there are `raw_input_contents` too.")
    else:
        data = elements_from_binary(memoryview(raw), datatype, shape)
    return input_tensor(entry.name, datatype, shape, data, content_type)


def _typed(contents: Message, datatype: str, shape: tuple[int, ...]) -> Array | list[Any]:
    """Read typed elements."""
    field = _FIELDS.get(datatype)
    if field is None:
        raise malformed(f"{datatype} has no typed contents; send it raw, or as FP32.")
    others = [found.name for found, _ in contents.ListFields() if found.name != field]
    if others:
        raise malformed(f"{datatype} belongs in `{field}`, not in `{others[0]}`.")
    elements = list(getattr(contents, field))
    check_count(elements, shape)
    if datatype == "BYTES":
        elements = [_text(element, index) for index, element in enumerate(elements)]
    return elements_from_json(elements, datatype)


def _text(element: bytes, index: int) -> str:
    try:
        return element.decode()
    except UnicodeDecodeError as error:
        raise malformed(f"Element {index} is not UTF-8.") from error


def _read_parameters(entries: Mapping[str, Message]) -> dict[str, Any]:
    """Read parameters; one that is empty says nothing."""
    found = {}
    for name, entry in entries.items():
        kind = entry.WhichOneof("parameter_choice")
        if kind is not None:
            found[name] = getattr(entry, kind)
    return found


def write_response(response: InferenceResponse, request: InferenceRequest) -> Message:
    """Write the answer to a request that `read_request` has read, as a `ModelInferResponse`.

    Raises:
        ProtocolError: `MISMATCH`: it asks for an output that the model does not have;
            `MODEL_FAILED` if the prediction has no form in this protocol.
    """
    wanted: RequestedOutputs = request.wanted
    message = _RESPONSE(
        model_name=response.deployment,
        model_version=response.arm,
        id=response.client_id or response.request_id,
    )
    _write_parameters(message, response_parameters(response))
    for tensor in wanted_outputs(response, request.n_rows, wanted.names):
        typed = "FP32" if tensor.datatype == "FP16" else tensor.datatype
        output = message.outputs.add(
            name=tensor.name, datatype=tensor.datatype if wanted.raw else typed, shape=tensor.shape
        )
        if tensor.content_type is not None:
            _write_parameters(output, {"content_type": tensor.content_type})
        if wanted.raw:
            message.raw_output_contents.append(binary_elements(tensor))
        else:
            getattr(output.contents, _FIELDS[typed]).extend(_elements(tensor))
    return message


def _write_parameters(message: Message, parameters: Mapping[str, str | int]) -> None:
    for name, value in parameters.items():
        if isinstance(value, str):
            message.parameters[name].string_param = value
        else:
            message.parameters[name].int64_param = value


def _elements(tensor: OpenInferenceTensor) -> list[Any]:
    """Return the elements of an output; a missing string is an empty one."""
    if tensor.datatype == "BYTES":
        return [(text or "").encode("utf-8", "replace") for text in tensor.data]
    elements: list[Any] = tensor.data.tolist()
    return elements
