"""From probabilities and a number to an arm, given the request where the policy looks at it."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from mlops.policies.base import Contextual, Policy, State

#: Parameter of an epoch: number of the epoch that has the first of its vectors.
VECTORS = "vectors"


@dataclass(frozen=True, slots=True)
class Choice:
    """One arm, and the probability in (0, 1] with which it is chosen, in this epoch."""

    arm: int
    propensity: float
    epoch: int = 0


class Draws:
    """Arm k answers the draws in its own range of [0, 1), as wide as its probability.

    Ranges are in the order of the arms, so that in a two-arm test a unit that already has the
    arm whose weight grows keeps it. A probability of 0 is an empty range: such an arm is never
    chosen.

    Args:
        probabilities: (k,) shares in [0, 1] that sum to 1.
        epoch: Number of the policy epoch that they are in force in.

    Attributes:
        probabilities: As given.
        epoch: As given.
        features: Names of the features by which `of` tells which draws a request gets; none here.

    >>> draws = Draws([0.9, 0.1])
    >>> draws.choose(0.89).arm, draws.choose(0.9).arm
    (0, 1)
    """

    features: tuple[str, ...] = ()

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

    def of(self, _context: Mapping[str, Any]) -> Draws:
        """Return the draws that a request gets, by its features: these."""
        return self

    @property
    def all(self) -> Sequence[Draws]:
        """All draws that requests may get, each of an epoch of its own."""
        return (self,)


class ContextDraws(Draws):
    """The draws of a policy that looks at the request: those of one of its vectors.

    Args:
        probabilities: What they are without knowledge of the request, (k,).
        epoch: Number of the epoch that has the policy's parameters.
        features: Names of the features that tell which vector a request is drawn by.
        placer: Tells its position from the features, name to cell.
        vectors: The draws of each vector.
    """

    def __init__(
        self,
        probabilities: Sequence[float],
        epoch: int,
        features: tuple[str, ...],
        placer: Callable[[Mapping[str, Any]], int],
        vectors: Sequence[Draws],
    ) -> None:
        super().__init__(probabilities, epoch)
        self.features, self._place, self._vectors = features, placer, vectors

    def of(self, context: Mapping[str, Any]) -> Draws:
        """See `Draws.of`."""
        return self._vectors[self._place(context)]

    @property
    def all(self) -> Sequence[Draws]:
        """See `Draws.all`."""
        return self._vectors


def draws_of(policy: Policy, state: State, before: Draws | None = None) -> Draws:
    """Return the draws of a policy's state.

    Args:
        policy: It.
        state: As an epoch has it.
        before: Earlier draws of the same revision; vectors that it has in common are kept.
    """
    shares = tuple(policy.probabilities({}, state))
    placer = policy.placer(state) if isinstance(policy, Contextual) else None
    if placer is None or not isinstance(policy, Contextual):
        return Draws(shares, state.epoch)
    first = int(state.parameters[VECTORS])
    vectors = before.all if isinstance(before, ContextDraws) else ()
    if not vectors or vectors[0].epoch != first:
        vectors = [Draws(vector, first + at) for at, vector in enumerate(policy.vectors(state))]
    return ContextDraws(shares, state.epoch, policy.features, placer, vectors)


def is_distribution(shares: Sequence[Any]) -> bool:
    """Whether these are probabilities.

    >>> is_distribution((0.5, 0.5)), is_distribution((float("nan"), 1.0)), is_distribution((None,))
    (True, False, False)
    """
    if not all(isinstance(share, int | float) and 0 <= share <= 1 for share in shares):
        return False
    return math.isclose(sum(shares), 1, abs_tol=1e-6)
