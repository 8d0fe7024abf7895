"""What a model answered, as rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlops.protocols.base import Prediction
from mlops.protocols.predictions import by_row


def rows_of(prediction: Prediction, n_rows: int) -> list[Any] | None:
    """Return one JSON value per row; None where the model answered the rows as a whole.

    Truths of single rows cannot be joined to such an answer; rewards can.
    """
    if type(prediction) is np.ndarray and prediction.shape == (n_rows,):
        numbers: list[Any] = prediction.tolist()
        return numbers
    rowwise = by_row(prediction, n_rows)
    if isinstance(rowwise, np.ndarray):
        rows: list[Any] = rowwise.tolist()
        # One column is one number a row, whichever way the model shapes it.
        return [row[0] if isinstance(row, list) and len(row) == 1 else row for row in rows]
    if isinstance(rowwise, dict):
        columns = {name: np.asarray(values).tolist() for name, values in rowwise.items()}
        if len(columns) == 1:
            return list(next(iter(columns.values())))
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return rowwise if isinstance(rowwise, list) else None
