"""Customers from a CSV file: rows to ask about, and the truth about each."""

from __future__ import annotations

import csv
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlops.errors import InvalidInputError, did_you_mean

Cell = float | str | None


@dataclass(frozen=True, slots=True)
class Customers:
    """A table of customers.

    Attributes:
        columns: Names of the k features.
        rows: (n, k) features.
        truths: (n,) true values.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    truths: tuple[Cell, ...]

    def __len__(self) -> int:
        return len(self.rows)


def read_customers(path: Path, truth_column: str) -> Customers:
    """Read a CSV file with a header.

    A column is numeric if every cell of it is a number or empty; an empty cell is null.

    Raises:
        InvalidInputError: The file cannot be read, lacks the column, or has ragged rows.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInputError(f"`{path}` cannot be read: {error}.") from error
    header, body = (table[0], [row for row in table[1:] if row]) if table else ([], [])
    if truth_column not in header:
        known = ", ".join(f"`{name}`" for name in header[:20]) or "none"
        raise InvalidInputError(
            f"`{path}` has no column `{truth_column}`; its columns are {known}.",
            hint=did_you_mean(truth_column, header) or "Name it with `--truth-column`.",
        )
    if not body:
        raise InvalidInputError(f"`{path}` has a header and no rows.")
    for number, row in enumerate(body, start=2):
        if len(row) != len(header):
            raise InvalidInputError(
                f"`{path}`, row {number}: {len(row)} cells, but the header has {len(header)}."
            )
    columns = list(zip(*typed_columns(body), strict=True))
    truth = header.index(truth_column)
    if None in columns[truth]:
        empty = columns[truth].index(None) + 2
        raise InvalidInputError(f"`{path}`, row {empty}: `{truth_column}` is empty.")
    features = [cells for index, cells in enumerate(columns) if index != truth]
    return Customers(
        columns=tuple(name for index, name in enumerate(header) if index != truth),
        rows=tuple(zip(*features, strict=True)),
        truths=tuple(columns[truth]),
    )


def typed_columns(rows: Sequence[Sequence[str]]) -> list[tuple[Cell, ...]]:
    """Turn the text cells of a CSV table, (n, k), into numbers column by column.

    A column is numeric if every cell of it is a number or empty; an empty cell is null.

    >>> typed_columns([["1", "red"], ["", "white"]])
    [(1.0, 'red'), (None, 'white')]
    """
    return list(zip(*(_typed(cells) for cells in zip(*rows, strict=True)), strict=True))


def visits(customers: Customers, draws: int, seed: int) -> Iterator[int]:
    """Yield the row of each visit.

    Args:
        customers: Who may come.
        draws: So many are drawn with replacement; 0 lets each come once, in order.
        seed: Seed of the draws.
    """
    if not draws:
        yield from range(len(customers))
        return
    # Which customer comes is a simulation, not a secret.
    generator = random.Random(seed)  # noqa: S311
    for _ in range(draws):
        yield generator.randrange(len(customers))


def _typed(cells: Sequence[str]) -> list[Cell]:
    numbers: list[Cell] = []
    for cell in cells:
        try:
            number = float(cell) if cell.strip() else None
        except ValueError:
            return [text or None for text in cells]
        # JSON has no NaN and no infinity; they mean "not known" in a CSV file.
        numbers.append(number if number is None or math.isfinite(number) else None)
    return numbers
