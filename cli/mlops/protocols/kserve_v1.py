"""KServe V1, the protocol of TensorFlow Serving's REST predict call.

`{"instances": [...]}`, or `{"inputs": ...}`, gives `{"predictions": [...]}`; a failure is
`{"error": "..."}`. Rows are lists or objects, there are neither names nor types; `inputs` may
also be an object of columns, as TensorFlow Serving has it.

Specification: https://kserve.github.io/website/docs/concepts/architecture/data-plane/v1-protocol
and `kserve/protocol/rest/v1_endpoints.py`, `kserve/errors.py` of KServe 0.20.
"""

from __future__ import annotations

from collections.abc import Mapping

from mlops.protocols.base import (
    UNSIGNED,
    Encoded,
    InferenceRequest,
    InferenceResponse,
    ProtocolError,
    client_id_of,
)
from mlops.protocols.http_status import http_status
from mlops.protocols.json_body import malformed, plain, read_object, write
from mlops.protocols.payloads import read_payload
from mlops.protocols.predictions import as_rows, flat
from mlops.tables.signature import Signature


class KServeV1Codec:
    """Reads and writes KServe V1; it has no request id, so a header has the caller's."""

    def decode(
        self, body: bytes, headers: Mapping[str, str], signature: Signature = UNSIGNED
    ) -> InferenceRequest:
        """Read `{"instances": ...}` or `{"inputs": ...}`; other keys are ignored."""
        document = read_object(body)
        keys = [key for key in ("instances", "inputs") if key in document]
        if len(keys) != 1:
            raise malformed("The body must have exactly one of `instances` and `inputs`.")
        payload = read_payload(document[keys[0]], keys[0])
        return InferenceRequest(payload, client_id_of(headers))

    def encode(self, response: InferenceResponse, request: InferenceRequest) -> Encoded:
        """Write `{"predictions": [...]}`; a table becomes one object per row."""
        return Encoded(200, write({"predictions": as_rows(flat(response.prediction))}))

    def encode_error(self, error: ProtocolError) -> Encoded:
        """Write `{"error": "..."}`."""
        return Encoded(http_status(error.kind), write({"error": plain(error.message)}))


CODEC = KServeV1Codec()
