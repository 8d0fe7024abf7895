"""Customers from a CSV file: rows to ask about, and the truth about each."""

from __future__ import annotations

import csv
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlops.errors import InvalidInputError, MlopsError, did_you_mean, unreadable

Cell = float | str | None


@dataclass(frozen=True, slots=True)
class Stray:
    """The first text among numbers: for its sake a whole column is text.

    Attributes:
        column: Name of the column.
        line: Its line in the file, from 1.
        text: What it says.
    """

    column: str
    line: int
    text: str

    def __str__(self) -> str:
        """Say where it is."""
        return f"line {self.line}: `{self.column}` is `{self.text[:40]}`, not a number"


@dataclass(frozen=True, slots=True)
class Customers:
    """A table of customers.

    Attributes:
        columns: Names of the k features.
        rows: (n, k) features.
        truths: (n,) true values.
        strays: Texts in columns that else hold numbers, the truth's too.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    truths: tuple[Cell, ...]
    strays: tuple[Stray, ...] = ()

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
            reader = csv.reader(file)
            table = [(reader.line_num, row) for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise unreadable(path, error) from error
    header, numbered = (table[0][1], table[1:]) if table else ([], [])
    if truth_column not in header:
        known = ", ".join(f"`{name}`" for name in header[:20]) or "none"
        raise InvalidInputError(
            f"`{path}` has no column `{truth_column}`; its columns are {known}.",
            hint=did_you_mean(truth_column, header) or "Name it with `--truth-column`.",
        )
    if not numbered:
        raise InvalidInputError(f"`{path}` has a header and no rows.")
    for number, row in numbered:
        if len(row) != len(header):
            raise InvalidInputError(
                f"`{path}`, line {number}: {len(row)} cells, but the header has {len(header)}."
            )
    columns = list(zip(*typed_columns([row for _, row in numbered]), strict=True))
    truth = header.index(truth_column)
    if None in columns[truth]:
        empty = numbered[columns[truth].index(None)][0]
        raise InvalidInputError(f"`{path}`, line {empty}: `{truth_column}` is empty.")
    features = [cells for index, cells in enumerate(columns) if index != truth]
    return Customers(
        columns=tuple(name for index, name in enumerate(header) if index != truth),
        rows=tuple(zip(*features, strict=True)),
        truths=tuple(columns[truth]),
        strays=find_strays(header, numbered),
    )


def find_strays(
    header: Sequence[str], numbered: Sequence[tuple[int, Sequence[str]]]
) -> tuple[Stray, ...]:
    """Find the first text in each column most of whose cells are numbers.

    Args:
        header: Names of the k columns.
        numbered: (n,) rows of k cells, each with its line in the file.

    >>> [str(stray) for stray in find_strays(["a"], [(2, ["1"]), (3, ["n/a"]), (4, ["2"])])]
    ['line 3: `a` is `n/a`, not a number']
    """
    strays = []
    for index, name in enumerate(header):
        texts = [(line, row[index]) for line, row in numbered if not _is_numeric(row[index])]
        if 0 < len(texts) < len(numbered) / 2:
            strays.append(Stray(name, *texts[0]))
    return tuple(strays)


def blamed(fault: MlopsError, strays: Sequence[Stray], file: str) -> MlopsError:
    """Say which cell a refusal is about, where it names the column of a stray one.

    Whoever refuses sees the first row, in which a number has become text because of another row.
    """
    for stray in strays:
        if f"`{stray.column}`" in fault.message:
            return InvalidInputError(
                f"`{file}`, {stray}, so the whole column is text and was refused: {fault.message}",
                hint="Correct the cell, or leave it empty if it is not known.",
            )
    return fault


def _is_numeric(text: str) -> bool:
    try:
        float(text or 0)
    except ValueError:
        return not text.strip()
    return True


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
