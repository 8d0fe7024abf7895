"""The contract of a policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Choice:
    """One arm, and the probability in (0, 1] with which the policy chooses it."""

    arm: int
    propensity: float


class Policy(Protocol):
    """Chooses arms. May be called from any thread; the same `draw` gives the same choice."""

    def choose(self, draw: float) -> Choice:
        """Choose an arm for `draw`, uniform in [0, 1)."""
        ...


class PolicyFactory(Protocol):
    """Makes a policy for arms with the given weights in [0, 1], which sum to 1."""

    def __call__(self, weights: Sequence[float]) -> Policy:
        """Make the policy."""
        ...
