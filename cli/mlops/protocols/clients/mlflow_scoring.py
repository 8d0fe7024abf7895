"""Asking MLflow's scoring server, `POST /invocations`.

Specification: https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally/, "Accepted Input
Formats".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlops.protocols.base import Payload, Prediction, Records, Tensor
from mlops.protocols.clients.base import as_table, nested, prediction_of, read_answer, strange
from mlops.protocols.json_body import write


class MlflowAsking:
    """See `ClientCodec`."""

    def encode(
        self, payload: Payload, parameters: Mapping[str, Any], columns: Mapping[str, str]
    ) -> bytes:
        """See `Asking.encode`."""
        document: dict[str, Any]
        if payload.source is not None and payload.source.form == "body":
            return write({**payload.source.value, **parameters})
        if payload.source is not None and payload.source.form != "csv":
            document = {payload.source.form: payload.source.value}
        elif isinstance(payload, Records):
            document = {"dataframe_records": payload.values}
        elif isinstance(payload, Tensor):
            document = {"inputs": nested(payload.values)}
        else:
            names, rows = as_table(payload, columns)
            split = {"columns": list(names), "data": rows} if names else {"data": rows}
            document = {"dataframe_split": split}
        return write({**document, "params": dict(parameters)} if parameters else document)

    def decode(self, body: bytes) -> Prediction:
        """See `Asking.decode`."""
        document = read_answer(body)
        if "predictions" not in document:
            raise strange("it has no `predictions`")
        return prediction_of(document["predictions"])


CODEC = MlflowAsking()
