"""Answered requests of two arms, weighted such that they speak of the same requests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlops.monitoring.evidence import Evidence
from mlops.stats.missing import weighted_rates


@dataclass(frozen=True, slots=True)
class Answers:
    """The answered requests of one arm, n of them, where both arms of a pair may be drawn.

    Attributes:
        rewards: Their rewards, (n,).
        weights: Their importance over the probability of their arm, (n,), see
            `mlops.stats.missing`; None where that is the same for all.
        rate: Share of the requests that would have a reward under this arm; nan if none was asked.
    """

    rewards: NDArray[np.float64]
    weights: NDArray[np.float64] | None
    rate: float

    @property
    def mean(self) -> float:
        """Their weighted mean reward; n must not be 0."""
        return float(np.average(self.rewards, weights=self.weights))


def answers_of(
    evidence: Evidence, pair: tuple[int, int], importance: NDArray[np.float64] | None = None
) -> tuple[Answers, Answers]:
    """Return the answered requests of two arms, given by position.

    Args:
        evidence: All of the experiment.
        pair: The arms.
        importance: What a request counts, by row of the weights, (s,); None for all alike. That
            of `importance_by_row` makes them those which the difference of the arms is of.
    """
    shares = evidence.weights[:, pair]
    both = np.asarray((shares > 0).all(axis=1), dtype=np.float64)
    counts = both if importance is None else both * importance
    asked = evidence.asked
    rates = weighted_rates(asked.closed[:, pair], asked.told[:, pair], shares, counts)
    ours, theirs = (
        _of(evidence, arm, counts, float(rate)) for arm, rate in zip(pair, rates, strict=True)
    )
    return ours, theirs


def _of(evidence: Evidence, arm: int, counts: NDArray[np.float64], rate: float) -> Answers:
    by_row = np.zeros(counts.shape)
    np.divide(counts, evidence.weights[:, arm], out=by_row, where=counts > 0)
    own = (evidence.arms == arm) & (by_row > 0)[evidence.strata]
    rewards = evidence.rewards[own]
    if np.unique(by_row[by_row > 0]).size < 2:
        return Answers(rewards, None, rate)
    return Answers(rewards, by_row[evidence.strata[own]], rate)
