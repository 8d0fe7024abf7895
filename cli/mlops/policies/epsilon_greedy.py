"""Epsilon-greedy: the best arm so far, and sometimes any."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlops.policies.learning import Learning, between, not_below_zero, share_among_best
from mlops.policies.tally import Memory, Tally


class EpsilonGreedy(Learning):
    """The arm with the highest mean, except with probability epsilon, which is for all arms alike.

    Auer, Cesa-Bianchi and Fischer (Machine Learning 47, 2002), figure 3: with epsilon falling as
    1/t the regret grows with the logarithm of t. Here the floor stays under that.

    Args:
        weights: See `Learning`.
        epsilon: In (0, 1].
        half_life: Rewards after which epsilon is half of that, a third after twice as many...; 0
            for an epsilon that stays.
        options: See `Learning`.
    """

    name = "epsilon-greedy"

    def __init__(
        self,
        weights: Sequence[float],
        *,
        epsilon: float = 0.1,
        half_life: float = 0.0,
        **options: Any,  # noqa: ANN401 - see `Learning`
    ) -> None:
        super().__init__(weights, **options)
        between("epsilon", epsilon, 0, 1)
        not_below_zero("half-life", half_life)
        self._epsilon, self._half_life = epsilon, half_life

    def shares(self, tallies: Sequence[Tally], memory: Memory) -> Sequence[float]:
        """See `Learning.shares`."""
        decay = 1 + memory.count / self._half_life if self._half_life > 0 else 1.0
        epsilon = self._epsilon / decay
        best = share_among_best([tally.mean for tally in tallies])
        return [epsilon / len(tallies) + (1 - epsilon) * share for share in best]
