"""How much longer must the experiment run? The curve of `difference`, solved for n.

Symbols:
    d        difference of means, candidate minus baseline
    v        variance of one score, var_k / p_k + var_b / p_b
    n        observations of all arms together; V = n v
    rho2     precision of the mixture as `sequence` tunes it under these weights

The sequence would exclude 0 at the first n with radius(n v) / n <= |d|, and the left side falls
with n.

With a reward range, the curve is that of `bounded`, under the importance `overlap` of the two
shares: the sequence excludes 0 at the first n whose expected S is a crossing of its mixture.

The answer takes the current estimates for the truth, and all observations for ones under the
current weights. It is a forecast with no guarantee: the estimate that looks largest is usually too
large. It knows nothing of the burn-in; `ConfidenceSequence.waiting_for` does.
"""

import math
from collections.abc import Callable

import numpy as np
from scipy.optimize import brentq

from mlops.stats.aipw import overlap
from mlops.stats.boundary import radius, tightest_time
from mlops.stats.capital import log_capital
from mlops.stats.sequence import TIGHTEST_AT

_LONGEST = 1e10
_NORMAL_90 = 1.2815515655446004


def remaining_observations(
    difference: float,
    variances: tuple[float, float],
    shares: tuple[float, float],
    observed: int,
    *,
    reward_range: tuple[float, float] | None = None,
    alpha: float = 0.05,
    tightest_at: float = TIGHTEST_AT,
) -> int | None:
    """Observations still needed until the confidence sequence decides, if estimates were true.

    Args:
        difference: Estimated d, in units of reward.
        variances: Estimated variance of one reward of the candidate, and of the baseline.
        shares: Current weights of the candidate and of the baseline, in (0, 1].
        observed: Observations of all arms so far.
        reward_range: As given to `bounded_difference_sequence`; None forecasts
            `difference_sequence`.
        alpha: As given to the sequence.
        tightest_at: As given to it; `paired.TIGHTEST_AT` for pairs.

    Returns:
        Observations of all arms, 0 if already enough; None where the difference is about 0 (more
        than ten thousand million observations away).

    Raises:
        ValueError: If variances or shares are not positive.

    >>> remaining_observations(0.2, (1.0, 1.0), (0.5, 0.5), observed=600)
    493
    >>> remaining_observations(0.0, (1.0, 1.0), (0.5, 0.5), observed=600) is None
    True
    """
    if min(variances) < 0 or max(variances) == 0 or min(shares) <= 0:
        raise ValueError(f"variances {variances} and shares {shares} must be positive")
    per_score = sum(each / share for each, share in zip(variances, shares, strict=True))
    short = (
        _asymptotic(abs(difference), per_score, min(shares), alpha, tightest_at)
        if reward_range is None
        else _bounded(abs(difference), per_score, float(overlap(*shares)), reward_range, alpha)
    )
    if short(math.log(_LONGEST)) > 0:
        return None
    if short(0.0) <= 0:
        return 0
    enough = math.exp(float(brentq(short, 0.0, math.log(_LONGEST))))
    return max(math.ceil(enough) - observed, 0)


def remaining_range(
    difference: float,
    variances: tuple[float, float],
    shares: tuple[float, float],
    observed: int,
    *,
    reward_range: tuple[float, float] | None = None,
    alpha: float = 0.05,
    tightest_at: float = TIGHTEST_AT,
) -> tuple[int, int | None]:
    """Range of the observations still needed, given how little the difference is known yet.

    Args:
        difference: Estimated d, in units of reward.
        variances: As in `remaining_observations`.
        shares: As there.
        observed: As there, positive.
        reward_range: As there.
        alpha: As there.
        tightest_at: As there.

    Returns:
        Fewest and most observations, from a difference 1.28 standard errors larger, and smaller,
        than estimated: about 80 % of what comes. The most is None where such a difference is 0 or
        points the other way: it may never decide.
    """
    per_score = sum(each / share for each, share in zip(variances, shares, strict=True))
    error = _NORMAL_90 * math.sqrt(per_score / max(observed, 1))
    most, least = abs(difference) + error, abs(difference) - error
    forecasts = [
        remaining_observations(
            d,
            variances,
            shares,
            observed,
            reward_range=reward_range,
            alpha=alpha,
            tightest_at=tightest_at,
        )
        for d in (most, max(least, 0.0))
    ]
    return forecasts[0] or 0, forecasts[1]


def shrunken(estimate: float, variance: float, precision: float) -> float:
    """A difference without most of what made it look large when it was named.

    The verdict comes when chance helps: the difference named then is too large, twice over for a
    small lift. This is the posterior mean under the prior that the sequence itself bets on, normal
    around 0.

    Args:
        estimate: Estimated difference.
        variance: V at the look.
        precision: rho2 of the sequence.

    Returns:
        estimate times V rho2 / (1 + V rho2).
    """
    time = variance * precision
    return estimate * time / (1 + time)


def _asymptotic(
    effect: float, per_score: float, share: float, alpha: float, tightest_at: float
) -> Callable[[float], float]:
    """How far the curve lies above the expected mean, by log n."""
    rho2 = np.asarray(tightest_time(alpha) * share / (tightest_at * per_score))

    def short(log_n: float) -> float:
        n = math.exp(log_n)
        return float(radius(np.asarray(n * per_score), rho2, alpha)) / n - effect

    return short


def _bounded(
    effect: float, per_score: float, h: float, reward_range: tuple[float, float], alpha: float
) -> Callable[[float], float]:
    """How much the logarithm of the expected evidence lacks, by log n."""
    scale = reward_range[1] - reward_range[0]
    # Higher moments are not forecast: they matter where the interval is wide.
    none = np.zeros(())

    def short(log_n: float) -> float:
        n = math.exp(log_n)
        total, variance = np.asarray(n * h * effect), np.asarray(n * h**2 * per_score)
        return -math.log(alpha / 2) - float(log_capital(total, (variance, none, none), scale))

    return short
