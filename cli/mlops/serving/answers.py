"""What a model answered, checked and as rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlops.protocols.base import InferenceRequest, Kind, Prediction, ProtocolError


def rows_match(prediction: Prediction, request: InferenceRequest) -> Prediction:
    """Refuse an answer with another number of rows: feedback by row could not be joined to it."""
    if isinstance(prediction, dict):
        rows = len(next(iter(prediction.values()), ()))
    else:
        rows = len(prediction) if getattr(prediction, "shape", True) != () else 0
    if rows != request.n_rows:
        raise ProtocolError(
            Kind.MODEL_FAILED, f"The model answered {rows} rows to a request of {request.n_rows}."
        )
    return prediction


def rows_of(prediction: Prediction) -> list[Any]:
    """One JSON value per row."""
    if isinstance(prediction, np.ndarray):
        rows: list[Any] = prediction.tolist()
        # One column is one number a row, whichever way the model shapes it.
        return [row[0] if isinstance(row, list) and len(row) == 1 else row for row in rows]
    if isinstance(prediction, dict):
        columns = {name: np.asarray(values).tolist() for name, values in prediction.items()}
        if len(columns) == 1:
            return list(next(iter(columns.values())))
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return prediction
