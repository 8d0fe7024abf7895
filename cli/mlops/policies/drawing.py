"""From probabilities and a number to an arm."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate


@dataclass(frozen=True, slots=True)
class Choice:
    """One arm, and the probability in (0, 1] with which it is chosen, in this epoch."""

    arm: int
    propensity: float
    epoch: int = 0


class Draws:
    """Arm k answers the draws in its own range of [0, 1), as wide as its probability.

    Ranges lie in the order of the arms, so that in a two-arm test a unit that already has the
    arm whose weight grows keeps it. A probability of 0 is an empty range: such an arm is never
    chosen.

    Args:
        probabilities: (k,) shares in [0, 1] that sum to 1.
        epoch: Number of the policy epoch that they are in force in.

    Attributes:
        probabilities: As given.
        epoch: As given.

    >>> draws = Draws([0.9, 0.1])
    >>> draws.choose(0.89).arm, draws.choose(0.9).arm
    (0, 1)
    """

    def __init__(self, probabilities: Sequence[float], epoch: int = 0) -> None:
        self.probabilities = tuple(probabilities)
        self.epoch = epoch
        live = [(arm, share) for arm, share in enumerate(probabilities) if share > 0]
        self._choices = [Choice(arm, share, epoch) for arm, share in live]
        # The last bound is left out: whatever lies beyond the others belongs to the last arm,
        # also where the probabilities sum to 0.999….
        self._bounds = list(accumulate(share for _, share in live))[:-1]

    def choose(self, draw: float) -> Choice:
        """Choose the arm in whose range `draw`, uniform in [0, 1), falls."""
        return self._choices[bisect_right(self._bounds, draw)]
