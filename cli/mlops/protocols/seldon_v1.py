"""Seldon Core v1, protocol `seldon`: predictions.

A `SeldonMessage` holds `meta` and exactly one of `data`, `jsonData`, `strData`, `binData` and
`customData`; `data` holds `names` and one of `ndarray`, `tensor` and `tftensor`. The answer is in
the form of the question, as Seldon's Python wrapper gives it, with these differences:

- `meta.tags` tells request id, arm, revision and version, `meta.routing` the arm: feedback that
  sends `response.meta` back, as Seldon's clients do, names the prediction by that alone;
- `meta.puid` is always there; the router's request id if the client sent none;
- integers stay integers, which the wrapper turns into doubles on their way through protobuf;
- strings and binary data are refused: the models behind this door take rows.

Specification: `proto/prediction.proto`, `executor/api/rest` and `python/seldon_core` (`utils.py`,
`flask_utils.py`) of seldon-core 1.18.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlops.protocols.base import (
    UNSIGNED,
    Encoded,
    InferenceRequest,
    InferenceResponse,
    Payload,
    ProtocolError,
    Rows,
    Tensor,
)
from mlops.protocols.json_body import kind_of, malformed, plain, read_object, write
from mlops.protocols.payloads import read_names, read_payload, read_rows
from mlops.protocols.seldon_v1_answer import Form, answer_content
from mlops.protocols.seldon_v1_tensor import read_tensor
from mlops.protocols.shapes import check_depth
from mlops.tables.signature import Signature

_MESSAGE_KEYS = {"data", "jsonData", "strData", "binData", "customData", "meta", "status"}
_DATA_KEYS = {"names", "ndarray", "tensor", "tftensor"}
_NO_ROWS = {
    "strData": "`strData` holds no rows; send `data` or `jsonData`.",
    "binData": "`binData` holds no rows; send `data` or `jsonData`.",
    "customData": "`customData` needs the sender's protobuf types; send `data` or `jsonData`.",
}
#: A longer id is kept and echoed in the body; header lines have limits of their own.
_MAX_HEADER = 256


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of the question shapes the answer: its form, and the tags to echo."""

    form: Form
    tags: Mapping[str, Any]


class SeldonV1Codec:
    """Reads and writes `SeldonMessage` as JSON."""

    def decode(
        self, body: bytes, headers: Mapping[str, str], signature: Signature = UNSIGNED
    ) -> InferenceRequest:
        """Read a message; the media type is not looked at, as clients send several."""
        message = read_object(body)
        puid, tags = _read_meta(message.get("meta"))
        form, payload = read_message(message)
        puid = puid or headers.get("seldon-puid")
        return InferenceRequest(payload, puid, {}, Wanted(form, tags))

    def encode(self, response: InferenceResponse, request: InferenceRequest) -> Encoded:
        """Write a message in the form of the request."""
        wanted: Wanted = request.wanted
        puid = response.client_id or response.request_id
        message = answer_content(response.prediction, response.output_names, wanted.form)
        message["meta"] = {
            "puid": puid,
            "tags": {
                **wanted.tags,
                "mlops_request_id": response.request_id,
                "mlops_arm": response.arm,
                "mlops_revision": response.revision,
                "mlops_version": response.version,
            },
            "routing": {response.deployment: response.arm_index},
            "requestPath": {response.arm: response.version},
        }
        echo = puid if _fits_header(puid) else response.request_id
        return Encoded(200, write(message), headers=((b"seldon-puid", echo.encode()),))

    def encode_error(self, error: ProtocolError) -> Encoded:
        """Write a status object.

        Upstream there are two: the wrapper sends code -1, a reason and status 1, the executor the
        HTTP status as code, no reason and `FAILURE`, so clients must take either. Ours has the
        wrapper's code and reason, and the name `FAILURE`, which is protobuf's own JSON for 1.
        """
        bad_data = error.kind.status < 500
        status = {
            "code": -1,
            "info": plain(error.message),
            "reason": "MICROSERVICE_BAD_DATA" if bad_data else "MICROSERVICE_INTERNAL_ERROR",
            "status": "FAILURE",
        }
        return Encoded(error.kind.status, write({"status": status}))


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
    key = contents[0]
    if key == "data":
        return _read_data(message["data"])
    if key == "jsonData":
        return "jsonData", read_payload(message["jsonData"], "jsonData")
    raise malformed(_NO_ROWS[key])


def _read_data(data: Any) -> tuple[Form, Rows | Tensor]:  # noqa: ANN401 - a JSON value
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


def _read_meta(meta: Any) -> tuple[str | None, Mapping[str, Any]]:  # noqa: ANN401 - a JSON value
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


def _fits_header(text: str) -> bool:
    """Tell whether `text` can stand in a header line as it is."""
    return len(text) <= _MAX_HEADER and text.isascii() and text.isprintable()


CODEC = SeldonV1Codec()
