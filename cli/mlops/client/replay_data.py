"""Rows from a file to ask a deployment about, and the label of each."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from mlops.errors import InvalidInputError, MlopsError, did_you_mean
from mlops.tables import Table, read_bytes, read_path
from mlops.tables.fit import check
from mlops.tables.signature import Signature

#: A JSON value.
Cell: TypeAlias = Any


@dataclass(frozen=True, slots=True)
class Stray:
    """The first text among numbers: because of it a whole column is text.

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
class ReplayRows:
    """A table of labelled rows.

    Attributes:
        columns: Names of the k features.
        rows: (n, k) features.
        truths: (n,) true values; of several outputs a list each.
        strays: Texts in columns that else hold numbers, the truth's too.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    truths: tuple[Cell, ...]
    strays: tuple[Stray, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)


def read_replay_rows(
    path: Path,
    truth_columns: Sequence[str],
    signature: Signature | None = None,
    content: bytes | None = None,
) -> ReplayRows:
    """Read a file of rows with their labels: CSV, JSON, NDJSON or Parquet.

    Args:
        path: The file.
        truth_columns: Columns with the labels, one for each output of the model, whose order is
            that of the outputs where they have their names.
        signature: Of the deployed model; its columns get its types, others those of their cells.
        content: What is in the file, if that has been read.

    Raises:
        NotFoundError: There is no such file.
        InvalidInputError: It cannot be read, lacks a column or a label, has a cell that the model
            does not take, or the model has another number of outputs.
    """
    try:
        table = read_path(path, signature) if content is None else read_bytes(content, signature)
    except InvalidInputError as error:
        raise InvalidInputError(f"`{path}`: {error.message}", hint=error.hint) from error
    for name in truth_columns:
        if name not in table.columns:
            known = ", ".join(f"`{each}`" for each in table.names[:20]) or "none"
            raise InvalidInputError(
                f"`{path}` has no column `{name}`; its columns are {known}.",
                hint=did_you_mean(name, table.names) or "Name it with `--truth-column`.",
            )
    columns = _by_output(truth_columns, signature or Signature())
    if not len(table):
        raise InvalidInputError(f"`{path}` has a header and no rows.")
    for name in columns:
        if None in table.columns[name]:
            place = place_of(table, list(table.columns[name]).index(None))
            raise InvalidInputError(f"`{path}`, {place}: `{name}` is empty.")
    truths = tuple(zip(*(table.columns[name] for name in columns), strict=True))
    features = table.without(*columns)
    check_cells(features, signature, f"`{path}`", nulls=True)
    return ReplayRows(
        columns=features.names,
        rows=tuple(map(tuple, features.rows)),
        truths=tuple(each[0] if len(columns) == 1 else list(each) for each in truths),
        strays=find_strays(table),
    )


def _by_output(names: Sequence[str], signature: Signature) -> Sequence[str]:
    """Return columns with labels in the order of the outputs.

    Raises:
        InvalidInputError: There are several, and not one for each output.
    """
    count = len(names)
    if count > 1 and (len(set(names)) < count or signature.n_outputs not in (0, count)):
        outputs = ", ".join(f"`{name}`" for name in signature.outputs[:20])
        known = f" ({outputs})" if outputs else ""
        raise InvalidInputError(
            f"{count} columns are named with `--truth-column`, and the model has "
            f"{signature.n_outputs} output{'s' * (signature.n_outputs != 1)}{known}."
            if signature.n_outputs not in (0, count)
            else "`--truth-column` names a column twice.",
            hint="Name one column for each output.",
        )
    return signature.outputs if set(names) == set(signature.outputs) else names


def check_cells(
    table: Table, signature: Signature | None, file: str, *, nulls: bool = False
) -> None:
    """Refuse the first cell that the model does not take, by its place in the file.

    Args:
        table: The file's rows.
        signature: Of the model.
        file: What to call the file.
        nulls: Whether to leave missing values to the model, which refuses these rows alone.

    Raises:
        InvalidInputError: There is one.
    """
    misfit = check(signature.columns, table.columns, nulls=nulls) if signature else None
    if misfit is not None:
        raise InvalidInputError(
            f"{file}, {place_of(table, misfit.row)}: column `{misfit.column}` takes "
            f"{misfit.expected}, not {misfit.shown}.",
            hint=misfit.hint,
        )


def place_of(table: Table, row: int) -> str:
    """Say where a row is in its file."""
    return f"line {table.lines[row]}" if table.lines else f"row {row}"


def find_strays(table: Table) -> tuple[Stray, ...]:
    """Find the first text in each column of texts most of which are numbers.

    >>> [str(stray) for stray in find_strays(Table({"a": ["1", "x", "2"]}, (2, 3, 4)))]
    ['line 3: `a` is `x`, not a number']
    """
    strays = []
    for name, cells in table.columns.items():
        texts = [row for row, cell in enumerate(cells) if not _is_numeric(cell)]
        if table.lines and 0 < len(texts) < len(cells) / 2:
            strays.append(Stray(name, table.lines[texts[0]], str(cells[texts[0]])))
    return tuple(strays)


def blamed(fault: MlopsError, strays: Sequence[Stray], file: str) -> MlopsError:
    """Say which cell a refusal is about, where it names the column of a stray one.

    The server sees the first row, in which a number has become text because of another row.
    """
    for stray in strays:
        if f"`{stray.column}`" in fault.message:
            return InvalidInputError(
                f"`{file}`, {stray}, so the whole column is text and was refused: {fault.message}",
                hint="Correct the cell, or leave it empty if it is not known.",
            )
    return fault


def _is_numeric(cell: Cell) -> bool:
    try:
        float(cell or 0)
    except (TypeError, ValueError):
        return False
    return True


def row_order(table: ReplayRows, draws: int, seed: int) -> Iterator[int]:
    """Yield the row of each request.

    Args:
        table: The rows to choose from.
        draws: So many are drawn with replacement; 0 sends each once, in order.
        seed: Seed of the draws.
    """
    if not draws:
        yield from range(len(table))
        return
    # Which row comes next is a simulation, not a secret.
    generator = random.Random(seed)  # noqa: S311 - see above
    for _ in range(draws):
        yield generator.randrange(len(table))
