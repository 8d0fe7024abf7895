"""CSV and its kin: a header line, then rows of text cells.

Specification: RFC 4180; semicolons and tabs as spreadsheets write them.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mlops.errors import InvalidInputError
from mlops.tables.cells import inferred, typed
from mlops.tables.signature import Signature
from mlops.tables.table import Table

_QUOTED = re.compile(r'"(?:[^"]|"")*"')


@dataclass(frozen=True, slots=True)
class Delimited:
    """Text cells that wait for their types.

    Attributes:
        header: Names of the k columns.
        rows: (n, k) cells.
        lines: (n,) line of the file on which each row ends, from 1.
    """

    header: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    lines: Sequence[int]

    def typed(self, signature: Signature | None = None) -> Table:
        """Return the columns in the signature's types; the others in those of their cells."""
        kinds = signature.kinds if signature else {}
        texts = zip(*self.rows, strict=True) if self.rows else [()] * len(self.header)
        columns = {
            name: typed(cells, kinds[name]) if name in kinds else inferred(cells)
            for name, cells in zip(self.header, texts, strict=True)
        }
        return Table(columns, self.lines)


def separator_of(text: str) -> str:
    r"""Return the separator of a file by its first line: the most frequent one outside of quotes.

    >>> separator_of('"a;b",c\n'), separator_of("a;b\n"), separator_of("a\n")
    (',', ';', ',')
    """
    first = next((line for line in text.splitlines() if line.strip()), "")
    return max(",;\t", key=_QUOTED.sub("", first).count)


def read_delimited(
    text: str,
    separator: str | None = None,
    *,
    on_ragged: Callable[[int, str], None] | None = None,
) -> Delimited:
    """Read a header line and any number of rows; blank lines are skipped.

    Args:
        text: The file, or the body of a request.
        separator: None to see it from the first line.
        on_ragged: Called with the line of a row that has not as many cells as the header, and what
            is wrong with it; the row is left out. None to refuse the file.

    Raises:
        InvalidInputError: No CSV, no header, ragged rows, or a name that is empty or there twice.
    """
    text = text.removeprefix("\ufeff")
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=separator or separator_of(text), strict=True
    )
    try:
        lines = [(reader.line_num, cells) for cells in reader if cells]
    except csv.Error as error:
        raise InvalidInputError(
            f"This is not valid CSV: line {reader.line_num}: {error}."
        ) from error
    (_, header), *rows = lines or [(0, [])]
    check_header(header)
    fitting = [(line, cells) for line, cells in rows if len(cells) == len(header)]
    for line, cells in rows if len(fitting) < len(rows) else ():
        if len(cells) == len(header):
            continue
        fault = f"{len(cells)} cell{'s' * (len(cells) != 1)}, but the header has {len(header)}"
        if on_ragged is None:
            raise InvalidInputError(f"Line {line} of the CSV has {fault}.")
        on_ragged(line, fault)
    return Delimited(tuple(header), [cells for _, cells in fitting], [line for line, _ in fitting])


def check_header(header: Sequence[str]) -> None:
    """Refuse a header without names, and names that are empty or there twice.

    Raises:
        InvalidInputError: It has such.
    """
    if not header:
        raise InvalidInputError("The CSV is empty; a header line and rows were expected.")
    if "" in header:
        raise InvalidInputError(
            "The header of the CSV has an empty column name; write a frame with `index=False`."
        )
    name, times = Counter(header).most_common(1)[0]
    if times > 1:
        raise InvalidInputError(f"The header of the CSV has the name `{name[:80]}` twice.")
