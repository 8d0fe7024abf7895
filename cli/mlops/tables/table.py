"""A table of JSON cells, column by column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of n rows.

    Attributes:
        columns: Name to (n,) cells: booleans, numbers, texts, null, and lists or objects for
            nested types. Dates are ISO texts and bytes base64, as JSON carries them.
        lines: (n,) line of each row in a text file, from 1; empty where rows have no lines.
        named: Whether the names were in the data; else they are the signature's, or 0, 1, …
        written: Name to the (n,) cells as a text file writes them, of columns that are asked for.
    """

    columns: Mapping[str, Sequence[Any]]
    lines: Sequence[int] = ()
    named: bool = True
    written: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the k columns."""
        return tuple(self.columns)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    @property
    def rows(self) -> list[list[Any]]:
        """The (n, k) cells row by row."""
        return [list(row) for row in zip(*self.columns.values(), strict=True)]

    def without(self, *names: str) -> Table:
        """Return the table without some columns."""
        return replace(self, columns={k: v for k, v in self.columns.items() if k not in names})
