"""Rows that shares count from: where none are named, the newest requests of a deployment."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from mlops.explaining.base import Rows
from mlops.journal.base import Stream
from mlops.journal.features import KeptRows

_ROWS, _LOOKED_AT = 100, 500
#: Fewest rows whose mean is no matter of which rows they are. By the rule of thumb for means.
ENOUGH = 30
# Those count from their training data.
_WITHOUT = {"xgboost", "lightgbm"}


def too_few(rows: int, methods: Iterable[str]) -> str:
    """Say that rows are too few to count from; empty if they are not.

    >>> too_few(3, ["linear"])
    'The shares count from 3 rows; with fewer than 30, other rows may give quite other shares.'
    >>> too_few(3, ["xgboost"]), too_few(30, ["linear"])
    ('', '')
    """
    if rows >= ENOUGH or _WITHOUT.issuperset(methods):
        return ""
    count = "1 row" if rows == 1 else f"{rows} rows"
    return (
        f"The shares count from {count}; with fewer than {ENOUGH}, other rows may give quite other "
        "shares."
    )


def newest_requests(journal: Stream, names: Sequence[str], optional: Collection[str] = ()) -> Rows:
    """Return the first rows of the newest requests that have all features.

    Args:
        journal: Where they are.
        names: The features.
        optional: Those that a request may lack; it has None of them then.
    """
    needed = [name for name in names if name not in optional]
    end = journal.end().decisions
    after, found = max(0, end - _LOOKED_AT), list[KeptRows | None]()
    while len(some := journal.decisions(after, end, _LOOKED_AT)):
        answered = enumerate(some.statuses == 200)
        found += [some.kept(position) if well else None for position, well in answered]
        after = int(some.seqs[-1])
    cells: list[list[Any]] = []
    for kept in reversed(found):
        row = kept.row(0) if kept is not None else None
        if isinstance(row, list):
            row = dict(zip(names, row, strict=True)) if len(row) == len(names) else None
        if row is not None and all(name in row for name in needed):
            cells.append([row.get(name) for name in names])
        if len(cells) == _ROWS:
            break
    return dict(zip(names, map(list, zip(*cells, strict=True)), strict=True)) if cells else {}
