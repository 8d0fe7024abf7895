"""How two models disagree on the same rows, before one of them goes live.

Numbers: difference = second - first. Mean and standard deviation are exact over all rows; so are
quantiles up to 100,000 rows, beyond that they are of a uniform sample of so many (Vitter's
algorithm R, seeded).
Classes: how often they agree, Cohen's kappa, and the pairs that differ most often.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_SAMPLE = 100_000
_WORST = 10
_PAIRS = 10
_SEED = 0


@dataclass(frozen=True, slots=True)
class Place:
    """A row on which they differ much.

    Attributes:
        file: Its file.
        row: Its position there, from 0.
        first: What the first model answers.
        second: What the second answers.
    """

    file: str
    row: int
    first: Any
    second: Any


@dataclass(frozen=True, slots=True)
class Numbers:
    """Differences of numbers, second - first.

    Attributes:
        mean: Their mean.
        sd: Their standard deviation.
        mean_abs: Mean of their absolute values.
        quantiles_abs: 50 %, 90 %, 99 % and 100 % of the absolute values.
        correlation: Pearson's, of the two answers; None where one of them never varies.
        first_mean: Mean of the first model's answers.
        second_mean: Of the second's.
    """

    mean: float
    sd: float
    mean_abs: float
    quantiles_abs: tuple[float, float, float, float]
    correlation: float | None
    first_mean: float
    second_mean: float


@dataclass(frozen=True, slots=True)
class Disagreement:
    """How two models disagree.

    Attributes:
        first: Label of the first.
        second: Label of the second.
        rows: Rows that both answered.
        refused: Rows that one of them refused.
        equal: Rows with the same answer, to the last digit.
        kappa: Cohen's kappa, of answers that are not numbers; None for numbers, and where each
            gave one answer only.
        numbers: Of answers that are numbers; else None.
        pairs: The most frequent pairs of different answers with their counts; of no numbers.
        worst: Rows with the largest differences; of classes the first ones.
    """

    first: str
    second: str
    rows: int
    refused: int
    equal: int
    kappa: float | None
    numbers: Numbers | None
    pairs: tuple[tuple[str, str, int], ...]
    worst: tuple[Place, ...]


def compare(
    labels: tuple[str, str], answers: Iterable[tuple[str, int, Sequence[Any], Sequence[Any]]]
) -> Disagreement:
    """Compare answers, some at a time; memory does not grow with them.

    Args:
        labels: Of the two models.
        answers: File, position of the first row, and n answers of each; None where refused.
    """
    fold = _Fold()
    for file, start, first, second in answers:
        fold.take(file, start, first, second)
    return fold.told(labels)


class _Fold:
    def __init__(self) -> None:
        self._rows = self._refused = self._equal = 0
        self._numeric = True
        self._pairs: Counter[tuple[str, str]] = Counter()
        self._worst: list[tuple[float, int, Place]] = []
        # n, means of (x, y, d), sums of squares about them, sum of products, sum of |d|
        self._n = 0
        self._mean = np.zeros(3)
        self._m2 = np.zeros(3)
        self._cross = 0.0
        self._abs = 0.0
        self._largest = 0.0
        self._sample = np.empty(0)
        self._random = np.random.default_rng(_SEED)

    def take(self, file: str, start: int, first: Sequence[Any], second: Sequence[Any]) -> None:
        both = [
            (start + at, x, y)
            for at, (x, y) in enumerate(zip(first, second, strict=True))
            if x is not None and y is not None
        ]
        self._refused += len(first) - len(both)
        self._rows += len(both)
        self._equal += sum(x == y for _, x, y in both)
        self._numeric = self._numeric and all(
            type(x) in (int, float) and type(y) in (int, float) for _, x, y in both
        )
        # Many whole numbers are classes; there are few of those.
        self._count(both)
        if self._numeric and both:
            self._add(file, both)
        else:
            for row, x, y in both:
                if x != y and len(self._worst) < _WORST:
                    self._worst.append((0.0, -row, Place(file, row, x, y)))

    def _count(self, both: Sequence[tuple[int, Any, Any]]) -> None:
        for _, x, y in both:
            if type(x) is float or type(y) is float or len(self._pairs) > 10_000:
                return
            self._pairs[str(x), str(y)] += 1

    def _add(self, file: str, both: Sequence[tuple[int, Any, Any]]) -> None:
        values = np.array([(x, y, y - x) for _, x, y in both], dtype=np.float64)
        finite = np.isfinite(values).all(axis=1)
        gaps = np.abs(values[:, 2])
        for at in np.argsort(-np.nan_to_num(gaps, nan=np.inf), kind="stable")[:_WORST]:
            row, x, y = both[int(at)]
            if x == y:
                break
            entry = (float(gaps[at]), -row, Place(file, row, x, y))
            if math.isnan(entry[0]):
                entry = (math.inf, *entry[1:])
            (heapq.heappush if len(self._worst) < _WORST else heapq.heappushpop)(self._worst, entry)
        values = values[finite]
        if not len(values):
            return
        n, mean = len(values), values.mean(axis=0)
        centred = values - mean
        delta, whole = mean - self._mean, self._n + n
        weight = self._n * n / whole
        self._cross += float(centred[:, 0] @ centred[:, 1]) + delta[0] * delta[1] * weight
        self._m2 += (centred**2).sum(axis=0) + delta**2 * weight
        self._mean += delta * (n / whole)
        self._abs += float(np.abs(values[:, 2]).sum())
        self._largest = max(self._largest, float(np.abs(values[:, 2]).max()))
        self._draw(np.abs(values[:, 2]))
        self._n = whole

    def _draw(self, gaps: Any) -> None:  # noqa: ANN401 - an array
        """Keep a uniform sample of all absolute differences."""
        space = _SAMPLE - len(self._sample)
        self._sample = np.concatenate([self._sample, gaps[:space]])
        rest = gaps[space:]
        if len(rest):
            counts = np.arange(self._n + space + 1, self._n + space + 1 + len(rest))
            places = (self._random.random(len(rest)) * counts).astype(np.int64)
            kept = places < _SAMPLE
            self._sample[places[kept]] = rest[kept]

    def told(self, labels: tuple[str, str]) -> Disagreement:
        numeric = self._numeric and self._n > 0
        few = bool(self._pairs) and self._pairs.total() == self._rows
        pairs = [(x, y, n) for (x, y), n in self._pairs.most_common() if x != y] if few else []
        return Disagreement(
            first=labels[0],
            second=labels[1],
            rows=self._rows,
            refused=self._refused,
            equal=self._equal,
            kappa=_kappa(self._pairs) if few else None,
            numbers=self._numbers() if numeric else None,
            pairs=tuple(pairs[:_PAIRS]),
            worst=tuple(place for _, _, place in sorted(self._worst, key=lambda e: e[:2])[::-1]),
        )

    def _numbers(self) -> Numbers:
        sd = np.sqrt(self._m2 / max(1, self._n - 1))
        both = float(self._m2[0] * self._m2[1])
        half, most, nearly = (float(q) for q in np.quantile(self._sample, [0.5, 0.9, 0.99]))
        return Numbers(
            mean=float(self._mean[2]),
            sd=float(sd[2]),
            mean_abs=self._abs / self._n,
            quantiles_abs=(half, most, nearly, self._largest),
            correlation=self._cross / math.sqrt(both) if both > 0 else None,
            first_mean=float(self._mean[0]),
            second_mean=float(self._mean[1]),
        )


def _kappa(pairs: Counter[tuple[str, str]]) -> float | None:
    """Return Cohen's kappa; None where chance alone would agree always."""
    n = pairs.total()
    firsts: Counter[str] = Counter()
    seconds: Counter[str] = Counter()
    for (x, y), count in pairs.items():
        firsts[x] += count
        seconds[y] += count
    agree = sum(count for (x, y), count in pairs.items() if x == y) / n
    chance = sum(count * seconds[x] for x, count in firsts.items()) / n**2
    return None if chance >= 1 else (agree - chance) / (1 - chance)
