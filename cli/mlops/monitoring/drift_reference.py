"""What the values of one feature are compared with: a reference profile, as codes on a line.

A number is its own code and a time its seconds since 1970. Categories are ranked by how frequent
they are in a random fifth of the reference, which is then left out: the test is exact for any order
that does not depend on what it compares with. Those that the fifth does not have come after all
others, and missing values last. Of a larger reference as many values are drawn as the profile holds
a sample of.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlops.stats.exchangeability import Bins, cut
from mlops.stats.profiles import (
    MAX_SAMPLE,
    MAX_TEXT,
    Categories,
    FeatureProfile,
    profile_feature,
)
from mlops.tables.times import seconds

_SEED = 20_26
_LEAST = 10
_PART = 5
_LARGEST = float(np.finfo(np.float64).max)
_NUMBERS = ("number", "time")
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class Reference:
    """One feature as it was.

    Args:
        profile: Its profile.

    Attributes:
        kind: As in the profile.
        bins: Bins of its codes.
        missing: Share of values that were missing.

    Raises:
        ValueError: It cannot be compared with: it has no values, or no sample of them.
    """

    def __init__(self, profile: FeatureProfile) -> None:
        self.kind = profile.kind
        self._ranks: Mapping[str, int] = {}
        self._named: Collection[str] = ()
        self._names_all = False
        if profile.categories is None:
            codes = _number_codes(profile)
        else:
            self._named = profile.categories.counts
            self._names_all = not profile.categories.other
            codes, self._ranks = _category_codes(profile.categories, profile.missing)
        if len(codes) < _LEAST:
            raise ValueError(f"its reference has {len(codes)} values")
        self.bins: Bins = cut(codes, _SEED)
        self.missing = profile.missing / max(profile.count + profile.missing, 1)

    def document(self) -> dict[str, Any]:
        """Return what it compares with, as JSON data."""
        bins = self.bins
        return {
            "kind": self.kind,
            "missing": self.missing,
            "edges": [_no_infinity(x) for x in bins.edges.tolist()],
            "ties": bins.ties.tolist(),
            "gaps": bins.gaps.tolist(),
            "ranks": dict(self._ranks),
            "named": list(self._named),
            "names_all": self._names_all,
        }

    @classmethod
    def restored(cls, document: Mapping[str, Any]) -> Reference:
        """Return one from the state in `document`."""
        made = cls.__new__(cls)
        made.kind, made.missing = document["kind"], document["missing"]
        edges = [math.inf if x is None else x for x in document["edges"]]
        made.bins = Bins(*(np.array(x) for x in (edges, document["ties"], document["gaps"])))
        made._ranks, made._named = document["ranks"], set(document["named"])
        made._names_all = document["names_all"]
        return made

    def codes(self, cells: Sequence[Any]) -> tuple[NDArray[np.float64], int]:
        """Return the code of each cell, and how many are there but of another kind.

        Args:
            cells: As JSON has them, (m,).
        """
        if self.kind not in _NUMBERS:
            return self._ranked(cells), 0
        try:
            found = np.array(cells, dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            return self._numbers(cells)
        # NumPy reads texts of digits as numbers, and lists as more dimensions.
        if found.ndim != 1 or any(isinstance(cell, str) for cell in cells):
            return self._numbers(cells)
        return _on_line(found), 0

    def _ranked(self, cells: Sequence[Any]) -> NDArray[np.float64]:
        unseen, missing = float(len(self._ranks)), np.inf
        return np.array(
            [
                missing if _is_missing(cell) else self._ranks.get(_text(cell), unseen)
                for cell in cells
            ],
            dtype=np.float64,
        )

    def _numbers(self, cells: Sequence[Any]) -> tuple[NDArray[np.float64], int]:
        read = _seconds if self.kind == "time" else _number
        found = [None if _is_missing(cell) else read(cell) for cell in cells]
        strange = sum(
            value is None and not _is_missing(cell)
            for value, cell in zip(found, cells, strict=True)
        )
        values = [math.nan if value is None else value for value in found]
        return _on_line(np.array(values, dtype=np.float64)), strange

    def unseen(self, cells: Sequence[Any]) -> list[str]:
        """Return the categories among these that the reference does not have, as far as it knows.

        It names neither all of many categories nor prose, and so finds no new ones there.
        """
        if not self._names_all:
            return []
        texts = (_text(cell) for cell in cells if not _is_missing(cell))
        return [text[:MAX_TEXT] for text in texts if text not in self._named]


def profile_of_requests(cells: Sequence[Any]) -> FeatureProfile:
    """Describe a feature by values of requests, where JSON has written times as texts."""
    there = [cell for cell in cells if not _is_missing(cell)]
    times = [seconds(cell) if isinstance(cell, str) else None for cell in there]
    if None in times or not times:
        return profile_feature(cells)
    moments = [_EPOCH + dt.timedelta(seconds=t) for t in times if t is not None]
    return profile_feature([*moments, *[None] * (len(cells) - len(there))])


def _category_codes(
    categories: Categories, missing: int
) -> tuple[NDArray[np.float64], dict[str, int]]:
    """Return codes of the reference, and the rank of each category that has one."""
    generator = _generator()
    counts = np.array([*categories.counts.values(), categories.other, missing])
    if counts.sum() > MAX_SAMPLE:
        counts = generator.multivariate_hypergeometric(counts, MAX_SAMPLE, method="count")
    part = int(counts.sum()) // _PART
    ranking = generator.multivariate_hypergeometric(counts, part, method="count")
    names = list(categories.counts)
    order = [index for index in np.argsort(-ranking[:-2], kind="stable") if ranking[index]]
    ranks = {names[index]: rank for rank, index in enumerate(order)}
    codes = [*(ranks.get(name, len(ranks)) for name in names), len(ranks), np.inf]
    return np.repeat(np.array(codes, dtype=np.float64), counts - ranking), ranks


def _number_codes(profile: FeatureProfile) -> NDArray[np.float64]:
    """Return codes of the reference, or of a random part of it as large as its sample."""
    numbers = profile.numbers
    if numbers is None or not numbers.sample:
        raise ValueError("its profile holds no sample of the training data")
    below, above = numbers.infinite
    finite = profile.count - below - above
    sample = np.array(numbers.sample)
    drawn = [finite, below, above, profile.missing]
    if len(sample) < finite:
        generator = _generator()
        drawn = list(generator.multivariate_hypergeometric(drawn, len(sample), method="count"))
        sample = generator.choice(sample, drawn[0], replace=False)
    rest = np.repeat([-_LARGEST, _LARGEST, np.inf], drawn[1:])
    return np.concatenate([sample, rest])


def _no_infinity(code: float) -> float | None:
    """Write a code as JSON has it: that of a missing value is infinite."""
    return None if code == math.inf else code


def _generator() -> np.random.Generator:
    return np.random.default_rng(_SEED)


def _on_line(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sort missing values after all numbers, infinity too."""
    return np.where(np.isnan(values), np.inf, np.clip(values, -_LARGEST, _LARGEST))


def _is_missing(cell: object) -> bool:
    return cell is None or (isinstance(cell, float) and cell != cell)


def _text(cell: object) -> str:
    return str(cell).lower() if isinstance(cell, bool) else str(cell)


def _number(cell: Any) -> float | None:  # noqa: ANN401 - JSON data
    try:
        return float(cell) if isinstance(cell, int | float) else None
    except OverflowError:
        return math.inf if cell > 0 else -math.inf


def _seconds(cell: object) -> float | None:
    return seconds(cell) if isinstance(cell, str) else _number(cell)
