"""A test with a planned end: nearly all of a fixed test's power, and looks at any time before it.

Symbols as in `boundary`, and:
    N       planned sum of importance, declared before the first outcome
    M       sum of importance so far; t = M / N, the share of the information gathered
    W(t)    S / sqrt(V N / M), a Brownian motion on [0, 1] under the null
    c       the boundary

The boundary of O'Brien and Fleming (Biometrics 35, 1979) in the limit of continuous looks: under
the null, P(|W| ever reaches c before t = 1) = alpha, so that by time t the error spent is
P(max over s <= t of |W(s)| >= c): the spending function of Lan and DeMets (Biometrika 70, 1983).
Since the boundary holds at all times in [0, 1] at once, looks need not be counted, planned or
recorded. Against a test that may look once, the last critical value is 2.24 instead of 1.96, and
power where that has 90 % is 88 %; against a sequence without an end, 62 %.

    P(max |W| >= c) = 4 sum over j of (-1)^j (1 - Phi((2 j + 1) c))        (reflection principle)

Past the horizon alpha is spent. The sequence stays as it was there; what came later is not used.

Assumes a normal approximation of S and that variance accrues with importance: V / M at the look
stands for V / M at the end. If rewards become less variable the early bounds are wider than they
need be; if they become more variable, early bounds are too narrow, by the square root of the ratio
of the variances, at a time when the boundary lies far out (base rate 5 % to 15 %: no excess in the
simulation of the tests).
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtr

_TERMS = 12


def crossing_probability(level: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Probability that a standard Brownian motion ever leaves (-level, level) on [0, 1].

    Args:
        level: Distance, not negative, of any shape.

    Returns:
        Probabilities of the same shape.

    >>> float(crossing_probability(2.2414).round(4))
    0.05
    """
    distance = np.asarray(level, dtype=np.float64)[..., None]
    odd = 2 * np.arange(_TERMS) + 1
    signs = np.where(np.arange(_TERMS) % 2, -1.0, 1.0)
    total = 4 * (signs * ndtr(-odd * distance)).sum(axis=-1)
    # The series alternates and has not converged close to 0, where the answer is 1.
    probability: NDArray[np.float64] = np.where(
        distance[..., 0] < 0.25, 1.0, np.clip(total, 0.0, 1.0)
    )
    return probability


@cache
def final_level(alpha: float) -> float:
    """c: the bound on |W|; 2.2414 for alpha 0.05."""
    return float(brentq(lambda c: float(crossing_probability(c)) - alpha, 0.3, 12.0))


def until(importance: NDArray[np.float64], horizon: float) -> NDArray[np.int64]:
    """Index of the look that counts at each look: itself, and the last planned one afterwards.

    Args:
        importance: h, shape (..., n).
        horizon: N.

    Returns:
        Indices of shape (..., n).
    """
    gathered = np.cumsum(importance, axis=-1)
    n = importance.shape[-1]
    reached = gathered >= horizon * (1 - 1e-12)
    end = np.where(reached.any(axis=-1), np.argmax(reached, axis=-1), n - 1)
    indices: NDArray[np.int64] = np.minimum(np.arange(n), end[..., None])
    return indices
