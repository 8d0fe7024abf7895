"""Seldon Core v1, protocol `seldon`: predictions.

A `SeldonMessage` holds `meta` and exactly one of `data`, `jsonData`, `strData`, `binData` and
`customData`; `data` holds `names` and one of `ndarray`, `tensor` and `tftensor`. The answer is in
the form of the question, as Seldon's Python wrapper gives it, with these differences:

- `meta.puid` is always there, the router's request id if the client sent none: feedback that
  sends `response.meta` back, as Seldon's clients do, names the prediction by that alone. Beside a
  client's own puid the request id is in `meta.requestPath`, under `mlops_request_id`;
- `meta.routing` names the arm, `meta.requestPath` its version. `meta.tags` has only what the client
  sent: `SeldonClient.feedback` with its default, `client_return_type="dict"`, builds a `Feedback`
  from the answer and raises a `TypeError` for any tag (protobuf 3.12 to 3.20), as it can fill maps
  of numbers and strings (`routing`, `requestPath`) and none of `Value`;
- integers stay integers, which the wrapper turns into doubles on their way through protobuf;
- `strData` and `binData` are one row of one cell.

Specification: `proto/prediction.proto`, `executor/api/rest` and `python/seldon_core` (`utils.py`,
`flask_utils.py`) of seldon-core 1.18.2.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from mlops.protocols.base import (
    CLIENT_ID_HEADER,
    UNSIGNED,
    Encoded,
    InferenceRequest,
    InferenceResponse,
    Payload,
    ProtocolError,
    Rows,
    Tensor,
)
from mlops.protocols.http_status import http_status
from mlops.protocols.json_body import kind_of, malformed, plain, read_object, write
from mlops.protocols.payloads import read_names, read_payload, read_rows
from mlops.protocols.seldon_v1_answer import Form, answer_content
from mlops.protocols.seldon_v1_tensor import read_tensor
from mlops.protocols.shapes import check_depth
from mlops.tables.signature import Signature

_MESSAGE_KEYS = {"data", "jsonData", "strData", "binData", "customData", "meta", "status"}
_DATA_KEYS = {"names", "ndarray", "tensor", "tftensor"}
#: Where `meta.requestPath` has the router's request id, beside a client's own `puid`.
REQUEST_ID_KEY = "mlops_request_id"
#: A longer id is kept and echoed in the body; header lines have limits of their own.
_MAX_HEADER = 256


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """What of the question shapes the answer: its form, and the tags to echo."""

    form: Form
    tags: Mapping[str, Any]


class SeldonV1Codec:
    """Reads and writes `SeldonMessage` as JSON."""

    def decode(
        self, body: bytes, headers: Mapping[str, str], signature: Signature = UNSIGNED
    ) -> InferenceRequest:
        """Read a message; the media type is not looked at, as clients send several."""
        message = read_message_object(body, headers)
        puid, tags = _read_meta(message.get("meta"))
        form, payload = read_message(message)
        puid = puid or headers.get("seldon-puid") or headers.get(CLIENT_ID_HEADER) or None
        return InferenceRequest(payload, puid, {}, AnswerForm(form, tags))

    def encode(self, response: InferenceResponse, request: InferenceRequest) -> Encoded:
        """Write a message in the form of the request."""
        wanted: AnswerForm = request.wanted
        puid = response.client_id or response.request_id
        message = answer_content(response.prediction, response.output_names, wanted.form)
        message["meta"] = {
            "puid": puid,
            "tags": wanted.tags,
            "routing": _routing(response),
            "requestPath": {response.arm: response.version},
        }
        if response.client_id:
            message["meta"]["requestPath"][REQUEST_ID_KEY] = response.request_id
        echo = puid if _fits_header(puid) else response.request_id
        return Encoded(200, write(message), headers=((b"seldon-puid", echo.encode()),))

    def encode_error(self, error: ProtocolError) -> Encoded:
        """Write a status object.

        Upstream there are two: the wrapper sends code -1, a reason and status 1, the executor the
        HTTP status as code, no reason and `FAILURE`, so clients must take either. This has the
        wrapper's code and reason, and the name `FAILURE`, which is protobuf's own JSON for 1.
        """
        status = http_status(error.kind)
        return Encoded(status, write({"status": failure(error.message, is_bad_data=status < 500)}))


def failure(info: str, *, is_bad_data: bool) -> dict[str, Any]:
    """Return the status of an answer that failed, as `encode_error` has it."""
    return {
        "code": -1,
        "info": plain(info),
        "reason": "MICROSERVICE_BAD_DATA" if is_bad_data else "MICROSERVICE_INTERNAL_ERROR",
        "status": "FAILURE",
    }


def write_branch(response: InferenceResponse, request: InferenceRequest) -> Encoded:
    """Write what a ROUTER answers: the position of the child that a request goes to.

    Source: `executor/api/rest/utils.go` of seldon-core 1.17.1, `ExtractRouteFromSeldonMessage`.
    """
    puid = response.client_id or response.request_id
    branch = {"data": {"ndarray": [[response.arm_index]]}, "meta": {"puid": puid}}
    return Encoded(200, write(branch), headers=())


def read_message_object(body: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
    """Read a body: a JSON object, or a form with one in its only field, `json`.

    `SeldonClient.microservice` sends such a form, and Seldon's wrapper reads both.

    Raises:
        ProtocolError: `MALFORMED`.
    """
    if headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        # Without the field it is JSON: curl's `--data` calls everything a form.
        name, _, value = body.partition(b"=")
        body = unquote_to_bytes(value.replace(b"+", b" ")) if name == b"json" else body
    return read_object(body)


def read_message(message: Mapping[str, Any]) -> tuple[Form, Payload]:
    """Read the rows of a `SeldonMessage`, and the form they have.

    Raises:
        ProtocolError: `MALFORMED`: an unknown key, no data or several, or not rows.
    """
    if not message.keys() <= _MESSAGE_KEYS:
        unknown = sorted(message.keys() - _MESSAGE_KEYS)
        raise malformed(f"A Seldon message has no key `{unknown[0][:40]}`.")
    contents = [key for key in message if key not in {"meta", "status"}]
    if len(contents) != 1:
        keys = "`data`, `jsonData`, `strData`, `binData` and `customData`"
        raise malformed(f"A Seldon message must have exactly one of {keys}.")
    (key,) = contents
    value = message[key]
    match key:
        case "data":
            return _read_data(value)
        case "jsonData":
            return "jsonData", read_payload(value, key)
        case "customData":
            raise malformed("`customData` needs the sender's own types; send `data` or `jsonData`.")
    if type(value) is not str:
        raise malformed(f"`{key}` must be a string, not {kind_of(value)}.")
    return "jsonData", Rows([[value if key == "strData" else _from_base64(value)]])


def _from_base64(text: str) -> bytes:
    """Return the bytes of `binData`, which JSON has in base64."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise malformed("`binData` is not base64.") from error


def _read_data(data: object) -> tuple[Form, Rows | Tensor]:
    """Read `data`: `names` and one of `ndarray` and `tensor`."""
    if type(data) is not dict:
        raise malformed(f"`data` must be an object, not {kind_of(data)}.")
    if not data.keys() <= _DATA_KEYS:
        unknown = sorted(data.keys() - _DATA_KEYS)
        raise malformed(f"`data` has no key `{unknown[0][:40]}`.")
    if "tftensor" in data:
        raise malformed("`data.tftensor` needs TensorFlow; send `data.ndarray` or `data.tensor`.")
    if ("ndarray" in data) is ("tensor" in data):
        raise malformed("`data` must have exactly one of `ndarray` and `tensor`.")
    names = read_names(data.get("names"), "data.names")
    if "ndarray" in data:
        return "ndarray", read_rows(data["ndarray"], "data.ndarray", names)
    return "tensor", read_tensor(data["tensor"], "data.tensor", names)


def _read_meta(meta: object) -> tuple[str | None, Mapping[str, Any]]:
    """Read the client's id and its tags."""
    if meta is None:
        return None, {}
    if type(meta) is not dict:
        raise malformed(f"`meta` must be an object, not {kind_of(meta)}.")
    puid, tags = meta.get("puid"), meta.get("tags")
    if puid is not None and type(puid) is not str:
        raise malformed(f"`meta.puid` must be a string, not {kind_of(puid)}.")
    if tags is not None and type(tags) is not dict:
        raise malformed(f"`meta.tags` must be an object, not {kind_of(tags)}.")
    if tags:
        check_depth([tags], "meta.tags")
    return puid or None, tags or {}


def _routing(response: InferenceResponse) -> dict[str, int]:
    """Return which child the deployment chose as a router.

    A server of a single model inside a graph of Seldon's has one name for deployment and arm. A
    name means one node of the graph, and a model routes to nothing.
    """
    if response.arm == response.deployment:
        return {}
    return {response.deployment: response.arm_index}


def _fits_header(text: str) -> bool:
    """Return whether `text` can be in a header line as it is."""
    return len(text) <= _MAX_HEADER and text.isascii() and text.isprintable()


CODEC = SeldonV1Codec()
