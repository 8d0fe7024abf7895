"""How many observations a test needs, and what it finds with those it gets.

Symbols:
    d        the lift to be found, in units of reward
    v        variance of one score: var_k / p_k + var_b / p_b for two arms, that of the difference
             for pairs
    n        observations (units, or rows) of all arms; theta = d / sqrt(v) in each
    power    probability to decide for the better arm by n

With a horizon: S over its standard error at the end is a Brownian motion with drift
theta sqrt(n), which ever reaches c (`horizon`) by then with probability, of the upper side alone,

    Phi(m - c) + exp(2 m c) Phi(-m - c),      m = theta sqrt(n).

Without: the curve of `boundary` at n, relative to its standard error, is z(n), and the probability
to be above it at n is Phi(m - z(n)); to have been above it ever is more, by what random walks gain
in passing: 0.32 to 0.38 standard errors in 4,000 simulated walks; 0.3 is taken.

With a reward range and without a horizon the interval is that of `bounded`: z(n) is then what its
mixture of bets takes at that variance. Its third and fourth moments are not forecast.

Sticky units: pass the variance of unit means. They are fewer than requests by the visits of a unit,
and their variance is between / 1 + within / visits: `unit_variance`.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import log_ndtr, ndtr

from mlops.stats.boundary import radius, tightest_time
from mlops.stats.capital import bound
from mlops.stats.horizon import final_level
from mlops.stats.sequence import TIGHTEST_AT

_GAIN = 0.3
_MOST = 1e12


@dataclass(frozen=True, slots=True)
class Plan:
    """What a test needs.

    Attributes:
        observations: Units or rows of all arms until the wanted power is reached; None if more
            than a million million.
        days: The same at the present rate; None likewise, or without a rate.
        hopeless: Whether it takes longer than the patience given.
    """

    observations: int | None
    days: float | None
    hopeless: bool


def power(
    lift: float,
    score_variance: float,
    observations: float,
    *,
    alpha: float = 0.05,
    horizon: bool = False,
    smallest_share: float = 0.5,
    tightest_at: float = TIGHTEST_AT,
    scale: float | None = None,
) -> float:
    """Probability to find a lift by a number of observations.

    Args:
        lift: d.
        score_variance: v, positive: `score_variance` of two arms, or the variance of paired
            differences.
        observations: n.
        alpha: Error probability of the comparison.
        horizon: Whether n is declared as the end; else a sequence without one.
        smallest_share: Share of the smaller of the two arms; 1 for pairs.
        tightest_at: As the sequence is tuned; `paired.TIGHTEST_AT` for pairs.
        scale: Width of the reward's range over `scores.overlap` of the two shares, where the
            bounded sequence is used; None where the reward has no range.

    Raises:
        ValueError: If a variance, a share or a count is not positive.

    >>> round(power(0.0917, 4.0, 5000, horizon=True), 2)
    0.88
    """
    if score_variance <= 0 or observations <= 0 or not 0 < smallest_share <= 1:
        raise ValueError("variance, observations and share must be positive")
    drift = abs(lift) * math.sqrt(observations / score_variance)
    if horizon:
        level = final_level(alpha)
        passed = math.exp(2 * drift * level + float(log_ndtr(-drift - level)))
        return min(float(ndtr(drift - level)) + passed, 1.0)
    total = np.asarray(observations * score_variance)
    if scale is None:
        rho2 = np.asarray(tightest_time(alpha) * smallest_share / (tightest_at * score_variance))
        edge = radius(total, rho2, alpha)
    else:
        none = np.zeros(())
        edge = bound((total, none, none), scale, alpha / 2)
    return float(ndtr(drift - float(edge) / math.sqrt(float(total)) + _GAIN))


def plan(
    lift: float,
    score_variance: float,
    *,
    wanted: float = 0.8,
    per_day: float | None = None,
    patience_days: float = 90.0,
    alpha: float = 0.05,
    horizon: bool = False,
    smallest_share: float = 0.5,
    tightest_at: float = TIGHTEST_AT,
    scale: float | None = None,
) -> Plan:
    """Find how many observations a test needs.

    Args:
        lift: d; 0 is never found.
        score_variance: v, positive.
        wanted: Power to reach, in (0, 1).
        per_day: Units or rows that come in a day; None if unknown.
        patience_days: Longer than this is hopeless.
        alpha: Error probability of the comparison.
        horizon: Whether the end is declared.
        smallest_share: Share of the smaller of the two arms; 1 for pairs.
        tightest_at: As the sequence is tuned.
        scale: As in `power`.

    >>> plan(0.0917, 4.0, wanted=0.88, horizon=True).observations
    4933
    """
    if not 0 < wanted < 1 or (per_day is not None and per_day < 0):
        raise ValueError("power must be in (0, 1) and the rate not negative")

    def short(log_n: float) -> float:
        found = power(
            lift, score_variance, math.exp(log_n), alpha=alpha, horizon=horizon,
            smallest_share=smallest_share, tightest_at=tightest_at, scale=scale,
        )  # fmt: skip
        return wanted - found

    if short(math.log(_MOST)) > 0:
        return Plan(None, None, hopeless=True)
    n = 1 if short(0.0) <= 0 else math.ceil(math.exp(float(brentq(short, 0.0, math.log(_MOST)))))
    days = n / per_day if per_day else None
    return Plan(n, days, hopeless=per_day == 0 or (days is not None and days > patience_days))


def score_variance(variances: tuple[float, float], shares: tuple[float, float]) -> float:
    """Variance of one score of two arms: that of each arm's reward over its share.

    >>> score_variance((0.09, 0.09), (0.5, 0.5))
    0.36
    """
    if min(variances) < 0 or min(shares) <= 0:
        raise ValueError(f"variances {variances} and shares {shares} must be positive")
    return sum(each / share for each, share in zip(variances, shares, strict=True))


def unit_variance(variance: float, correlation: float, visits: float) -> float:
    """Variance of a unit's mean reward over its visits.

    Args:
        variance: Of one reward.
        correlation: Of two rewards of one unit (intraclass), in [0, 1].
        visits: Rewards of a unit, at least 1.

    >>> unit_variance(1.0, 0.2, 5)
    0.36
    """
    if not 0 <= correlation <= 1 or visits < 1:
        raise ValueError("the correlation must be in [0, 1] and visits at least 1")
    return round(variance * (correlation + (1 - correlation) / visits), 15)
