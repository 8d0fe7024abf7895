"""The Open Inference Protocol (V2) over REST, with its binary tensor data extension.

The deployment is the model, and its arms are the model's versions: names that are unique and can
be part of a path, as those of registered models (`wine/3`) and folders cannot. `parameters` of the
answer have the router's request id, arm, revision and model version. `id` is the client's, else
the router's. Failures are `{"error": "..."}` with a status of 4xx or 5xx, as the specification and
KServe have it; MLServer's 422 with `detail` is not imitated.

Specification: `specification/protocol/inference_rest.md` of kserve/open-inference-protocol
(d49cc23); for content types and names of outputs MLServer 1.7.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from mlops.protocols.base import (
    CLIENT_ID_HEADER,
    UNSIGNED,
    Encoded,
    InferenceRequest,
    InferenceResponse,
    ProtocolError,
)
from mlops.protocols.binary_tensors import HEADER, binary_elements, split_body
from mlops.protocols.http_status import http_status
from mlops.protocols.json_body import kind_of, malformed, plain, read_object, write
from mlops.protocols.open_inference_inputs import (
    for_model,
    read_content_type,
    read_inputs,
    read_parameters,
)
from mlops.protocols.open_inference_outputs import response_parameters, wanted_outputs
from mlops.protocols.open_inference_types import OpenInferenceTensor
from mlops.tables.signature import Signature


@dataclass(frozen=True, slots=True)
class RequestedOutputs:
    """The outputs a client asked for, each with whether in binary, and the default for others."""

    outputs: Mapping[str, bool]
    binary: bool


_ANYTHING = RequestedOutputs({}, binary=False)


class OpenInferenceCodec:
    """Reads inference requests and writes inference responses."""

    def decode(
        self, body: bytes, headers: Mapping[str, str], signature: Signature = UNSIGNED
    ) -> InferenceRequest:
        """Read a request; keys that the specification does not know are ignored."""
        json_part, binary = split_body(body, headers)
        document = read_object(json_part)
        client_id = document.get("id")
        if client_id is not None and type(client_id) is not str:
            raise malformed(f"`id` must be a string, not {kind_of(client_id)}.")
        parameters = read_parameters(document.get("parameters"))
        content_type = read_content_type(parameters)
        payload = read_inputs(document.get("inputs"), binary, content_type)
        wanted = _read_wanted(document.get("outputs"), parameters)
        client_id = client_id or headers.get(CLIENT_ID_HEADER) or None
        return InferenceRequest(payload, client_id, for_model(parameters), wanted)

    def encode(self, response: InferenceResponse, request: InferenceRequest) -> Encoded:
        """Write the outputs that were asked for, or all if the request names none.

        Raises:
            ProtocolError: `MISMATCH`: it asks for one that the model does not have.
        """
        wanted: RequestedOutputs = request.wanted
        if wanted is _ANYTHING and type(response.prediction) is np.ndarray:
            numbers = _numbers(response)
            if numbers is not None:
                return Encoded(200, orjson.dumps(_document(response, [numbers])))
        outputs = wanted_outputs(response, request.n_rows, wanted.outputs)
        chunks: list[bytes] = []
        head = write(_document(response, [_output(each, wanted, chunks) for each in outputs]))
        if not chunks:
            return Encoded(200, head)
        length = ((HEADER.encode(), str(len(head)).encode()),)
        return Encoded(200, b"".join((head, *chunks)), b"application/octet-stream", length)

    def encode_error(self, error: ProtocolError) -> Encoded:
        """Write `{"error": "..."}`."""
        return Encoded(http_status(error.kind), write({"error": plain(error.message)}))


def _document(response: InferenceResponse, outputs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return an answer with these outputs."""
    return {
        "model_name": response.deployment,
        "model_version": response.arm,
        "id": response.client_id or response.request_id,
        "parameters": response_parameters(response),
        "outputs": outputs,
    }


def _numbers(response: InferenceResponse) -> dict[str, Any] | None:
    """Return one finite double per row as the only output, as `_output` would; else None.

    Most models answer that, and with a tensor in between it takes four times as long.
    """
    array = response.prediction
    assert isinstance(array, np.ndarray)
    if array.dtype != np.float64 or array.ndim != 1 or not np.isfinite(array).all():
        return None
    names = response.output_names
    return {
        "name": names[0] if names is not None and len(names) == 1 else "output-1",
        "shape": (len(array), 1),
        "datatype": "FP64",
        "parameters": {"content_type": "np"},
        "data": array.tolist(),
    }


def _read_wanted(outputs: object, parameters: Mapping[str, Any]) -> RequestedOutputs:
    """Read which outputs are asked for, and which of them in binary."""
    binary = parameters.get("binary_data_output") is True
    if not outputs and (outputs is None or outputs == []):
        return RequestedOutputs({}, binary) if binary else _ANYTHING
    if type(outputs) is not list:
        raise malformed(f"`outputs` must be a list, not {kind_of(outputs)}.")
    wanted: dict[str, bool] = {}
    for index, output in enumerate(outputs):
        if type(output) is not dict or type(output.get("name")) is not str:
            raise malformed(f"`outputs[{index}]` must be an object with a `name`.")
        own = read_parameters(output.get("parameters"))
        wanted[output["name"]] = own.get("binary_data", binary) is True
    return RequestedOutputs(wanted, binary)


def _output(
    tensor: OpenInferenceTensor, wanted: RequestedOutputs, chunks: list[bytes]
) -> dict[str, Any]:
    """Return one output; in binary, its elements go to the end of `chunks`."""
    entry: dict[str, Any] = {
        "name": tensor.name,
        "shape": tensor.shape,
        "datatype": tensor.datatype,
    }
    parameters: dict[str, Any] = {}
    if tensor.content_type is not None:
        entry["parameters"] = parameters
        parameters["content_type"] = tensor.content_type
    if wanted.outputs.get(tensor.name, wanted.binary):
        chunks.append(binary_elements(tensor))
        entry["parameters"] = parameters
        parameters["binary_data_size"] = len(chunks[-1])
    elif tensor.datatype == "FP16":
        entry["datatype"], entry["data"] = "FP32", tensor.data.astype(np.float32)
    else:
        entry["data"] = tensor.data
    return entry


CODEC = OpenInferenceCodec()
