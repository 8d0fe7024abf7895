"""Rows on which two runtimes of one model are compared.

Ordinary rows come from the reference profile that training keeps with the model: percentiles and
categories, each feature on its own. Without one they are scattered about the input example. Beside
them are the rows on which conversions are known to go wrong, one cell changed at a time: missing
cells, zeros, what float32 cannot hold, categories that training has not seen, and numbers at and
one unit in the last place beside the thresholds of trees.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlops.stats.profiles import FeatureProfile
from mlops.tables.signature import Column

#: Ordinary rows.
ROWS = 256
#: Rows with one changed cell, of each group.
_EDGES = 400
_SEED = 13
_EXTREMES: dict[str, tuple[Any, ...]] = {
    "double": (0.0, -0.0, 1e-310, -1.0, 1e6, -1e15, 16777217.0, 3.5e38, -1e300),
    "float": (0.0, -0.0, 1e-40, -1.0, 1e6, -1e15, 16777216.0, 3e38),
    "long": (0, -1, 2**31, 2**53 + 1, -(2**63), 2**63 - 1),
    "integer": (0, -1, 2**31 - 1, -(2**31)),
    "boolean": (False, True),
    "datetime": ("1970-01-01", "2100-12-31T23:59:59"),
}
_UNSEEN = ("", " ", "never seen before", "NEVER", "nan", "Größe 12 — naïve", "日本語", "x" * 300)


@dataclass(frozen=True, slots=True)
class Group:
    """Rows of one sort, cells in the order of the signature.

    Attributes:
        name: Which sort, human-readable.
        rows: At least one.
    """

    name: str
    rows: list[list[Any]]


class Sampler:
    """Makes the rows. The same arguments give the same rows.

    Args:
        columns: The signature's.
        profile: Column to what it was at training; empty without one.
        examples: Rows that the model is known to answer, at least one.
        words: Words that a text may be made of; empty if no step of the model reads words.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        profile: Mapping[str, FeatureProfile],
        examples: Sequence[Sequence[Any]],
        words: Sequence[str] = (),
    ) -> None:
        self._columns = columns
        self._profile = profile
        self._examples = examples
        self._words = words
        self._random = np.random.default_rng(_SEED)
        self._base: list[list[Any]] = []

    def groups(self, borders: Sequence[tuple[int, float]]) -> list[Group]:
        """Return all rows to compare, ordinary ones first.

        Args:
            borders: (column, number) at which an answer may jump.
        """
        self._base = self._ordinary(borders)
        found = [
            Group("ordinary", [*map(list, self._examples), *self._base]),
            Group("borders", self._at_borders(borders)),
            Group("unseen", self._changed(self._unseen)),
            Group("missing", self._changed(lambda column: (None,))),
            Group("extreme", self._changed(lambda column: _EXTREMES.get(column.type, ()))),
        ]
        return [group for group in found if group.rows]

    def _ordinary(self, borders: Sequence[tuple[int, float]]) -> list[list[Any]]:
        at: dict[int, list[float]] = {}
        for index, value in borders:
            at.setdefault(index, []).append(value)
        columns = [
            self._cells(column, [row[i] for row in self._examples], at.get(i, []))
            for i, column in enumerate(self._columns)
        ]
        return [list(row) for row in zip(*columns, strict=True)]

    def _cells(self, column: Column, seen: list[Any], at: list[float]) -> list[Any]:
        profile = self._profile.get(column.name)
        if column.type in ("double", "float", "long", "integer"):
            return self._fitted(column, self._numbers(profile, seen, at))
        if column.type == "string" and self._words:
            return [self._text() for _ in range(ROWS)]
        if column.type == "string" and profile is not None and profile.categories is not None:
            names = [*profile.categories.counts] or seen
            return [names[i] for i in self._random.integers(0, len(names), ROWS)]
        if column.type == "datetime" and profile is not None and profile.numbers is not None:
            return [_time(s) for s in self._random.choice(profile.numbers.percentiles, ROWS)]
        if column.type == "boolean":
            return [bool(cell) for cell in self._random.integers(0, 2, ROWS)]
        return [seen[i] for i in self._random.integers(0, len(seen), ROWS)]

    def _numbers(
        self, profile: FeatureProfile | None, seen: list[Any], at: list[float]
    ) -> np.ndarray[Any, Any]:
        draw = self._random
        if profile is not None and profile.numbers is not None:
            known = np.array(profile.numbers.percentiles)
            between = draw.uniform(0, len(known) - 1, ROWS)
            # Half of them values that occurred, which have few digits.
            at_ranks = np.where(draw.random(ROWS) < 0.5, between.round(), between)
            return np.asarray(np.interp(at_ranks, np.arange(len(known)), known))
        known = np.array([cell for cell in [*seen, *at] if _is_number(cell)] or [0.0], dtype=float)
        middle = draw.choice(known, ROWS)
        spread = 0.3 * np.abs(middle) + np.std(known) / 2
        return np.asarray(middle + draw.normal(size=ROWS) * spread)

    def _fitted(self, column: Column, numbers: np.ndarray[Any, Any]) -> list[Any]:
        if column.type in ("long", "integer"):
            limit = 2**31 - 1 if column.type == "integer" else 2**53
            return [int(n) for n in np.clip(numbers.round(), -limit, limit)]
        if column.type == "float":
            return [float(n) for n in numbers.astype(np.float32)]
        cells: list[Any] = numbers.tolist()
        return cells

    def _text(self) -> str:
        picked = self._random.choice(self._words, self._random.integers(0, 20))
        marks = self._random.choice([" ", " ", " ", ", ", ". ", "-", "'", "!\n", "  "], len(picked))
        return "".join(f"{word}{mark}" for word, mark in zip(picked, marks, strict=True))

    def _unseen(self, column: Column) -> tuple[Any, ...]:
        return _UNSEEN if column.type == "string" else ()

    def _at_borders(self, borders: Sequence[tuple[int, float]]) -> list[list[Any]]:
        picked = [borders[i] for i in self._random.permutation(len(borders))[: _EDGES // 5]]
        rows = []
        for index, border in picked:
            cells = _beside(border)
            if self._columns[index].type in ("long", "integer"):
                cells = [int(np.floor(border)), int(np.ceil(border))]
            rows += [self._with(index, cell) for cell in cells if np.isfinite(cell)]
        return rows

    def _changed(self, cells_of: Any) -> list[list[Any]]:  # noqa: ANN401 - a function of a column
        changes = [
            (index, cell) for index, column in enumerate(self._columns) for cell in cells_of(column)
        ]
        picked = self._random.permutation(len(changes))[:_EDGES]
        return [self._with(*changes[i]) for i in sorted(picked)]

    def _with(self, index: int, cell: object) -> list[Any]:
        row = list(self._base[self._random.integers(len(self._base))])
        row[index] = cell
        return row


def _beside(border: float) -> list[float]:
    """Return a number, its neighbours, and what float32 makes of it and of them."""
    single = np.float32(border)
    nearby = [np.nextafter(single, np.float32(side)) for side in (-np.inf, np.inf)]
    return [
        float(border),
        float(np.nextafter(border, -np.inf)),
        float(np.nextafter(border, np.inf)),
        float(single),
        *map(float, nearby),
    ]


def _is_number(cell: object) -> bool:
    return isinstance(cell, int | float) and bool(np.isfinite(cell)) and abs(cell) < 1e30


def _time(seconds: float) -> str:
    return (dt.datetime(1970, 1, 1) + dt.timedelta(seconds=float(seconds))).isoformat()  # noqa: DTZ001 - as models are sent it, without a zone
