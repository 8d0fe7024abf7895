"""From a request's rows to arrays of numbers, booleans and texts.

Only rows whose cells all are of their column's type are taken; for anything else, such as a
missing text, the fallback knows what MLflow makes of it.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from mlops.protocols.base import Columns, Payload, ProtocolError, Records, Rows, Tensor
from mlops.runtimes.matrix import MatrixBuilder
from mlops.tables.signature import Column

_NUMBERS = frozenset({"double", "float", "integer", "long"})
_OTHERS: Mapping[str, type] = {"boolean": bool, "string": str}
_Array = np.ndarray[Any, Any]


class Table:
    """A batch of rows as one array of numbers and one list per other column.

    Args:
        numbers: float64 (n, k): the columns of numbers, then those of booleans.
        texts: Columns of n texts.
        joinable: Whether it may be joined with others.
    """

    __slots__ = ("key", "numbers", "texts")

    def __init__(
        self, numbers: _Array, texts: Sequence[list[str]], *, joinable: bool = False
    ) -> None:
        self.numbers = numbers
        self.texts = texts
        self.key: Hashable | None = "table" if joinable else None

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.numbers)

    @classmethod
    def join(cls, batches: Sequence[Table]) -> Table:
        """See `Batch.join`."""
        texts = [
            [text for part in parts for text in part]
            for parts in zip(*(batch.texts for batch in batches), strict=True)
        ]
        numbers = np.concatenate([batch.numbers for batch in batches])
        return cls(numbers, texts, joinable=batches[0].key is not None)


def is_tabular(columns: Sequence[Column]) -> bool:
    """Whether every column holds numbers, booleans or texts."""
    return bool(columns) and all(c.type in _NUMBERS or c.type in _OTHERS for c in columns)


class TableBuilder:
    """Builds tables for one signature. Stateless after construction.

    Args:
        columns: The signature's columns, of numbers, booleans and texts.

    Attributes:
        numbers: Names of the columns of `Table.numbers`.
        texts: Names of those of `Table.texts`.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        numbers = [column for column in columns if column.type in _NUMBERS]
        self._flags = [column.name for column in columns if column.type == "boolean"]
        self._columns = tuple(columns)
        self._names = tuple(column.name for column in columns)
        self.numbers = (*(column.name for column in numbers), *self._flags)
        self.texts = tuple(column.name for column in columns if column.type == "string")
        self._matrix = MatrixBuilder(numbers) if numbers else None

    def build(self, payload: Payload) -> tuple[_Array, list[list[str]]] | None:
        """Return the numbers (n, k) and the texts; None if a cell is of another type."""
        if not isinstance(payload, Columns):
            records = self._records(payload)
            if not records:
                return None
            payload = Records(records)
        try:
            texts = [_cells_of(payload, name, str) for name in self.texts]
            flags = [_cells_of(payload, name, bool) for name in self._flags]
            numbers = None if self._matrix is None else self._matrix.build(payload)
        except (KeyError, TypeError, ProtocolError):
            return None
        if numbers is None and self._matrix is not None:
            return None
        parts = [] if numbers is None else [numbers]
        parts += [np.array(cells, dtype=float)[:, None] for cells in flags]
        if not parts:
            return np.empty((payload.n_rows, 0)), texts
        return (parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)), texts

    def named(self, table: Table) -> tuple[dict[str, Any], tuple[Column, ...]]:
        """Return the columns (n,) of a table by name, and what the signature says of them."""
        numbers = zip(self.numbers, table.numbers.T, strict=True)
        return {**dict(numbers), **dict(zip(self.texts, table.texts, strict=True))}, self._columns

    def _records(self, payload: Payload) -> Sequence[Mapping[str, Any]]:
        if isinstance(payload, Records):
            return payload.values
        if isinstance(payload, Tensor | Columns):
            return ()
        assert isinstance(payload, Rows)
        names = payload.names or self._names
        if any(len(row) != len(names) for row in payload.values):
            return ()
        return [dict(zip(names, row, strict=True)) for row in payload.values]


def _cells_of(payload: Payload, name: str, kind: type) -> list[Any]:
    """Return the cells of a column.

    Raises:
        KeyError: A row lacks it.
        TypeError: One is not of this type.
    """
    if isinstance(payload, Columns):
        cells = payload.values[name]
        cells = cells.ravel().tolist() if isinstance(cells, np.ndarray) else cells
    else:
        assert isinstance(payload, Records)
        cells = [record[name] for record in payload.values]
    if set(map(type, cells)) != {kind}:
        raise TypeError
    found: list[Any] = cells
    return found
