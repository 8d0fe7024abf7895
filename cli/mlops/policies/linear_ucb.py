"""Linear UCB: the arm that could be the best, given the request."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mlops.policies.context import Scale
from mlops.policies.learning import between
from mlops.policies.linear import Models, Place
from mlops.policies.linear_greedy import LinearGreedy


class LinearUcb(LinearGreedy):
    """The arm with the highest upper bound of the predicted reward; all others have the floor.

    Li, Chu, Langford and Schapire (WWW 2010, arXiv 1003.0146), LinUCB with disjoint models: the
    bound is the prediction and `c` standard deviations of it. An arm that few such requests have
    seen is tried, so that nothing depends on the floor to be found. Within an epoch the bounds are
    those of its beginning, so where rewards are late all like requests get one arm meanwhile.

    Args:
        weights: See `Learning`.
        c: Posterior standard deviations that the bound is above the prediction, above 0.
        options: See `Linear`.
    """

    name = "linear-ucb"

    def __init__(
        self,
        weights: Sequence[float],
        *,
        c: float = 1.0,
        **options: Any,  # noqa: ANN401 - see `Linear`
    ) -> None:
        super().__init__(weights, **options)
        between("c", c, 0, math.inf)
        self._c = c

    def placing(self, scale: Scale, models: Models) -> Place:
        """See `Linear.placing`."""
        arms, size = models.means.shape
        stacked = np.vstack([models.means, self._c * models.roots.reshape(-1, size)])

        def place(context: Mapping[str, Any]) -> int:
            found = stacked @ np.array(scale.of(context))
            roots = found[arms:].reshape(arms, size)
            return int((found[:arms] + np.sqrt((roots * roots).sum(axis=1))).argmax())

        return place
