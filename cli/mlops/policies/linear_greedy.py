"""Linear greedy: the arm that a linear model expects most of, given the request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlops.policies.context import Scale
from mlops.policies.linear import Linear, Models, Place


class LinearGreedy(Linear):
    """The arm with the highest predicted reward; all others have the floor.

    In the comparison of Bietti, Agarwal and Langford (JMLR 22, 2021, arXiv 1802.04064) greedy
    policies were hard to beat, as requests differ enough to explore by themselves. The floor does
    what is left to do.
    """

    name = "linear-greedy"

    @staticmethod
    def possible(arms: int) -> Sequence[Sequence[float]]:
        """See `Linear.possible`."""
        return [[float(arm == leader) for arm in range(arms)] for leader in range(arms)]

    def placing(self, scale: Scale, models: Models) -> Place:
        """See `Linear.placing`."""
        means = [list(map(float, each)) for each in models.means]

        def place(context: Mapping[str, Any]) -> int:
            z = scale.of(context)
            scores = [sum(map(float.__mul__, mean, z)) for mean in means]
            return scores.index(max(scores))

        return place
