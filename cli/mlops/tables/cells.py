"""Cells of a text file in the type of their column.

Specification: type inference and `na_values` of `pandas.read_csv`; column types of MLflow's
signatures.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any

#: What `pandas.read_csv` takes for a missing value.
MISSING = frozenset(
    (
        *("", "NaN", "nan", "-NaN", "-nan", "NA", "N/A", "n/a", "<NA>", "#N/A", "#N/A N/A", "#NA"),
        *("NULL", "null", "None", "-1.#IND", "-1.#QNAN", "1.#IND", "1.#QNAN"),
    )
)
_BOOLEANS = {
    **dict.fromkeys(("True", "TRUE", "true"), True),
    **dict.fromkeys(("False", "FALSE", "false"), False),
}
_BITS = {"0": False, "0.0": False, "1": True, "1.0": True}
# Python's own parsers also take `1_000` and digits of other scripts.
_INTEGER = re.compile(r"\s*[+-]?[0-9]{1,19}\s*")
_NUMBER = re.compile(r"\s*[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?\s*")
_INFINITE = re.compile(r"\s*[+-]?inf(inity)?\s*", re.IGNORECASE)
_WHOLE = frozenset({"long", "integer"})
_FLOATING = frozenset({"double", "float"})
_NESTED = frozenset({"array", "object", "map"})
#: No type of MLflow's: labels, where a number is one whatever the cells beside it are.
LABEL = "label"
# `007` and `1E5` beside texts are codes rather than numbers.
_PLAIN = re.compile(r"\s*[+-]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)(e[+-][0-9]+)?\s*")


def typed(cells: Sequence[str], kind: str) -> list[Any]:
    """Return the cells of a column of MLflow's type `kind`; what does not fit stays text.

    >>> typed(["1", "1.0", "", "x"], "long")
    [1, 1, None, 'x']
    >>> typed(["01067", "NA", ""], "string")
    ['01067', 'NA', None]
    """
    if kind in _FLOATING:
        return _floats(cells)
    if kind in _WHOLE:
        return [_whole(cell) for cell in cells]
    if kind == "boolean":
        return [None if cell in MISSING else _boolean(cell) for cell in cells]
    if kind in _NESTED:
        return [None if cell in MISSING else _nested(cell) for cell in cells]
    if kind == "string":
        # A text may well be `NA` or `null`; only a missing one is written as nothing.
        return [cell or None for cell in cells]
    if kind in ("datetime", "binary"):
        return [None if cell in MISSING else cell for cell in cells]
    return _labels(cells) if kind == LABEL else inferred(cells)


def without_missing(cells: Sequence[str]) -> list[str | None]:
    """Return texts as `pandas.read_csv` reads them, for a server that does what MLflow's does."""
    return [None if cell in MISSING else cell for cell in cells]


def inferred(cells: Sequence[str]) -> list[Any]:
    """Return the cells of a column in the type that all of them have, missing ones aside.

    >>> inferred(["1", ""]), inferred(["1", "2.5"]), inferred(["1", "red"])
    ([1, None], [1.0, 2.5], ['1', 'red'])
    """
    there = [cell for cell in cells if cell not in MISSING]
    if all(map(_INTEGER.fullmatch, there)) and all(-(2**63) <= int(c) < 2**63 for c in there):
        return [None if cell in MISSING else int(cell) for cell in cells]
    if all(map(_is_number, there)):
        return [None if cell in MISSING else float(cell) for cell in cells]
    if _BOOLEANS.keys() >= set(cells):
        return [_BOOLEANS[cell] for cell in cells]
    return [None if cell in MISSING else cell for cell in cells]


def _labels(cells: Sequence[str]) -> list[Any]:
    """Infer the type of the column, but where it is text have numbers be numbers.

    >>> _labels(["6", "six", "", "007"]), _labels(["007", "6"])
    ([6, 'six', None, '007'], [7, 6])
    """
    return [
        inferred([cell])[0] if isinstance(cell, str) and _PLAIN.fullmatch(cell) else cell
        for cell in inferred(cells)
    ]


def _is_number(cell: str) -> bool:
    # What is beyond a double is not a number but a long code.
    return bool(_NUMBER.fullmatch(cell)) and math.isfinite(float(cell))


def _floats(cells: Sequence[str]) -> list[Any]:
    found: list[Any] = []
    for cell in cells:
        if cell in MISSING:
            found.append(None)
        elif _NUMBER.fullmatch(cell) or _INFINITE.fullmatch(cell):
            found.append(float(cell))
        else:
            found.append(_BOOLEANS.get(cell, cell))
    return found


def _whole(cell: str) -> Any:  # noqa: ANN401 - a number, None or the text
    if cell in MISSING:
        return None
    if _INTEGER.fullmatch(cell):
        return int(cell)
    if _NUMBER.fullmatch(cell):
        number = float(cell)
        return int(number) if number.is_integer() else number
    return _BOOLEANS.get(cell, cell)


def _boolean(cell: str) -> Any:  # noqa: ANN401 - a boolean, a number or the text
    found = _BOOLEANS.get(cell.strip())
    # 0 and 1 are what a data base exports.
    return found if found is not None else _BITS.get(cell.strip(), cell)


def _nested(cell: str) -> Any:  # noqa: ANN401 - a JSON value, or the text
    try:
        return json.loads(cell) if cell.lstrip()[:1] in "[{" else cell
    except (ValueError, RecursionError):
        return cell
