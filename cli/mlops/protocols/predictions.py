"""What a model answers, as JSON has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mlops.protocols.base import Prediction, Series, Whole
from mlops.protocols.json_body import array_cells


def as_rows(prediction: Prediction) -> Any:  # noqa: ANN401 - a JSON value or an array
    """Return n JSON values: an array as it is, a table as objects column name to cell."""
    if isinstance(prediction, np.ndarray):
        return as_nested(prediction)
    if isinstance(prediction, Whole):
        return prediction.value
    if isinstance(prediction, list):
        return prediction
    names = list(prediction)
    return [dict(zip(names, row, strict=True)) for row in table_rows(prediction)]


def as_nested(array: np.ndarray[Any, Any]) -> Any:  # noqa: ANN401 - an array or nested lists
    """Return an array as `write` can take it.

    orjson would write a missing time as 1677, and a float32 with digits that only tell it from
    another float32: read as a double, which is what JSON has, it would be another number.
    """
    if array.dtype.kind == "f" and array.dtype.itemsize < 8:
        return array.astype(np.float64)
    return array_cells(array) if array.dtype.kind == "M" else array


def by_row(prediction: Prediction, n_rows: int) -> Prediction | None:
    """Return a prediction as n values or columns of n; None if it answers the rows as a whole."""
    if isinstance(prediction, Whole):
        value = prediction.value
        if isinstance(value, dict) and set(map(_size, value.values())) == {n_rows}:
            return {str(name): cells for name, cells in value.items()}
        return [value] if n_rows == 1 else None
    if isinstance(prediction, dict):
        return prediction if _size(next(iter(prediction.values()), ())) == n_rows else None
    return prediction if _size(prediction) == n_rows else None


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


def _size(cells: Any) -> int:  # noqa: ANN401 - any value
    is_sized = isinstance(cells, list | tuple) or (isinstance(cells, np.ndarray) and cells.ndim > 0)
    return len(cells) if is_sized else -1


def flat(prediction: Prediction) -> Prediction:
    """Return the one column of a Series as an array; anything else as it is."""
    if not isinstance(prediction, Series):
        return prediction
    return np.asarray(next(iter(prediction.values())))


def table_rows(table: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Return the n rows of a table of k columns."""
    return list(zip(*map(column_cells, table.values()), strict=True))


def column_cells(column: Any) -> list[Any]:  # noqa: ANN401 - any sequence of cells
    """Return the cells of one column as a list."""
    return array_cells(column) if isinstance(column, np.ndarray) else list(column)
