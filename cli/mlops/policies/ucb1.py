"""UCB1: the arm that could be the best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from mlops.policies.learning import Learning, between, not_below_zero, share_among_best, spread
from mlops.policies.tally import Memory, Tally


class Ucb1(Learning):
    """The arm with the highest upper bound, mean + c * range * sqrt(2 ln(t) / n).

    Auer, Cesa-Bianchi and Fischer (Machine Learning 47, 2002), figure 1, for rewards in [0, 1].
    With `discount` or `window` it is the policy of Garivier and Moulines (arXiv 0805.3415), with n
    and t as far as they still count. Within an epoch the bound is that of its beginning.

    Args:
        weights: See `Learning`.
        c: Width of the bound, above 0.
        range: Width of the range of rewards; 0 for twice their standard deviation, or 1 where all
            are 0 or 1.
        options: See `Learning`.
    """

    name = "ucb1"

    def __init__(
        self,
        weights: Sequence[float],
        *,
        c: float = 1.0,
        range: float = 0.0,  # noqa: A002 - the option's name
        **options: Any,  # noqa: ANN401 - see `Learning`
    ) -> None:
        super().__init__(weights, **options)
        between("c", c, 0, math.inf)
        not_below_zero("range", range)
        self._c, self._range = c, range

    def shares(self, tallies: Sequence[Tally], memory: Memory) -> Sequence[float]:
        """See `Learning.shares`."""
        wide = self._range or (1.0 if memory.binary else 2 * spread(tallies))
        t = max(sum(tally.n for tally in tallies), 1.0)
        bounds = [
            tally.mean + self._c * wide * math.sqrt(2 * math.log(t) / tally.n) for tally in tallies
        ]
        return share_among_best(bounds)
