"""From a request's rows to the (n, k) array of an all-numeric signature.

The rules are those of the pyfunc path, so that both accept and refuse the same: extra columns are
dropped, a missing one is refused, and what a cell may be says `mlops.tables.fit`. Rows without
names are taken in the signature's order if their width is right.

What nearly all requests are, numbers in every cell, is checked and converted in one step: `struct`
refuses whatever is no number, and rows of another width. Anything else is looked at cell by cell.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from itertools import chain, starmap
from operator import itemgetter
from typing import Any

import numpy as np

from mlops.protocols.base import Columns, Kind, Payload, ProtocolError, Records, Rows, Tensor
from mlops.runtimes.base import refusal_of
from mlops.tables.fit import LIMITS, misfit_of
from mlops.tables.signature import Column

_FLOATS = frozenset({"double", "float"})
#: `struct` codes of the whole numbers.
_CODES = {"integer": "i", "long": "q"}
_DOUBLE_CELLS = frozenset({float, int, type(None)})
_UNUSUAL = (struct.error, KeyError, TypeError, OverflowError, AttributeError)
_LISTS = {list}
_FLOAT64 = np.dtype(np.float64)
_Array = np.ndarray[Any, Any]


def is_numeric(columns: Sequence[Column]) -> bool:
    """Whether every column is a number, so that rows fit one float64 array."""
    return bool(columns) and all(column.type in _FLOATS | _CODES.keys() for column in columns)


class Matrix:
    """A batch of rows as one array.

    Args:
        values: float64 (n, k), in the order of the signature.
    """

    __slots__ = ("values",)
    key: Hashable | None = None

    def __init__(self, values: _Array) -> None:
        self.values = values

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.values)

    @classmethod
    def join(cls, batches: Sequence[Matrix]) -> Matrix:
        """See `Batch.join`."""
        # In the order of memory that `MatrixBuilder` gives.
        return cls(np.asfortranarray(np.concatenate([batch.values for batch in batches])))


class JoinableMatrix(Matrix):
    """Such of a runtime that gives the same digits for a row whatever rows are beside it."""

    __slots__ = ()
    key = "matrix"


class MatrixBuilder:
    """Builds float64 arrays (n, k) for one signature. Stateless after construction.

    Args:
        columns: The signature's k columns, all numeric.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = tuple(columns)
        self._names = tuple(column.name for column in columns)
        self._width = len(self._names)
        self._one_row = (1, self._width)
        self._pick = _picker(self._names)
        self._pack = struct.Struct(f"={self._width}d").pack
        self._only_doubles = all(column.type == "double" for column in columns)
        codes = (_CODES.get(column.type, "d") for column in columns)
        # Refuses fractions and what is beyond the limits of a column of whole numbers.
        self._check = struct.Struct("=" + "".join(codes)).pack
        self._optional = frozenset(column.name for column in columns if not column.required)
        self._singles = [i for i, column in enumerate(columns) if column.type == "float"]

    def build(self, payload: Payload) -> _Array | None:
        """Return the rows of `payload` in the signature's order, (n, k).

        Returns:
            None if there are no rows, or if they lack a column that they may lack.

        Raises:
            ProtocolError: `MISMATCH`, naming the column, what was expected and what came.
        """
        try:
            if type(payload) is Records and len(payload.values) == 1:
                return self._one(self._pick(payload.values[0]))
            if type(payload) is Rows and len(payload.values) == 1:
                if payload.names is None or payload.names == self._names:
                    return self._one(payload.values[0])
            elif type(payload) is Columns:
                columns = self._pick(payload.values)
                if set(map(type, columns)) != _LISTS:
                    columns = [*map(_cells, columns)]
                if len(columns[0]) == 1:
                    return self._one([cells[0] for cells in columns])
                return self._many(zip(*columns, strict=True))
            elif type(payload) is Records:
                return self._many(map(self._pick, payload.values))
            elif type(payload) is Rows and payload.names in (None, self._names):
                return self._many(payload.values)
            elif type(payload) is Tensor and type(payload.values) is np.ndarray:
                return self._array(payload.values)
        except _UNUSUAL:
            pass
        if not payload.n_rows or (self._optional and self._lacks_optional(payload)):
            return None
        return self._unusual(payload)

    def named(self, values: _Array) -> tuple[dict[str, _Array], tuple[Column, ...]]:
        """Return the columns (n,) of an array by name, and what the signature says of them."""
        return dict(zip(self._names, values.T, strict=True)), self._columns

    def _one(self, row: Sequence[Any]) -> _Array:
        if not self._only_doubles:
            self._check(*row)
        matrix: _Array = np.ndarray(self._one_row, _FLOAT64, bytearray(self._pack(*row)))
        return self._rounded(matrix) if self._singles else matrix

    def _many(self, rows: Iterable[Sequence[Any]]) -> _Array | None:
        if not self._only_doubles:
            rows = list(rows)
            for _ in starmap(self._check, rows):
                pass
        data = b"".join(starmap(self._pack, rows))
        if not data:
            return None
        # In the order of a data frame's array: a sum in another order has another last digit.
        matrix = np.frombuffer(data).reshape(-1, self._width).copy("F")
        return self._rounded(matrix) if self._singles else matrix

    def _array(self, values: _Array) -> _Array | None:
        if values.ndim != 2 or values.shape[1] != self._width or values.dtype.kind not in "fiu":
            raise TypeError
        if not self._only_doubles:
            return self._many(values.tolist())
        return values.astype(np.float64, order="F") if len(values) else None

    def _lacks_optional(self, payload: Payload) -> bool:
        if isinstance(payload, Records):
            names = {name for record in payload.values for name in record}
        elif isinstance(payload, Columns):
            names = set(payload.values)
        else:
            names = set(getattr(payload, "names", None) or self._names)
        return not self._optional <= names

    def _unusual(self, payload: Payload) -> _Array:
        rows = self._rows(payload)
        # The types of all cells at once; NumPy itself would quietly read texts as numbers.
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
            # Cells of a list may be lists themselves, which is for the check of cells to refuse.
            return list(zip(*(_cells(payload.values[name]) for name in self._names), strict=True))
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

    def _records(self, records: Sequence[Mapping[str, Any]]) -> list[Any]:
        try:
            return [self._pick(record) for record in records]
        except KeyError:
            # A key that another row has is null in this one, as in a data frame.
            self._order(tuple(dict.fromkeys(name for record in records for name in record)))
            return [[record.get(name) for name in self._names] for record in records]

    def _cell_by_cell(self, rows: Sequence[Sequence[Any]]) -> _Array:
        """Check each cell, and name the first bad one."""
        for number, row in enumerate(rows):
            for column, cell in zip(self._columns, row, strict=True):
                if type(cell) is not float or column.type in LIMITS:
                    misfit = misfit_of(column, cell, number)
                    if misfit is not None:
                        raise refusal_of(misfit)
        return self._rounded(_as_matrix([[_number(cell) for cell in row] for row in rows]))

    def _rounded(self, matrix: _Array) -> _Array:
        for index in self._singles:
            matrix[:, index] = matrix[:, index].astype(np.float32)
        return matrix


def _picker(names: Sequence[str]) -> Callable[[Mapping[str, Any]], Sequence[Any]]:
    """Return what takes the cells of `names` out of a record, in order."""
    if len(names) == 1:
        (name,) = names
        return lambda record: (record[name],)
    return itemgetter(*names)


def _cells(column: object) -> Any:  # noqa: ANN401 - a list
    """Return the n cells of a column; an array may also be (n, 1)."""
    if not isinstance(column, np.ndarray):
        return column
    return (column.ravel() if column.shape[1:] == (1,) else column).tolist()


def _as_matrix(rows: object) -> _Array:
    try:
        # In the order of a data frame's array: a sum in another order has another last digit.
        return np.array(rows, dtype=np.float64, order="F")
    except OverflowError:
        raise ProtocolError(Kind.MISMATCH, "A number of the request is too large.") from None
    except ValueError:
        raise ProtocolError(Kind.MISMATCH, "The rows of the request differ in size.") from None


def _number(cell: object) -> Any:  # noqa: ANN401 - a JSON value
    return float(cell) if isinstance(cell, str) else cell


def _list(names: Sequence[str]) -> str:
    return "[" + ", ".join(f"'{name[:80]}'" for name in names[:20]) + "]"
