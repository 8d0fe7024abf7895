"""An answer to write, and bodies to read, in few words."""

from __future__ import annotations

from typing import Any, TypeAlias

import orjson
import pytest

from mlops.protocols import Codec
from mlops.protocols.base import (
    InferenceRequest,
    InferenceResponse,
    Kind,
    Prediction,
    ProtocolError,
)

#: A JSON value, or one to become JSON.
Json: TypeAlias = Any
#: Of the form of the router's ids.
REQUEST_ID = "AZoL2m3x_7Jk-Q0d5nTtB1cVwYzE8fRgH2iK4lM6oP9qSuXa"


def answer(
    prediction: Prediction,
    *,
    client_id: str | None = None,
    output_names: tuple[str, ...] | None = None,
) -> InferenceResponse:
    """An answer of the second arm of the deployment `wine`."""
    return InferenceResponse(
        prediction, REQUEST_ID, "wine", 3, "b", 1, "wine/7", client_id, output_names
    )


def read(codec: Codec, document: Json, **headers: str) -> InferenceRequest:
    """Read `document` as JSON; `_` in a header's name stands for `-`."""
    return codec.decode(
        orjson.dumps(document), {name.replace("_", "-"): value for name, value in headers.items()}
    )


def reply(codec: Codec, document: Json, response: InferenceResponse) -> Json:
    """Write `response` to the request `document`, as JSON."""
    return orjson.loads(codec.encode(response, read(codec, document)).body)


def refusal(codec: Codec, document: Json, **headers: str) -> str:
    """Return why `document` is refused as malformed; bytes are a body as they are."""
    body = document if isinstance(document, bytes) else orjson.dumps(document)
    with pytest.raises(ProtocolError) as caught:
        codec.decode(body, headers)
    assert caught.value.kind is Kind.MALFORMED
    return caught.value.message
