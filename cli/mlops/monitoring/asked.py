"""What a verdict needs of all units, with or without feedback."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlops.stats.sample_ratio import largest_by_stratum, log_evidence

_HOUR_MS = 3_600_000
_AT_ONCE = 1 << 20
_ALL = slice(None)


@dataclass(frozen=True, slots=True)
class Asked:
    """Units that the policy drew an arm for, with or without feedback; m, in order of the draws.

    Attributes:
        arms: Arm of each, (m,).
        strata: Row of `Evidence.weights` by which its arm was drawn, (m,).
        propensities: Probability with which its arm was drawn, (m,).
        times_ms: When it was drawn, (m,), milliseconds since 1970 in UTC.
        closed: Whether its feedback window has closed, (m,); always, where there is none.
        answered: Whether it has a reward by feedback, (m,).
        failed: Whether all its requests failed, (m,).
        latency_ms: Mean latency of its requests, (m,).
        first_latency_ms: Latency of its first request, (m,).
        errors: Share of its requests answered with 5xx, (m,).
        refusals: Share of its requests answered with 4xx, (m,).
    """

    arms: NDArray[np.int64]
    strata: NDArray[np.int64]
    propensities: NDArray[np.float64]
    times_ms: NDArray[np.int64]
    closed: NDArray[np.bool_]
    answered: NDArray[np.bool_]
    failed: NDArray[np.bool_]
    latency_ms: NDArray[np.float64]
    first_latency_ms: NDArray[np.float64]
    errors: NDArray[np.float64]
    refusals: NDArray[np.float64]

    def counted(self, weights: NDArray[np.float64], *, failures: bool) -> AskedCounts:
        """Count them by row of the weights and arm.

        Args:
            weights: Those of `Evidence`, (s, k).
            failures: Whether a failure has a reward of its own.
        """
        told = self.answered | (self.failed & failures)
        everybody = np.ones(self.arms.size, dtype=bool)
        largest, largest_of = largest_by_stratum([(self.arms, self.strata)], weights)
        return AskedCounts(
            all=self._count(everybody, weights.shape),
            failed=self._count(self.failed, weights.shape),
            closed=self._count(self.closed, weights.shape),
            answered=self._count(self.closed & self.answered, weights.shape),
            told=self._count(self.closed & told, weights.shape),
            largest_evidence=largest,
            largest_of_rows=largest_of,
            span_ms=ends_of(self.times_ms),
            judged=Rhythm.of(self.times_ms[self.closed]),
        )

    def _count(self, chosen: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.int64]:
        counts = np.zeros(shape, dtype=np.int64)
        np.add.at(counts, (self.strata[chosen], self.arms[chosen]), 1)
        return counts


@dataclass(frozen=True, slots=True)
class Rhythm:
    """When units were drawn.

    Attributes:
        span_ms: First and last, milliseconds since 1970 in UTC; None without any.
        hourly: How many in each hour since the first, (h,).
    """

    span_ms: tuple[int, int] | None
    hourly: NDArray[np.int64]

    @classmethod
    def of(cls, times_ms: NDArray[np.int64]) -> Rhythm:
        """Count times, ascending, (m,)."""
        if not times_ms.size:
            return cls(None, np.zeros(0, dtype=np.int64))
        hours = np.zeros(int(times_ms[-1] - times_ms[0]) // _HOUR_MS + 1, dtype=np.int64)
        for start in range(0, times_ms.size, _AT_ONCE):
            some = (times_ms[start : start + _AT_ONCE] - times_ms[0]) // _HOUR_MS
            hours += np.bincount(some, minlength=hours.size)
        return cls(ends_of(times_ms), hours)


@dataclass(frozen=True, slots=True)
class AskedCounts:
    """Units that the policy drew an arm for, counted by row of `Evidence.weights` and arm, (s, k).

    Attributes:
        all: All of them.
        failed: Those whose requests all failed.
        closed: Those whose feedback window has closed; all, where there is none.
        answered: Of the closed, those with a reward by feedback.
        told: Of the closed, those with a reward by feedback, or as a failure where that has one.
        largest_evidence: Largest log e-value, ever, that arms are not drawn by the weights.
        largest_of_rows: The same of each row alone, (s,).
        span_ms: Times of the first and the last, milliseconds since 1970 in UTC; None without any.
        judged: When those that are closed were drawn.
    """

    all: NDArray[np.int64]
    failed: NDArray[np.int64]
    closed: NDArray[np.int64]
    answered: NDArray[np.int64]
    told: NDArray[np.int64]
    largest_evidence: float
    largest_of_rows: NDArray[np.float64]
    span_ms: tuple[int, int] | None
    judged: Rhythm

    @property
    def n(self) -> int:
        """All units, m."""
        return int(self.all.sum())

    @property
    def open(self) -> int:
        """Units whose feedback window is still open."""
        return self.n - int(self.closed.sum())

    def largest_within(
        self, weights: NDArray[np.float64], rows: NDArray[np.bool_] | slice = _ALL
    ) -> float:
        """Return the largest log e-value, ever, that arms are not drawn by some of the weights.

        A row counts once those before it are over: the evidence that these have at their end is
        kept, and what the row adds is the largest that it ever added.

        Args:
            weights: Those of `Evidence`, (s, k).
            rows: Which of its rows count; all by default.
        """
        total, largest = 0.0, 0.0
        parts = zip(self.all[rows], weights[rows], self.largest_of_rows[rows], strict=True)
        for counts, shares, most in parts:
            largest = max(largest, total + float(most))
            total += float(log_evidence(counts, shares))
        return largest

    def split(
        self, weights: NDArray[np.float64], rows: NDArray[np.bool_] | slice = _ALL
    ) -> tuple[tuple[int, ...], tuple[float, ...]]:
        """Return how many units each arm has, and how many it should have by the weights.

        Args:
            weights: Those of `Evidence`, (s, k).
            rows: Which of its rows count; all by default.
        """
        counts = self.all[rows]
        expected = (counts.sum(axis=1, keepdims=True) * weights[rows]).sum(axis=0)
        return tuple(counts.sum(axis=0).tolist()), tuple(expected.tolist())


def ends_of(times_ms: NDArray[np.int64]) -> tuple[int, int] | None:
    """First and last of ascending times; None without any."""
    return (int(times_ms[0]), int(times_ms[-1])) if times_ms.size else None
