"""Difference of arms whose rewards have a declared range: exact at every sample size.

Symbols as in `scores`, and:
    [lo, hi]  declared range of every reward
    h         importance, known before the draw and at most either arm's propensity
    c         hi - lo, so that each centred score h (phi - (m_k - m_b)) is in [-c, c]
    V         sum of squared centred scores (h r_k - h r_b)^2
    rho       precision of the mixture, in units of V
    u(V)      the curve

Method: empirical Bernstein. Since m_k - m_b is predictable, exp(t S - psi(t) V) is a
supermartingale for psi(t) = (-log(1 - ct) - ct) / c^2 (Howard, Ramdas, McAuliffe, Sekhon,
"Time-uniform, nonparametric, nonasymptotic confidence sequences", arXiv 1810.08240, empirical
Bernstein theorem), mixed over t with the truncated gamma prior of the same paper (gamma-exponential
mixture), which has a closed form. Both sides get alpha / 2.

Why not betting (Waudby-Smith, Ramdas, arXiv 2010.09686)? It is tighter in small samples, but costs
a grid of candidate means at each look, and its intervals average differences with data-dependent
weights when the difference drifts. This one is O(n) and estimates the same average as
`difference`. As n grows the two have the same shape.

Assumes only the range and true propensities; no burn-in. A reward outside its range is an error.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammainc, gammaln

from mlops.stats.boundary import tightest_time
from mlops.stats.scores import arm_scores, observations
from mlops.stats.sequence import TIGHTEST_AT, ConfidenceSequence, scored_mass

# Relative spacing of the grid of V on which the curve is solved; V is rounded up, the safe side.
_STEP = 1.01
_BISECTIONS = 60

# The curve is tightest at `TIGHTEST_AT` outcomes of the rarer arm if rewards deviate by a quarter
# of their range. A wrong guess costs width, never validity.
_PLANNED_DEVIATION = 0.25


def bounded_difference_sequence(
    arms: NDArray[np.integer],
    rewards: NDArray[np.floating],
    propensities: NDArray[np.floating] | float,
    *,
    candidate: int,
    baseline: int,
    reward_range: tuple[float, float],
    importance: NDArray[np.floating] | float,
    alpha: float = 0.05,
) -> ConfidenceSequence:
    """Confidence sequence of the candidate's mean reward minus the baseline's, without asymptotics.

    Args:
        arms: Chosen arm of each observation, shape (..., n), all arms.
        rewards: Reward of each observation, same shape, inside `reward_range`.
        propensities: Probability with which the chosen arm was chosen, in (0, 1].
        candidate: Arm k.
        baseline: Arm b.
        reward_range: lo and hi, declared before looking.
        importance: h: `scores.overlap` of the two weights at each observation, or one number at
            most the smallest weight either arm can have.
        alpha: Probability that any interval, ever, misses.

    Returns:
        One interval per observation after the warm-up, in units of reward.

    Raises:
        ValueError: If a reward is outside the range, a propensity of the two arms below the
            importance, or another value out of its range.

    >>> rng = np.random.default_rng(7)
    >>> arms = rng.integers(0, 2, 4000)
    >>> rewards = rng.random(4000) < 0.2 + 0.2 * arms
    >>> found = bounded_difference_sequence(arms, rewards, 0.5, candidate=1, baseline=0,
    ...                                     reward_range=(0, 1), importance=0.5)
    >>> bool(found.lower[-1] > 0)
    True
    """
    if candidate == baseline:
        raise ValueError(f"candidate and baseline are the same arm: {baseline}")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be in (0, 1), got {alpha}")
    low, high = reward_range
    seen = observations(arms, rewards, propensities, importance)
    if not ((seen.rewards >= low) & (seen.rewards <= high)).all():
        raise ValueError(f"rewards must be in [{low}, {high}]")
    involved = (seen.arms == candidate) | (seen.arms == baseline)
    # Weights such as 0.1 arrive with rounding; a relative 1e-9 more width would cover it.
    if (involved & (seen.propensities * (1 + 1e-9) < seen.importance)).any():
        raise ValueError("importance must be at most the propensity of the chosen arm")
    ours, theirs = arm_scores(seen, candidate), arm_scores(seen, baseline)
    residuals = ours.residuals - theirs.residuals
    scores = ours.plug_in - theirs.plug_in + residuals
    total = np.cumsum(seen.importance * scores, axis=-1)
    variance = np.cumsum((seen.importance * residuals) ** 2, axis=-1)
    rho = planned_precision(high - low, alpha)
    mass = scored_mass(seen.importance)
    width = curve(variance, high - low, rho, alpha / 2) / mass
    estimate = total / mass
    ready = np.broadcast_to(np.isfinite(mass), total.shape)
    lower = np.where(ready, estimate - width, -np.inf)
    upper = np.where(ready, estimate + width, np.inf)
    log_e = log_mixture(np.abs(total), variance, high - low, rho)
    p = np.where(ready, np.exp(np.minimum(np.log(2) - log_e, 0.0)), 1.0)
    n = np.arange(1, total.shape[-1] + 1)
    unused = np.full((*total.shape[:-1], 1), np.nan)
    return ConfidenceSequence(
        n, estimate, lower, upper, p, ready, None, alpha, total, variance, unused
    )


def planned_precision(scale: float, alpha: float) -> float:
    """Rho of `bounded_difference_sequence` for rewards whose range is `scale` wide."""
    return TIGHTEST_AT * (_PLANNED_DEVIATION * scale) ** 2 / tightest_time(alpha)


def log_mixture(
    total: NDArray[np.float64], variance: NDArray[np.float64], scale: float, rho: float
) -> NDArray[np.float64]:
    """Logarithm of the gamma-exponential mixture, an e-value against mean at most 0.

    Args:
        total: S, at least 0.
        variance: V, same shape.
        scale: c; the centred scores are at least -c.
        rho: Precision of the mixture, in units of V.

    Returns:
        Log e-value, same shape. In units s = S/c, v = V/c^2, r = rho/c^2 and with the regularised
        lower incomplete gamma function P:
        r^r e^(s+v) G(v+r) P(v+r, s+v+r) / (G(r) P(r, r) (s+v+r)^(v+r)).
    """
    s, v, r = total / scale, variance / scale**2, rho / scale**2
    prior = r * np.log(r) - gammaln(r) - np.log(gammainc(r, r))
    log_e: NDArray[np.float64] = (
        prior
        + s
        + v
        + gammaln(v + r)
        + np.log(gammainc(v + r, s + v + r))
        - (v + r) * np.log(s + v + r)
    )
    return log_e


def curve(
    variance: NDArray[np.float64], scale: float, rho: float, alpha: float
) -> NDArray[np.float64]:
    """u(V): S exceeds it, ever, with probability at most alpha. Same shape as `variance`."""
    floor = 1e-3 * scale**2
    steps = np.ceil(np.log(np.maximum(variance / floor, 1.0)) / np.log(_STEP)).astype(np.int64)
    grid = floor * _STEP ** np.arange(steps.max(initial=0) + 1)
    low = np.zeros_like(grid)
    high = 10.0 * (np.sqrt((grid + rho) * -np.log(alpha)) + scale * -np.log(alpha))
    while (short := log_mixture(high, grid, scale, rho) < -np.log(alpha)).any():
        high = np.where(short, 2 * high, high)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        crossed = log_mixture(middle, grid, scale, rho) >= -np.log(alpha)
        low, high = np.where(crossed, low, middle), np.where(crossed, middle, high)
    edge: NDArray[np.float64] = high[steps]
    return edge
