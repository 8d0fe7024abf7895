"""Linear Thompson sampling: each arm as often as it is probably the best for the request."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mlops.policies.context import Scale
from mlops.policies.learning import between
from mlops.policies.linear import Linear, Models, Place

_Floats: TypeAlias = NDArray[np.float64]
#: Vectors that there may be, and the finest steps between them.
_VECTORS, _STEPS = 300, 50
# Midpoints of equal parts of a standard normal distribution.
_GRID = np.array([NormalDist().inv_cdf((part + 0.5) / 24) for part in range(24)])


class LinearThompson(Linear):
    """Draws each arm with the probability that it is the best for the request.

    Agrawal and Goyal (ICML 2013, arXiv 1209.3352): with a linear model of the reward and Gaussian
    noise, what an arm earns from a request is normal under the posterior. The probability that an
    arm's is the highest is computed, by the normal distribution function for two arms and by
    quadrature for more, and then rounded to whole steps (one 50th for two arms, one 23rd for
    three, one tenth for four): the arm is drawn by what it was rounded to.

    Args:
        weights: See `Learning`.
        scale: Factor of the posterior's standard deviations, above 0; less explores less.
        options: See `Linear`.
    """

    name = "linear-thompson"

    def __init__(
        self,
        weights: Sequence[float],
        *,
        scale: float = 0.5,
        **options: Any,  # noqa: ANN401 - see `Linear`
    ) -> None:
        super().__init__(weights, **options)
        between("scale", scale, 0, math.inf)
        self._scale = scale
        self._steps = steps = _steps(len(self._weights))
        taken = (tuple(round(part * steps) for part in shape) for shape in self.shapes)
        self._at = {parts: at for at, parts in enumerate(taken)}

    @staticmethod
    def possible(arms: int) -> Sequence[Sequence[float]]:
        """See `Linear.possible`."""
        steps = _steps(arms)
        # Stars and bars: where the arms' parts end among the steps.
        ends = itertools.combinations(range(steps + arms - 1), arms - 1)
        return [
            [
                (high - low - 1) / steps
                for low, high in itertools.pairwise((-1, *bars, steps + arms - 1))
            ]
            for bars in ends
        ]

    def placing(self, scale: Scale, models: Models) -> Place:
        """See `Linear.placing`."""
        arms, size = models.means.shape
        stacked = np.vstack([models.means, self._scale * models.roots.reshape(-1, size)])
        steps, at = self._steps, self._at

        def place(context: Mapping[str, Any]) -> int:
            found = stacked @ np.array(scale.of(context))
            means, roots = found[:arms], found[arms:].reshape(arms, size)
            variances = (roots * roots).sum(axis=1)
            if arms == 2:
                away = float(means[1] - means[0]) / math.sqrt(float(variances.sum()))
                second = round(steps * 0.5 * math.erfc(-away / math.sqrt(2)))
                return at[steps - second, second]
            return at[_rounded(_best(means, np.sqrt(variances)), steps)]

        return place


def _steps(arms: int) -> int:
    """Return the most steps that give no more than so many vectors."""
    steps = 1
    while steps < _STEPS and math.comb(steps + arms, arms - 1) <= _VECTORS:
        steps += 1
    return steps


def _best(means: _Floats, deviations: _Floats) -> _Floats:
    """Return P(best) of arms with normal posteriors, nearly; what is drawn by is rounded anyway."""
    nodes = means[:, None] + deviations[:, None] * _GRID
    away = (nodes[:, :, None] - means) / deviations
    # To 3e-4: Page (Applied Statistics 26, 1977).
    below = 0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (away + 0.044715 * away**3)))
    own = np.arange(means.size)
    below[own, :, own] = 1.0
    found = below.prod(axis=2).mean(axis=1)
    return np.asarray(found / found.sum())


def _rounded(shares: _Floats, steps: int) -> tuple[int, ...]:
    """Round to whole steps that sum to all of them: the largest remainders first."""
    exact = shares * steps
    whole = exact.astype(np.int64)
    missing = steps - int(whole.sum())
    whole[np.argsort(whole - exact, kind="stable")[:missing]] += 1
    return tuple(whole.tolist())
