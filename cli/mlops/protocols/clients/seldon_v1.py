"""Asking a model that speaks Seldon Core v1, `POST /api/v1.0/predictions`.

Specification: messages `SeldonMessage` and `DefaultData` of `proto/prediction.proto`, seldon-core
1.18.2. A wrapper writes `status.status` as the number 1, the executor as the text FAILURE.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from mlops.protocols.base import Kind, Payload, Prediction, ProtocolError, Tensor
from mlops.protocols.clients.base import (
    as_table,
    nested,
    prediction_of,
    read_answer,
    refusal,
    strange,
)
from mlops.protocols.json_body import write

_FAILURES = (1, "FAILURE")


class SeldonV1Asking:
    """See `ClientCodec`."""

    def encode(
        self, payload: Payload, parameters: Mapping[str, Any], columns: Mapping[str, str]
    ) -> bytes:
        """See `Asking.encode`."""
        if isinstance(payload, Tensor):
            data: dict[str, Any] = {"names": [], "ndarray": nested(payload.values)}
        else:
            names, rows = as_table(payload, columns)
            data = {"names": list(names or ()), "ndarray": rows}
        document = {"data": data}
        # The wrapper hands `meta.tags` to the model.
        return write({**document, "meta": {"tags": dict(parameters)}} if parameters else document)

    def decode(self, body: bytes) -> Prediction:
        """See `Asking.decode`."""
        document = read_answer(body)
        status = document.get("status")
        if isinstance(status, dict) and status.get("status") in _FAILURES:
            raise ProtocolError(Kind.UPSTREAM, f"It failed: {refusal(body)}")
        if isinstance(document.get("data"), dict):
            return _data(document["data"])
        if "jsonData" in document:
            return prediction_of(document["jsonData"])
        if "strData" in document:
            return [document["strData"]]
        raise strange("it has neither `data` nor `jsonData` nor `strData`")


def _data(data: dict[str, Any]) -> Prediction:
    names = [str(name) for name in data.get("names") or ()]
    if "ndarray" in data:
        return prediction_of(data["ndarray"], names)
    tensor = data.get("tensor")
    try:
        if tensor is None:
            raise strange("its `data` has neither `ndarray` nor `tensor`")
        values = np.array(tensor["values"], dtype=np.float64)
        shape = tuple(int(size) for size in tensor["shape"])
        if math.prod(shape) != values.size:
            raise strange(f"{values.size} values do not have the shape {list(shape)}")
        return values.reshape(shape)
    except (KeyError, TypeError, ValueError) as error:
        raise strange(f"its tensor is broken: {error!r}") from error


CODEC = SeldonV1Asking()
