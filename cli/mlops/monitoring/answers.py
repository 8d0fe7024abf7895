"""Answered requests of two arms, weighted such that they speak of all requests."""

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
        weights: One over the probability of their arm, (n,): see `mlops.stats.missing`.
        rate: Share of all requests that would have a reward under this arm; nan if none was asked.
    """

    rewards: NDArray[np.float64]
    weights: NDArray[np.float64]
    rate: float

    @property
    def mean(self) -> float:
        """Their weighted mean reward; n must not be 0."""
        return float(np.average(self.rewards, weights=self.weights))


def answers_of(evidence: Evidence, pair: tuple[int, int]) -> tuple[Answers, Answers]:
    """Return the answered requests of two arms, given by position."""
    both = np.asarray((evidence.weights[:, pair] > 0).all(axis=1))
    asked = evidence.asked
    rates = weighted_rates(asked.closed[both], asked.told[both], evidence.weights[both])
    ours, theirs = (_of(evidence, arm, both, float(rates[arm])) for arm in pair)
    return ours, theirs


def _of(evidence: Evidence, arm: int, both: NDArray[np.bool_], rate: float) -> Answers:
    own = (evidence.arms == arm) & both[evidence.strata]
    return Answers(evidence.rewards[own], 1 / evidence.weights[evidence.strata[own], arm], rate)
