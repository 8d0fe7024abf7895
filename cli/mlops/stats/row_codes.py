"""Rows in numbers, as detectors of outliers need them.

A number is itself, and a category minus the logarithm of its share: a rare one is far out. A
missing value has the code of the median of the others, in a column of its own 1 more than there.
Times, which only grow, and what is empty in the training data are left out, and so is what says
which row it is: ids, and features that are kept nowhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlops.stats.profiles import FeatureProfile

_LARGEST = 1e300


@dataclass(frozen=True, slots=True)
class Coding:
    """How the values of one feature become a number.

    Attributes:
        name: Name of the feature.
        categories: Text to code; None for a number.
        other: Code of any other text.
        middle: Code of a missing value.
    """

    name: str
    categories: Mapping[str, float] | None
    other: float
    middle: float

    def codes(self, cells: Sequence[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the code of each cell, and whether it is missing, both (m,)."""
        if self.categories is None:
            values = _numbers(cells)
        else:
            known = self.categories
            values = np.array(
                [math.nan if _missing(c) else known.get(_text(c), self.other) for c in cells],
                dtype=np.float64,
            )
        missing = np.isnan(values)
        values = np.clip(np.where(missing, self.middle, values), -_LARGEST, _LARGEST)
        return values, missing.astype(np.float64)


def codings(profiles: Mapping[str, FeatureProfile]) -> list[Coding]:
    """Return how the features of a profile become numbers."""
    found = []
    for name, profile in profiles.items():
        if profile.kind == "number" and profile.numbers is not None:
            found.append(Coding(name, None, 0.0, profile.numbers.percentiles[50]))
        elif profile.categories is not None and profile.count and profile.kind != "distinct":
            total = profile.count + 2
            codes = {
                text: -math.log((count + 1) / total)
                for text, count in profile.categories.counts.items()
            }
            rare = -math.log(1 / total)
            found.append(Coding(name, codes, rare, min(codes.values(), default=rare)))
    return found


def encode(columns: Mapping[str, Sequence[Any]], known: Sequence[Coding]) -> NDArray[np.float64]:
    """Return rows as numbers, (m, 2 k): the k codes, then whether each is missing.

    Args:
        columns: Name to cells, (m,) each, of every coding.
        known: k codings.
    """
    both = [each.codes(columns[each.name]) for each in known]
    return np.column_stack([*(code for code, _ in both), *(gone for _, gone in both)])


def _numbers(cells: Sequence[Any]) -> NDArray[np.float64]:
    try:
        found = np.array(cells, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        found = np.zeros(0)
    # NumPy reads texts of digits as numbers, and lists as more dimensions.
    if found.shape != (len(cells),) or any(isinstance(cell, str) for cell in cells):
        found = np.array([_number(cell) for cell in cells], dtype=np.float64)
    return found


def _missing(cell: object) -> bool:
    return cell is None or (isinstance(cell, float) and cell != cell)


def _text(cell: object) -> str:
    return str(cell).lower() if isinstance(cell, bool | np.bool_) else str(cell)


def _number(cell: Any) -> float:  # noqa: ANN401 - likewise
    try:
        return math.nan if cell is None or isinstance(cell, str) else float(cell)
    except (TypeError, ValueError):
        return math.nan
    except OverflowError:
        return math.inf
