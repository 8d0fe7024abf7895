"""From a request's rows to the data frame that MLflow would make of them, in one step.

MLflow casts and enforces a schema column by column, copying as it goes: 600 columns cost it 175 ms
a request (https://github.com/mlflow/mlflow/issues/7948). Where every cell is of its column's type
the result is known beforehand, and can be built at once. Anything else is left to MLflow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlops.protocols.base import Columns, Payload, ProtocolError, Records, Rows, Tensor
from mlops.runtimes.matrix import MatrixBuilder
from mlops.tables.fit import LIMITS
from mlops.tables.signature import Column

if TYPE_CHECKING:
    import pandas as pd

_TYPES: Mapping[str, Any] = {
    "double": np.float64, "float": np.float32, "long": np.int64, "integer": np.int32,
    "boolean": None, "string": None,
}  # fmt: skip
_NUMBER: frozenset[type] = frozenset({float, int, type(None)})
_TAKEN: Mapping[str, frozenset[type]] = {
    "double": _NUMBER, "float": _NUMBER, "long": frozenset({int}), "integer": frozenset({int}),
    "boolean": frozenset({bool}), "string": frozenset({str}),
}  # fmt: skip


class FrameBuilder:
    """Builds data frames for one signature. Stateless after construction.

    Args:
        columns: The signature's columns, named, of the types that `is_plain` knows.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        import pandas as pd

        self._frame = pd.DataFrame
        self._columns = tuple(columns)
        self._names = tuple(column.name for column in columns)
        self._index = pd.DataFrame(dict.fromkeys(self._names, ())).columns
        only_doubles = all(column.type == "double" for column in columns)
        self._matrix = MatrixBuilder(columns) if only_doubles else None

    def build(self, payload: Payload) -> pd.DataFrame | None:
        """Return the rows of `payload` as a frame; None if a cell is of another type."""
        source = payload.source
        if source is not None and source.form in ("body", "csv"):
            return None
        try:
            if self._matrix is not None:
                matrix = self._matrix.build(payload)
                return None if matrix is None else self._frame(matrix, columns=self._index)
            cells = self._cells(payload)
            arrays = {c.name: _array(c, cells[c.name]) for c in self._columns}
        except (KeyError, OverflowError, TypeError, ValueError, ProtocolError):
            return None
        return self._frame(arrays) if len(cells[self._names[0]]) else None

    def _cells(self, payload: Payload) -> Mapping[str, list[Any]]:
        if isinstance(payload, Columns):
            return {name: _listed(payload.values[name]) for name in self._names}
        if isinstance(payload, Records):
            return {name: [record[name] for record in payload.values] for name in self._names}
        if isinstance(payload, Tensor):
            raise TypeError
        assert isinstance(payload, Rows)
        names = payload.names or self._names
        columns = zip(*payload.values, strict=True)
        return {name: list(cells) for name, cells in zip(names, columns, strict=True)}


def is_plain(columns: Sequence[Column]) -> bool:
    """Whether a `FrameBuilder` can be made for these columns."""
    return bool(columns) and all(column.type in _TYPES for column in columns)


def _array(column: Column, cells: list[Any]) -> Any:  # noqa: ANN401 - an array, or a list as it is
    if not set(map(type, cells)) <= _TAKEN[column.type]:
        raise TypeError
    kind = _TYPES[column.type]
    if kind is None:
        # pandas is to choose the type, as it does for MLflow.
        return cells
    if column.type in LIMITS:
        low, high = LIMITS[column.type]
        if min(cells) < low or max(cells) > high:
            raise ValueError
    return np.array(cells, dtype=kind)


def _listed(cells: Any) -> list[Any]:  # noqa: ANN401 - a list or an array
    if not isinstance(cells, np.ndarray):
        return list(cells)
    found: list[Any] = (cells.ravel() if cells.shape[1:] == (1,) else cells).tolist()
    return found
