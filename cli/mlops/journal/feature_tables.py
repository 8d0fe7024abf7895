"""Features of many requests at once, as columns.

All rows of requests with the same columns are read as one flat JSON list: a Python list for each
row would take longer than everything else, and keep the garbage collector busy.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from mlops.journal.features import old_form


@dataclass(frozen=True, slots=True)
class FeatureTable:
    """Rows of requests that have the same columns, m of them.

    Attributes:
        names: Names of the k columns; None where the requests had none.
        requests: Position in the batch of the request that each row is of, (m,).
        cells: As JSON has them, m times k, row after row; without names, m rows.
    """

    names: tuple[str, ...] | None
    requests: NDArray[np.int64]
    cells: list[Any]

    def column(self, name: str) -> list[Any]:
        """Return the cells of a column, (m,).

        Raises:
            ValueError: There is no such column.
        """
        names = self.names or ()
        return self.cells[names.index(name) :: len(names)]

    def numbers(self, name: str, rows: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """Return a column in some of the rows, by default all; NaN where a cell is not a number.

        Each cell is read for itself, so that a value does not depend on the rows beside it. A zip
        code is a text, also where it could be read as a number.

        Raises:
            ValueError: There is no such column.
        """
        cells = self.column(name)
        found = cells if rows is None else (cells[row] for row in rows.tolist())
        numbers = [cell if isinstance(cell, float | int) else math.nan for cell in found]
        return np.array(numbers, dtype=np.float64)

    def rows(self) -> list[Any]:
        """Return m lists of k cells; without names, the rows as they were."""
        if self.names is None:
            return self.cells
        k = len(self.names)
        return [self.cells[start : start + k] for start in range(0, len(self.requests) * k, k)]


def feature_table(
    names: Sequence[str] | None,
    texts: Sequence[str],
    positions: NDArray[np.int64],
    n_rows: NDArray[np.int64],
) -> FeatureTable:
    """Read the features of requests with the same columns.

    Args:
        names: Names of the columns; None where the requests had none.
        texts: Rows of each request, as JSON, (n,).
        positions: Position of each in its batch, (n,).
        n_rows: Rows of each, (n,).
    """
    if names is not None:
        cells = _flat(texts, n_rows, int(n_rows.sum()) * len(names))
        if cells is not None:
            return FeatureTable(tuple(names), np.repeat(positions, n_rows), cells)
    requests = orjson.loads(f"[{','.join(texts)}]")
    at = np.repeat(positions, [len(rows) for rows in requests])
    found = list(itertools.chain.from_iterable(requests))
    if names is None:
        return FeatureTable(None, at, found)
    return FeatureTable(tuple(names), at, list(itertools.chain.from_iterable(found)))


def old_tables(texts: Sequence[str], positions: Sequence[int]) -> Iterator[FeatureTable]:
    """Read what versions before 4 kept, which has the names in each request."""
    for text, position in zip(texts, positions, strict=True):
        kept = old_form(orjson.loads(text))
        at = np.full(len(kept.rows), position, dtype=np.int64)
        if kept.names is None:
            yield FeatureTable(None, at, kept.rows)
        else:
            cells = list(itertools.chain.from_iterable(kept.rows))
            yield FeatureTable(tuple(kept.names), at, cells)


def _flat(texts: Sequence[str], n_rows: NDArray[np.int64], expected: int) -> list[Any] | None:
    """Read rows as one list of cells; None where brackets within the cells forbid it."""
    inner = [text[2:-2] for text in texts]
    if n_rows.max(initial=1) > 1:
        # A text or a list in a cell may hold the characters that separate two rows.
        if any('"' in text or text.count("[") >= n for text, n in zip(inner, n_rows, strict=True)):
            return None
        inner = [text.replace("],[", ",") for text in inner]
    try:
        cells: list[Any] = orjson.loads(f"[{','.join(inner)}]")
    except orjson.JSONDecodeError:
        return None
    return cells if len(cells) == expected else None
