"""Named features of a request as numbers, and what is known of rewards beside them.

Symbols:
    x       the request's d numbers: one per feature, and one per known category of a feature
    v       (1, x, reward), each less its first value, so that sums of squares keep their digits
    M       sum of v v' over the rewards of one arm, (d + 2, d + 2)

Everything that a linear model needs is in M, also where features are put on another scale later, so
that it need not be known in advance and no reward is read twice.

A number, true or false is a number. A text is a category: 1 for its own, 0 for all others; those
beyond the first few are like none. Whatever is missing, null, not finite, or of another type has
the mean so far.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlops.policies.base import Credit

_Floats = NDArray[np.float64]
MAX_FEATURES = 16
#: Categories of one feature, and of all together.
_CATEGORIES, _ALL_CATEGORIES = 10, 16
_LONGEST = 64
# Beyond it a square, and sums of squares, lose what they are needed for.
_LARGEST = 1e100
# One value must not drown all others: beyond so many standard deviations it counts as that far, as
# soon as a few rewards tell what one is.
_FARTHEST, _FEW = 10.0, 20


def number_of(cell: object) -> float | None:
    """Return a cell as a number; None where it is none, as a missing one.

    >>> number_of(True), number_of("a"), number_of(float("nan"))
    (1.0, None, None)
    """
    if not isinstance(cell, int | float):
        if not hasattr(cell, "item") or getattr(cell, "size", 0) != 1:
            return None
        return number_of(cell.item())
    number = float(cell) if abs(cell) < _LARGEST else math.nan
    return number if number == number else None


def category_of(cell: object) -> str | None:
    """Return a cell as a category; None where it is none."""
    return cell[:_LONGEST] if isinstance(cell, str) else None


class Moments:
    """Sums of rewards and of the features beside them, by arm.

    Args:
        arms: Number of arms, k.
        names: Names of the features.
        discount: Weight of a reward after one more, in (0, 1].
        parameters: As `to_json` gives them; empty for none yet.

    Attributes:
        seen: Rewards of each arm that were ever taken in.
        categories: (position of the feature, category) of each number beyond those of features.
        sums: M of each arm, (k, d + 2, d + 2).
        shift: What v is less of; 0 for categories, (d + 1,) without that of 1.
    """

    def __init__(
        self, arms: int, names: Sequence[str], discount: float, parameters: Mapping[str, Any]
    ) -> None:
        self._names, self._discount = tuple(names), discount
        self.seen: list[int] = list(parameters.get("seen", [0] * arms))
        self.categories = [(int(at), str(text)) for at, text in parameters.get("categories", ())]
        # None: nothing but missing values so far.
        self.shift: list[float | None] = list(parameters.get("shift", [None] * (len(names) + 1)))
        size = len(self.shift) + 1
        self.sums: _Floats = np.zeros((arms, size, size))
        for arm, half in enumerate(parameters.get("sums", ())):
            upper = self.sums[arm]
            upper[np.triu_indices(size)] = half
            self.sums[arm] = upper + np.triu(upper, 1).T

    @property
    def count(self) -> int:
        """Rewards ever taken in."""
        return sum(self.seen)

    def add(self, earned: Iterable[Credit]) -> None:
        """Take in rewards, in their order."""
        for credit in earned:
            values = self._values(credit)
            if self._discount < 1:
                self.sums *= self._discount
            self.sums[credit.arm] += values[:, None] * values
            self.seen[credit.arm] += 1

    def of_arms(self, arms: Sequence[int | None]) -> Moments:
        """Return what is known of these arms; of None nothing is."""
        made = Moments(len(arms), self._names, self._discount, {})
        made.categories, made.shift = list(self.categories), list(self.shift)
        made.seen = [0 if arm is None else self.seen[arm] for arm in arms]
        empty = np.zeros(self.sums.shape[1:])
        made.sums = np.stack([empty if arm is None else self.sums[arm] for arm in arms])
        return made

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        upper = np.triu_indices(self.sums.shape[1])
        return {
            "seen": self.seen,
            "categories": [list(each) for each in self.categories],
            "shift": self.shift,
            "sums": [each[upper].tolist() for each in self.sums],
        }

    def _values(self, credit: Credit) -> _Floats:
        cells = [credit.context.get(name) for name in self._names]
        for at, text in enumerate(map(category_of, cells)):
            if text is not None:
                self._meet(at, text)
        numbers = [number_of(cell) for cell in cells]
        # The reward is last; it is never missing.
        for at, number in zip((*range(len(numbers)), -1), (*numbers, credit.reward), strict=True):
            if self.shift[at] is None and number is not None:
                self.shift[at] = number
        whole = self.sums.sum(axis=0)
        n = max(whole[0, 0], 1e-300)
        means = whole[0] / n
        reach = _FARTHEST * np.sqrt(np.maximum(np.diagonal(whole) / n - means**2, 0))
        if self.count < _FEW:
            reach[:] = np.inf
        found = [1.0]
        for at, number in enumerate(numbers):
            mean, far = float(means[1 + at]), float(reach[1 + at]) or math.inf
            away = 0.0 if number is None else number - (self.shift[at] or 0.0) - mean
            found.append(mean + max(-far, min(away, far)))
        for place, (at, text) in enumerate(self.categories, start=len(found)):
            own = category_of(cells[at])
            missing = own is None and numbers[at] is None
            found.append(float(means[place]) if missing else float(own == text))
        return np.array([*found, credit.reward - (self.shift[-1] or 0.0)], dtype=np.float64)

    def _meet(self, at: int, text: str) -> None:
        """Know a category from now on, which no request had before."""
        others = sum(feature == at for feature, _ in self.categories)
        known = (at, text) in self.categories
        if known or others >= _CATEGORIES or len(self.categories) >= _ALL_CATEGORIES:
            return
        place = self.sums.shape[1] - 1
        self.categories.append((at, text))
        self.shift.insert(-1, 0.0)
        for axis in (1, 2):
            self.sums = np.insert(self.sums, place, 0.0, axis=axis)


class Scale:
    """Features and rewards with mean 0 and variance 1, as far as they have been seen.

    A feature that never varied says nothing, and is 0.

    Args:
        moments: What has been seen.
        names: Names of the features.

    Attributes:
        varies: Whether rewards do.
        features: M of each arm on this scale, without its rewards, (k, d + 1, d + 1).
        rewards: Sums of rewards times (1, x) on this scale, (k, d + 1).
        squares: Sums of squared rewards on this scale, (k,).
    """

    def __init__(self, moments: Moments, names: Sequence[str]) -> None:
        whole = moments.sums.sum(axis=0)
        n = max(whole[0, 0], 1e-300)
        mean = whole[0] / n
        variance = np.diagonal(whole) / n - mean**2
        # What is left of a difference of large squares is no variance.
        small = 1e-12 * np.maximum(np.diagonal(whole) / n, 1e-300)
        rates = np.where(variance > small, 1 / np.sqrt(np.maximum(variance, small)), 0.0)
        rates[0] = 1.0
        turn = np.diag(rates)
        turn[1:, 0] = -mean[1:] * rates[1:]
        turned = turn @ moments.sums @ turn.T
        self.varies = bool(rates[-1] > 0)
        self.features, self.rewards = turned[:, :-1, :-1], turned[:, :-1, -1]
        self.squares = turned[:, -1, -1]
        d = len(names)
        shifts = np.array([shift or 0.0 for shift in moments.shift[:d]])
        centres, own_rates = (mean[1 : d + 1] + shifts).tolist(), rates[1 : d + 1].tolist()
        self._numbers = list(zip(names, centres, own_rates, strict=True))
        # By feature: places of its categories, with the values of those that a request is not of,
        # and of the one that it is of.
        self._absent = (-mean[d + 1 : -1] * rates[d + 1 : -1]).tolist()
        self._places: dict[str, dict[str, tuple[int, float]]] = {}
        for place, (at, text) in enumerate(moments.categories):
            own = self._absent[place] + float(rates[d + 1 + place])
            self._places.setdefault(names[at], {})[text] = (d + 1 + place, own)

    def of(self, context: Mapping[str, Any]) -> list[float]:
        """Return (1, x) of a request, d + 1 numbers."""
        found = [1.0]
        for name, centre, rate in self._numbers:
            number = number_of(context.get(name))
            away = 0.0 if number is None else (number - centre) * rate
            found.append(max(-_FARTHEST, min(away, _FARTHEST)))
        if self._absent:
            self._add_categories(context, found)
        return found

    def _add_categories(self, context: Mapping[str, Any], found: list[float]) -> None:
        """Append the categories of a request; those of the mean where the feature is missing."""
        found.extend(self._absent)
        for name, places in self._places.items():
            text = category_of(cell := context.get(name))
            if text is None and number_of(cell) is None:
                for place, _ in places.values():
                    found[place] = 0.0
            elif text in places:
                place, value = places[text]
                found[place] = value


def features_in(text: str) -> tuple[str, ...]:
    """Read names of features, separated by commas.

    >>> features_in("alcohol, fixed acidity")
    ('alcohol', 'fixed acidity')
    """
    return tuple(dict.fromkeys(name for each in text.split(",") if (name := each.strip())))
