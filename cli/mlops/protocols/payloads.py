"""JSON values to payloads: rows, objects or columns, with at least one row and rectangular."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from typing import Any

from mlops.protocols.base import Columns, Payload, Records, Rows, Tensor
from mlops.protocols.json_body import kind_of, malformed, shown
from mlops.protocols.shapes import check_depth, check_nesting, check_rectangle, check_width

_NESTED = {list, dict}


# Names that were checked last, by how many they were.
_last_names: dict[int, tuple[str, ...]] = {}
_FEW_NAMES = 1_000


def read_payload(value: object, where: str) -> Payload:
    """Read rows in whatever form they come: lists, objects, single values, or columns.

    Args:
        value: A JSON value.
        where: The key it stood under, for messages.

    Raises:
        ProtocolError: `MALFORMED`.
    """
    if type(value) is dict:
        return read_columns(value, where)
    if type(value) is list and value and type(value[0]) is dict:
        return read_records(value, where)
    return read_rows(value, where)


def read_rows(value: object, where: str, names: tuple[str, ...] | None = None) -> Rows | Tensor:
    """Read (n, k) rows, or an array of another rank if there are no names.

    Raises:
        ProtocolError: `MALFORMED`: no rows, ragged rows, objects in it, or k names expected.
    """
    rows = check_rows(value, where)
    if is_plain_row(rows):
        check_width(names, len(rows[0]), where)
        return Rows(rows, names)
    kinds = set(map(type, rows))
    if kinds == {list}:
        width = check_rectangle(rows, where)
        if _NESTED.isdisjoint(map(type, chain.from_iterable(rows))):
            check_width(names, width, where)
            return Rows(rows, names)
        check_nesting(rows, where)
        if names is None:
            return Tensor(rows)
        raise malformed(
            f"`{where}` is nested deeper than rows of cells, but its columns have names."
        )
    if kinds.isdisjoint(_NESTED):
        if names is None:
            return Tensor(rows)
        check_width(names, 1, where)
        return Rows([[cell] for cell in rows], names)
    raise _mixed(rows, where)


def read_records(value: object, where: str) -> Records:
    """Read n objects, one per row.

    Raises:
        ProtocolError: `MALFORMED`: no list, no rows, a row that is not an object, or too deep.
    """
    rows = check_rows(value, where)
    if set(map(type, rows)) != {dict}:
        row = next(i for i, record in enumerate(rows) if type(record) is not dict)
        raise malformed(f"Row {row} of `{where}` must be an object, not {kind_of(rows[row])}.")
    check_depth(chain.from_iterable(map(dict.values, rows)), where)
    return Records(rows)


def read_columns(table: dict[str, Any], where: str) -> Columns | Records:
    """Read an object of columns; one of single values is one row.

    Raises:
        ProtocolError: `MALFORMED`: columns of no or of differing length.
    """
    kinds = set(map(type, table.values()))
    if kinds and kinds.isdisjoint(_NESTED):
        return Records([table])
    if kinds != {list}:
        raise malformed(f"`{where}` must have a list of values for each column.")
    first, *others = table
    n_rows = len(table[first])
    for name in others:
        if len(table[name]) != n_rows:
            sizes = f"{len(table[name])} values, but `{first}` has {n_rows}"
            raise malformed(f"Column {shown(name)} of `{where}` has {sizes}.")
    if n_rows == 0:
        raise malformed(f"`{where}` has no rows.")
    check_depth(chain.from_iterable(table.values()), where)
    return Columns(table)


def read_names(value: object, where: str) -> tuple[str, ...] | None:
    """Read column names; None if there are none.

    Raises:
        ProtocolError: `MALFORMED`: no list of strings, or a name twice.
    """
    if not value and (value is None or type(value) is list):
        return None
    names = tuple(value) if type(value) is list else ()
    if names and names == _last_names.get(len(names)):
        # Those of the request before, as nearly always.
        return names
    if set(map(type, names)) != {str}:
        raise malformed(f"`{where}` must be a list of strings.")
    if len(set(names)) != len(names):
        twice, _ = Counter(names).most_common(1)[0]
        raise malformed(f"`{where}` has the name {shown(twice)} twice.")
    if len(names) <= _FEW_NAMES:
        _last_names[len(names)] = names
    return names


def is_plain_row(value: object) -> bool:
    """Whether `value` is what most requests are: a list of one list of cells, none of them nested.

    It needs none of the checks for shapes.
    """
    return (
        type(value) is list
        and len(value) == 1
        and type(row := value[0]) is list
        and bool(row)
        and _NESTED.isdisjoint(map(type, row))
    )


def check_rows(value: object, where: str) -> list[Any]:
    """Return `value` if it is a list with at least one row in it."""
    if type(value) is not list:
        raise malformed(f"`{where}` must be a list of rows, not {kind_of(value)}.")
    if not value:
        raise malformed(f"`{where}` has no rows.")
    return value


def _mixed(rows: list[Any], where: str) -> Exception:
    """Return the error for rows of which some are lists and some are not."""
    if dict in map(type, rows):
        row = next(i for i, cells in enumerate(rows) if type(cells) is dict)
        return malformed(f"Row {row} of `{where}` is an object; lists of cells were expected.")
    is_list = type(rows[0]) is list
    row = next(i for i, cells in enumerate(rows) if (type(cells) is list) is not is_list)
    kinds = f"{kind_of(rows[row])}, but row 0 is {kind_of(rows[0])}"
    return malformed(f"Row {row} of `{where}` is {kinds}.")
