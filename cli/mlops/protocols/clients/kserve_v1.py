"""Asking a model server that speaks KServe V1, `POST /v1/models/NAME:predict`.

The protocol has rows but neither names nor types, so named cells go as objects: a server that takes
lists only refuses them, where a list in another order than the model's would be answered, wrongly.

Specification: https://kserve.github.io/website/docs/concepts/architecture/data-plane/v1-protocol.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlops.protocols.base import Columns, Payload, Prediction, Records, Rows
from mlops.protocols.clients.base import as_table, nested, prediction_of, read_answer, strange
from mlops.protocols.json_body import write


class KserveV1Asking:
    """See `ClientCodec`."""

    def encode(
        self, payload: Payload, parameters: Mapping[str, Any], columns: Mapping[str, str]
    ) -> bytes:
        """See `Asking.encode`."""
        document: dict[str, Any] = {"instances": _instances(payload)}
        return write({**document, "parameters": dict(parameters)} if parameters else document)

    def decode(self, body: bytes) -> Prediction:
        """See `Asking.decode`."""
        document = read_answer(body)
        if "predictions" not in document:
            raise strange("it has no `predictions`")
        return prediction_of(document["predictions"])


def _instances(payload: Payload) -> list[Any]:
    if isinstance(payload, Records):
        return list(payload.values)
    if isinstance(payload, Columns) or (isinstance(payload, Rows) and payload.names):
        names, rows = as_table(payload, {})
        assert names is not None
        return [dict(zip(names, row, strict=True)) for row in rows]
    return [nested(row) if not _is_cell(row) else row for row in nested(payload.values)]


def _is_cell(row: object) -> bool:
    return row is None or isinstance(row, bool | int | float | str | dict)


CODEC = KserveV1Asking()
