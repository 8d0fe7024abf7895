"""CSV with a header line, as `DataFrame.to_csv(index=False)` writes it, to columns.

A column is whole numbers, numbers or booleans if all its cells are, empty ones aside, as pandas
infers it; else it is strings, empty ones null. `NaN` counts as empty among numbers. What a column
ought to be is for the model's signature to say.

Specification: RFC 4180; for the inference `pandas.read_csv`.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator
from typing import Any

from mlops.protocols.base import Columns
from mlops.protocols.json_body import malformed
from mlops.protocols.payloads import read_names

_BOOLEANS = {
    "True": True,
    "TRUE": True,
    "true": True,
    "False": False,
    "FALSE": False,
    "false": False,
}
_MISSING = {"", "nan", "NaN"}
#: Python's own parsers also take `1_000`, `inf` and digits of other scripts.
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")


def read_csv(body: bytes) -> Columns:
    """Read a table with at least one row; blank lines are skipped.

    Raises:
        ProtocolError: `MALFORMED`: not UTF-8 or not CSV, no rows, ragged rows, or a column name
            that is empty or there twice.
    """
    try:
        text = body.decode("utf-8-sig")
        lines = list(_lines(text))
    except (UnicodeDecodeError, csv.Error) as error:
        raise malformed(f"The body is not valid CSV in UTF-8: {error}.") from error
    if len(lines) < 2:
        raise malformed("The CSV has no rows; a header line and at least one row were expected.")
    (_, header), *rows = lines
    names = read_names(header, "the header of the CSV")
    if names is None or "" in names:
        hint = "write a frame with `index=False`"
        raise malformed(f"The header of the CSV has an empty column name; {hint}.")
    for line, cells in rows:
        if len(cells) != len(names):
            sizes = f"{len(cells)} cells, but the header has {len(names)}"
            raise malformed(f"Line {line} of the CSV has {sizes}.")
    columns = zip(*(cells for _, cells in rows), strict=True)
    return Columns({name: _inferred(cells) for name, cells in zip(names, columns, strict=True)})


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and cells of every line that is not blank."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    for cells in reader:
        if cells:
            yield reader.line_num, cells


def _inferred(cells: tuple[str, ...]) -> list[Any]:
    """Return the cells of a column in the type that all of them have."""
    there = [cell for cell in cells if cell not in _MISSING]
    if all(map(_INTEGER.fullmatch, there)):
        return [None if cell in _MISSING else int(cell) for cell in cells]
    if all(map(_NUMBER.fullmatch, there)) and all(math.isfinite(float(cell)) for cell in there):
        return [None if cell in _MISSING else float(cell) for cell in cells]
    if _BOOLEANS.keys() >= set(cells):
        return [_BOOLEANS[cell] for cell in cells]
    return [cell or None for cell in cells]
