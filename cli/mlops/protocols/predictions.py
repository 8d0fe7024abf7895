"""What a model answers, as JSON has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mlops.protocols.base import Prediction
from mlops.protocols.json_body import array_cells


def as_rows(prediction: Prediction) -> Any:  # noqa: ANN401 - a JSON value or an array
    """Return n JSON values: an array as it is, a table as objects column name to cell."""
    if isinstance(prediction, np.ndarray):
        return as_nested(prediction)
    if isinstance(prediction, list):
        return prediction
    names = list(prediction)
    return [dict(zip(names, row, strict=True)) for row in table_rows(prediction)]


def as_nested(array: np.ndarray[Any, Any]) -> Any:  # noqa: ANN401 - an array or nested lists
    """Return an array as `write` can take it: orjson would write a missing time as 1677."""
    return array_cells(array) if array.dtype.kind == "M" else array


def table_rows(table: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Return the n rows of a table of k columns."""
    return list(zip(*map(column_cells, table.values()), strict=True))


def column_cells(column: Any) -> list[Any]:  # noqa: ANN401 - any sequence of cells
    """Return the cells of one column as a list."""
    return array_cells(column) if isinstance(column, np.ndarray) else list(column)
