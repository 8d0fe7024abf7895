"""Fixed weights: the policy of A/B tests and canaries."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from mlops.policies.base import Choice


class Weighted:
    """Arm k answers the draws in its own range of [0, 1), as wide as its weight.

    Ranges lie in the order of the arms, so that in a two-arm test a unit that already has the
    arm whose weight grows keeps it. A weight of 0 is an empty range: such an arm is never chosen.

    Args:
        weights: (k,) shares in [0, 1] that sum to 1.

    >>> policy = Weighted([0.9, 0.1])
    >>> policy.choose(0.89).arm, policy.choose(0.9).arm
    (0, 1)
    """

    def __init__(self, weights: Sequence[float]) -> None:
        live = [(arm, weight) for arm, weight in enumerate(weights) if weight > 0]
        self._choices = [Choice(arm, weight) for arm, weight in live]
        # The last bound is left out: whatever lies beyond the others belongs to the last arm,
        # also where the weights sum to 0.999….
        self._bounds = list(accumulate(weight for _, weight in live))[:-1]

    def choose(self, draw: float) -> Choice:
        """Choose the arm in whose range `draw` falls."""
        return self._choices[bisect_right(self._bounds, draw)]
