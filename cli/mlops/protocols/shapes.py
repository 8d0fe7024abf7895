"""Shapes of nested lists: sizes told, and rectangles found.

A check is a pass or two in C (`map`, `set`); the offending row is looked for only after it failed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

from mlops.protocols.json_body import malformed, shown

#: Deeper arrays than this are not data; NumPy 1 has the same limit.
MAX_DIMENSIONS = 32

_NESTED = {list, dict}


def read_shape(value: object, where: str) -> tuple[int, ...]:
    """Read the size of each axis, at least 1; the first is the number of rows.

    Raises:
        ProtocolError: `MALFORMED`.
    """
    if type(value) is not list or not value or len(value) > MAX_DIMENSIONS:
        raise malformed(f"`{where}` must be a list of 1 to {MAX_DIMENSIONS} sizes.")
    if set(map(type, value)) != {int} or min(value) < 1:
        bad = next(size for size in value if type(size) is not int or size < 1)
        raise malformed(f"`{where}` must hold whole numbers from 1, not {shown(bad)}.")
    return tuple(value)


def check_rectangle(rows: Sequence[Any], where: str) -> int:
    """Return the number of cells that all `rows`, at least one list, have.

    Raises:
        ProtocolError: `MALFORMED`: it differs, or is 0.
    """
    width = len(rows[0])
    if len(set(map(len, rows))) != 1:
        row = next(i for i, cells in enumerate(rows) if len(cells) != width)
        sizes = f"{len(rows[row])} cells, but row 0 has {width}"
        raise malformed(f"Row {row} of `{where}` has {sizes}.")
    if width == 0:
        raise malformed(f"The rows of `{where}` have no cells.")
    return width


def check_width(names: tuple[str, ...] | None, width: int, where: str) -> None:
    """Check that there is one name for each of `width` cells, if there are names.

    Raises:
        ProtocolError: `MALFORMED`.
    """
    if names is not None and len(names) != width:
        raise malformed(f"There are {len(names)} column names, but rows of {width} in `{where}`.")


def check_depth(values: Iterable[Any], where: str) -> None:
    """Check that lists and objects among `values`, of any shape, are not nested absurdly deep.

    What is read once is written again, to a journal or an answer, by code with a lower limit.

    Raises:
        ProtocolError: `MALFORMED`.
    """
    for _ in range(MAX_DIMENSIONS):
        level = list(values)
        if _NESTED.isdisjoint(map(type, level)):
            return
        values = chain.from_iterable(
            value.values() if type(value) is dict else value
            for value in level
            if type(value) in _NESTED
        )
    raise malformed(f"`{where}` is nested deeper than {MAX_DIMENSIONS} levels.")


def check_nesting(rows: list[Any], where: str) -> None:
    """Check rows nested to any depth: all lists of one depth have the same length.

    Raises:
        ProtocolError: `MALFORMED`: ragged, empty, too deep, or with objects in it.
    """
    level = rows
    for _ in range(MAX_DIMENSIONS):
        kinds = set(map(type, level))
        if dict in kinds:
            raise malformed(f"`{where}` must hold numbers or strings, not objects.")
        if list not in kinds:
            return
        sizes = [len(cells) if type(cells) is list else None for cells in level]
        if len(set(sizes)) != 1 or not sizes[0]:
            bad = next((i for i, size in enumerate(sizes) if size != sizes[0]), 0)
            row = bad * len(rows) // len(level)
            raise malformed(f"Row {row} of `{where}` is ragged or empty inside.")
        level = list(chain.from_iterable(level))
    raise malformed(f"`{where}` is nested deeper than {MAX_DIMENSIONS} levels.")
