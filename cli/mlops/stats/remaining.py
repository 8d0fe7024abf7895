"""How much longer must the experiment run? The curve of `difference`, solved for n.

Symbols:
    d        difference of means, candidate minus baseline
    v        variance of one score, var_k / p_k + var_b / p_b
    n        observations of all arms together; V = n v
    rho2     precision of the mixture as `sequence` tunes it under these weights

The sequence would exclude 0 at the first n with |d| n >= radius(n v), and be narrower than w at the
first n with radius(n v) <= w n: both say radius(n v) / n <= threshold, and the left side falls with
n.

The answer takes the current estimates for the truth, and all observations for ones under the
current weights. It is a forecast with no guarantee: the estimate that looks largest is usually too
large. It knows nothing of the burn-in; `ConfidenceSequence.waiting_for` does.
"""

import math

import numpy as np
from scipy.optimize import brentq

from mlops.stats.boundary import radius, tightest_time
from mlops.stats.sequence import TIGHTEST_AT

_LONGEST = 1e10


def remaining_observations(
    difference: float,
    variances: tuple[float, float],
    shares: tuple[float, float],
    observed: int,
    *,
    minimum_effect: float | None = None,
    alpha: float = 0.05,
) -> int | None:
    """Observations still needed until the confidence sequence decides, if estimates were true.

    Args:
        difference: Estimated d, in units of reward.
        variances: Estimated variance of one reward of the candidate, and of the baseline.
        shares: Current weights of the candidate and of the baseline, in (0, 1].
        observed: Observations of all arms so far.
        minimum_effect: The smallest effect worth acting on, positive; where given, the wait also
            ends when the half-width falls below it.
        alpha: As given to `difference_sequence`.

    Returns:
        Observations of all arms, 0 if already enough; None where the difference is about 0 (more
        than ten thousand million observations away) and no `minimum_effect` ends the wait.

    Raises:
        ValueError: If variances, shares or the minimum effect are not positive.

    >>> remaining_observations(0.2, (1.0, 1.0), (0.5, 0.5), observed=600)
    493
    >>> remaining_observations(0.0, (1.0, 1.0), (0.5, 0.5), observed=600) is None
    True
    """
    if min(variances) < 0 or max(variances) == 0 or min(shares) <= 0:
        raise ValueError(f"variances {variances} and shares {shares} must be positive")
    if minimum_effect is not None and minimum_effect <= 0:
        raise ValueError(f"minimum_effect must be positive, got {minimum_effect}")
    threshold = max(abs(difference), minimum_effect or 0.0)
    per_score = sum(each / share for each, share in zip(variances, shares, strict=True))
    rho2 = np.asarray(tightest_time(alpha) * min(shares) / (TIGHTEST_AT * per_score))

    def excess(log_n: float) -> float:
        n = math.exp(log_n)
        return float(radius(np.asarray(n * per_score), rho2, alpha)) / n - threshold

    if excess(math.log(_LONGEST)) > 0:
        return None
    if excess(0.0) <= 0:
        return 0
    enough = math.exp(float(brentq(excess, 0.0, math.log(_LONGEST))))
    return max(math.ceil(enough) - observed, 0)
