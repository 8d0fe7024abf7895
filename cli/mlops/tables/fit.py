"""Which cells a column of a model's signature takes.

MLflow casts: a number written as text is a number, and true is 1. So does mlops, if the cast loses
nothing. Where MLflow's server would change a value silently (1.5 to 1 in a column of whole
numbers, "no" to true in one of booleans, an integer of 40 bits to its lower 32, 20240101 to a
nanosecond of 1970), the cell is refused here. Times are read here, each by itself
(`mlops.tables.times`), where MLflow wants one form in a column and no zone.

Specification: `cast_df_types_according_to_schema` in `mlflow/utils/proto_json_utils.py` and
`_enforce_schema` in `mlflow/models/utils.py` of MLflow 3.17.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mlops.tables.signature import Column
from mlops.tables.times import nanoseconds

#: Limits of MLflow's types of whole numbers.
LIMITS = {"long": (-(2**63), 2**63 - 1), "integer": (-(2**31), 2**31 - 1)}
#: Types that have no null in MLflow, not even in a column that a row may lack.
NEVER_NULL = ("long", "integer", "boolean")
_EXPECTED = {
    "double": "numbers",
    "float": "numbers",
    "long": "whole numbers of up to 64 bits",
    "integer": "whole numbers of up to 32 bits",
    "boolean": "true or false",
    "string": "text",
    "binary": "base64",
    "datetime": "times in ISO 8601 from 1678 to 2261, such as 2024-05-01 or 2024-05-01T12:00:00Z",
}
_ABSENT = type(None)
# Cells of these types alone fit without a look at each.
_FITTING: dict[str, frozenset[type]] = {
    "double": frozenset({float, int, bool, _ABSENT}),
    "float": frozenset({float, int, bool, _ABSENT}),
    "long": frozenset({bool}),
    "integer": frozenset({bool}),
    "boolean": frozenset({bool}),
    "string": frozenset({str, int, float, bool, _ABSENT}),
}


@dataclass(frozen=True, slots=True)
class RowFault:
    """What is wrong with one of several rows, for a caller who may count them from elsewhere.

    Attributes:
        before: The sentence up to the row.
        row: Its number, from 0; None if no row is named.
        after: The rest of the sentence.
    """

    before: str
    row: int | None
    after: str = ""

    def __str__(self) -> str:
        """Say it, with the rows counted from 0."""
        return self.counted_from(0)

    def counted_from(self, first: int) -> str:
        """Say it, with the rows counted from another number than 0."""
        row = "" if self.row is None else f"row {first + self.row}"
        return f"{self.before}{row}{self.after}"

    def within(self, before: str, after: str) -> RowFault:
        """Return it as part of a longer sentence."""
        return RowFault(before + self.before, self.row, self.after + after)


@dataclass(frozen=True, slots=True)
class Misfit:
    """The first cell of a column that does not fit.

    Attributes:
        column: Name of the column.
        row: Its row, from 0.
        value: What is there.
        expected: What the column takes, for a message.
        kind: The column's type.
    """

    column: str
    row: int
    value: Any
    expected: str
    kind: str = ""

    def __str__(self) -> str:
        """Say it in a sentence."""
        return str(self.fault)

    @property
    def fault(self) -> RowFault:
        """What is wrong with the row."""
        takes = f"Column `{self.column}` takes {self.expected}; "
        return RowFault(takes, self.row, f" has {self.shown}.")

    @property
    def is_null(self) -> bool:
        """Whether a missing value is in a column of a type that has none."""
        return self.kind in NEVER_NULL and _is_null(self.value)

    @property
    def hint(self) -> str | None:
        """What to do, where that is known."""
        if not self.is_null:
            return None
        return (
            f"MLflow has no null in a column of type {self.kind}, even an optional one: log "
            f"`{self.column}` as float64 (type double) and train again, or leave such rows out."
        )

    @property
    def shown(self) -> str:
        """What is there, for a message."""
        return "null" if self.value is None or self.is_null else f"`{str(self.value)[:80]}`"


def check(
    columns: Iterable[Column], table: Mapping[str, Any], *, nulls: bool = False
) -> Misfit | None:
    """Return the first misfit of a table, or None. Columns that are not in it are left out.

    Args:
        columns: Those of a signature.
        table: Name to (n,) cells, JSON values.
        nulls: Whether to pass over missing values in columns of types that have none.
    """
    for column in columns:
        cells = table.get(column.name)
        if cells is None or column.type not in _EXPECTED:
            continue
        # NumPy's scalars are not Python's.
        cells = cells.tolist() if hasattr(cells, "tolist") else cells
        if set(map(type, cells)) <= _FITTING.get(column.type, frozenset()):
            continue
        fits = _FITS[column.type]
        for row, cell in enumerate(cells):
            if not fits(cell):
                misfit = Misfit(column.name, row, cell, _EXPECTED[column.type], column.type)
                if not (nulls and misfit.is_null):
                    return misfit
    return None


def misfit_of(column: Column, cell: object, row: int) -> Misfit | None:
    """Return why one cell does not fit, or None.

    Args:
        column: That of a signature.
        cell: A JSON value.
        row: Its row, from 0.
    """
    fits = _FITS.get(column.type)
    if fits is None or fits(cell):
        return None
    return Misfit(column.name, row, cell, _EXPECTED[column.type], column.type)


def is_number(cell: object) -> bool:
    """Whether a cell can be made a double; null is a missing one."""
    if cell is None or isinstance(cell, float):
        return True
    try:
        if isinstance(cell, int | str):
            float(cell)
            return not isinstance(cell, str) or "_" not in cell
    except (ValueError, OverflowError):
        return False
    return False


def is_whole(cell: object, kind: str) -> bool:
    """Whether a cell can be made a whole number of MLflow's type `kind` without a loss."""
    low, high = LIMITS[kind]
    try:
        if isinstance(cell, str):
            return "_" not in cell and low <= int(cell) <= high
        # 2.0**63 is the first double beyond: as a number of Python it compares exactly.
        return isinstance(cell, int | float) and cell % 1 == 0 and low <= cell <= high
    except ValueError:
        return False


def _is_null(cell: object) -> bool:
    # NaN is the only float that is not equal to itself.
    return cell is None or (isinstance(cell, float) and cell != cell)


def _is_base64(cell: object) -> bool:
    if not isinstance(cell, str):
        return False
    try:
        # Lines of it are usual; anything else that is not of its alphabet would be dropped.
        base64.b64decode("".join(cell.split()), validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


_FITS: dict[str, Callable[[Any], bool]] = {
    "double": is_number,
    "float": is_number,
    "long": lambda cell: is_whole(cell, "long"),
    "integer": lambda cell: is_whole(cell, "integer"),
    "boolean": lambda cell: isinstance(cell, bool | int | float) and cell in (0, 1),
    "string": lambda cell: not isinstance(cell, list | dict),
    "binary": _is_base64,
    "datetime": lambda cell: nanoseconds(cell) is not None,
}
