"""From a request's rows to the (n, k) array of an all-numeric signature.

The rules are those of the pyfunc path, so that both accept and refuse the same: extra columns are
dropped, a missing one is refused, and what a cell may be says `mlops.tables.fit`. Rows without
names are taken in the signature's order if their width is right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from mlops.protocols.base import Columns, Kind, Payload, ProtocolError, Records, Rows
from mlops.tables.fit import LIMITS, misfit_of
from mlops.tables.signature import Column

_FLOATS = frozenset({"double", "float"})
_WHOLES = frozenset({"integer", "long"})
_DOUBLE_CELLS = frozenset({float, int, type(None)})


def is_numeric(columns: Sequence[Column]) -> bool:
    """Whether every column is a number, so that rows fit one float64 array."""
    return bool(columns) and all(
        column.type in _FLOATS | _WHOLES and column.required for column in columns
    )


class Matrix:
    """A batch of rows as one array.

    Args:
        values: float64 (n, k), in the order of the signature.
    """

    __slots__ = ("values",)
    #: Joining may change the last digit of an answer until a runtime has shown that it does not.
    key = None

    def __init__(self, values: np.ndarray[Any, Any]) -> None:
        self.values = values

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.values)

    @classmethod
    def join(cls, batches: Sequence[Matrix]) -> Matrix:
        """See `Batch.join`."""
        return cls(np.concatenate([batch.values for batch in batches]))


class MatrixBuilder:
    """Builds float64 arrays (n, k) for one signature. Stateless after construction.

    Args:
        columns: The signature's k columns, all numeric.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = tuple(columns)
        self._names = tuple(column.name for column in columns)
        self._only_doubles = all(column.type == "double" for column in columns)
        self._singles = [i for i, column in enumerate(columns) if column.type == "float"]

    def build(self, payload: Payload) -> np.ndarray[Any, Any]:
        """Return the rows of `payload` in the signature's order, (n, k).

        Raises:
            ProtocolError: `MISMATCH`, naming the column, what was expected and what came.
        """
        rows = self._rows(payload)
        # The types of all cells at once; NumPy itself would quietly turn True into 1.0.
        if self._only_doubles and set(map(type, chain.from_iterable(rows))) <= _DOUBLE_CELLS:
            return _as_matrix(rows)
        return self._cell_by_cell(rows)

    def _rows(self, payload: Payload) -> Any:  # noqa: ANN401 - nested lists or an array
        if isinstance(payload, Rows):
            if payload.names is None:
                return self._by_position(payload.values)
            if payload.names == self._names:
                return payload.values
            order = self._order(payload.names)
            return [[row[index] for index in order] for row in payload.values]
        if isinstance(payload, Records):
            return self._records(payload.values)
        if isinstance(payload, Columns):
            self._order(tuple(payload.values))
            picked = [payload.values[name] for name in self._names]
            # Cells of a list may be lists themselves, which is for the check of cells to refuse.
            cells = [c.tolist() if isinstance(c, np.ndarray) else c for c in picked]
            return list(zip(*cells, strict=True))
        values = self._by_position(payload.values)
        if set(map(type, values)) - {list, tuple} or len(set(map(len, values))) != 1:
            raise ProtocolError(Kind.MISMATCH, "The rows of the request differ in size.")
        return values

    def _by_position(self, values: Any) -> Any:  # noqa: ANN401 - nested lists or an array
        if isinstance(values, np.ndarray):
            values = values.tolist()
        first = values[0]
        width = len(first) if isinstance(first, list | tuple) else 1
        if width != len(self._names) or not isinstance(first, list | tuple):
            raise ProtocolError(
                Kind.MISMATCH,
                f"The model takes {len(self._names)} columns ({_list(self._names)}); "
                f"a row of the request has {width}.",
            )
        return values

    def _order(self, names: tuple[str, ...]) -> list[int]:
        position = {name: index for index, name in enumerate(names)}
        missing = [name for name in self._names if name not in position]
        if missing:
            raise ProtocolError(
                Kind.MISMATCH,
                f"Model is missing inputs {_list(missing)}. The request has {_list(names)}.",
            )
        return [position[name] for name in self._names]

    def _records(self, records: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
        try:
            return [[record[name] for name in self._names] for record in records]
        except KeyError:
            # A key that another row has is null in this one, as in a data frame.
            self._order(tuple(dict.fromkeys(name for record in records for name in record)))
            return [[record.get(name) for name in self._names] for record in records]

    def _cell_by_cell(self, rows: Sequence[Sequence[Any]]) -> np.ndarray[Any, Any]:
        """Check each cell, and name the first bad one."""
        for number, row in enumerate(rows):
            for column, cell in zip(self._columns, row, strict=True):
                if type(cell) is not float or column.type in LIMITS:
                    misfit = misfit_of(column, cell, number)
                    if misfit is not None:
                        raise ProtocolError(Kind.MISMATCH, str(misfit))
        matrix = _as_matrix([[_number(cell) for cell in row] for row in rows])
        for index in self._singles:
            matrix[:, index] = matrix[:, index].astype(np.float32)
        return matrix


def _as_matrix(rows: Any) -> np.ndarray[Any, Any]:  # noqa: ANN401 - nested lists
    try:
        # In the order of a data frame's array: a sum in another order has another last digit.
        return np.array(rows, dtype=np.float64, order="F")
    except OverflowError:
        raise ProtocolError(Kind.MISMATCH, "A number of the request is too large.") from None
    except ValueError:
        raise ProtocolError(Kind.MISMATCH, "The rows of the request differ in size.") from None


def _number(cell: Any) -> Any:  # noqa: ANN401 - a JSON value
    return float(cell) if isinstance(cell, str) else cell


def _list(names: Sequence[str]) -> str:
    return "[" + ", ".join(f"'{name[:80]}'" for name in names[:20]) + "]"
