"""Difference of arms whose rewards have a declared range: exact at every sample size.

Symbols as in `scores`, and:
    [lo, hi]  declared range of every reward
    h         importance, known before the draw and at most either arm's propensity
    c         hi - lo, so that each centred score h (phi - (m_k - m_b)) is in [-c, c]

Method: bets against every mean at once (`capital`), after each score was centred by what was known
before it, m_k - m_b, so that a common base rate is no spread. The estimate is the same average as
that of `difference`. Both sides get alpha / 2.

Assumes only the range and true propensities; no burn-in. A reward outside its range is an error.
Bounds are cut to what the range allows: a difference is in [lo - hi, hi - lo].
"""

import numpy as np
from numpy.typing import NDArray

from mlops.stats.aipw import arm_scores, observations
from mlops.stats.capital import bound, log_capital
from mlops.stats.sequence import ConfidenceSequence, scored_mass


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
    found = _exact(scores, residuals, seen.importance, high - low, alpha)
    return found.within(low - high, high - low)


def bounded_mean_sequence(
    values: NDArray[np.floating],
    *,
    value_range: tuple[float, float],
    alpha: float = 0.05,
) -> ConfidenceSequence:
    """Confidence sequence of a stream's mean, without asymptotics, e.g. of paired differences.

    Args:
        values: In order of arrival, shape (..., n), inside `value_range`: for differences of two
            rewards in [lo, hi], (lo - hi, hi - lo).
        value_range: Declared before looking.
        alpha: Probability that any interval, ever, misses.

    Raises:
        ValueError: If a value is outside the range.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be in (0, 1), got {alpha}")
    low, high = value_range
    stream = np.asarray(values, dtype=np.float64)
    seen = observations(np.zeros(stream.shape, dtype=np.int64), stream, 1.0, 1.0)
    if not ((stream >= low) & (stream <= high)).all():
        raise ValueError(f"values must be in [{low}, {high}]")
    own = arm_scores(seen, 0)
    found = _exact(own.plug_in + own.residuals, own.residuals, seen.importance, high - low, alpha)
    return found.within(low, high)


def _exact(
    scores: NDArray[np.float64],
    residuals: NDArray[np.float64],
    importance: NDArray[np.float64],
    scale: float,
    alpha: float,
) -> ConfidenceSequence:
    centred = importance * residuals
    total = np.cumsum(importance * scores, axis=-1)
    second, third, fourth = (np.cumsum(centred**power, axis=-1) for power in (2, 3, 4))
    mass = scored_mass(importance)
    estimate = total / mass
    below = bound((second, third, fourth), scale, alpha / 2) / mass
    above = bound((second, -third, fourth), scale, alpha / 2) / mass
    ready = np.broadcast_to(np.isfinite(mass), total.shape)
    lower = np.where(ready, estimate - below, -np.inf)
    upper = np.where(ready, estimate + above, np.inf)
    log_e = log_capital(np.abs(total), (second, np.sign(total) * third, fourth), scale)
    p = np.where(ready, np.exp(np.minimum(np.log(2) - log_e, 0.0)), 1.0)
    n = np.arange(1, total.shape[-1] + 1)
    unused = np.full((*total.shape[:-1], 1), np.nan)
    return ConfidenceSequence(
        n, estimate, lower, upper, p, ready, None, alpha, total, second, unused
    )
