"""Rewards made less noisy by what was known before: CUPED, and ratios of sums.

Symbols, at observation i:
    X     covariate known before the draw: a unit's earlier mean reward, 0 for new units
    R     reward
    b     slope, computed from observations before i only
    N, D  numerator and denominator of a ratio per unit: revenue and orders, clicks and views

CUPED (Deng, Xu, Kohavi, Walker, WSDM 2013) subtracts b (X - mean X). A covariate from before the
draw has the same mean in every arm, so the difference of means stays what it was; because b and the
mean of X come from the past alone, scores of adjusted rewards are still martingale differences
(Lindon, Ham, Tingley, Bojinov, arXiv 2210.08589). The variance falls by the share R^2 of the reward
that the covariate explains. Anything that the arm can touch is no covariate.

A ratio R_k = sum N / sum D of arm k is no mean of units. By the delta method (Deng, Knoblich, Lu,
KDD 2018) it behaves as the mean of

    r_k + (N - r_k D) / d_k

where r_k and d_k are the ratio and the mean denominator of the arm's units so far. Given the past
its mean is R_k, but for (R_k - r_k) (E D / d_k - 1), a product of two errors of order 1 / sqrt(i)
each, so that the sums of a sequence are off by log n while they spread by sqrt n. Arms may differ
in their denominators.
"""

import numpy as np
from numpy.typing import NDArray

from mlops.stats.aipw import sum_before

# Observations before the past is trusted with a slope, and their weight in it afterwards.
_PRIOR = 50.0
# Units of all arms that stand beside an arm's own in its ratio.
_ALL_ARMS = 10.0


def adjusted_rewards(
    rewards: NDArray[np.floating], covariate: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Rewards less what their covariate predicts, with predictable coefficients.

    Args:
        rewards: R, in order, shape (..., n).
        covariate: X, known before each draw, same shape.

    Returns:
        Same shape; pass them to `difference_sequence` in place of the rewards.

    Raises:
        ValueError: If shapes differ or a value is not finite.
    """
    reward, known = np.asarray(rewards, dtype=np.float64), np.asarray(covariate, dtype=np.float64)
    if reward.shape != known.shape:
        raise ValueError(f"rewards {reward.shape} and covariate {known.shape} must agree")
    if not (np.isfinite(reward).all() and np.isfinite(known).all()):
        raise ValueError("rewards and covariate must be finite")
    count = np.arange(reward.shape[-1], dtype=np.float64)
    n = np.maximum(count, 1.0)
    x, r = sum_before(known) / n, sum_before(reward) / n
    spread = sum_before(known**2) / n - x**2
    shared = sum_before(known * reward) / n - x * r
    scale = np.maximum(sum_before(known**2) / n, np.finfo(np.float64).tiny)
    varies = spread > 1e-12 * scale
    slope = np.where(varies, shared / np.where(varies, spread, 1.0), 0.0)
    slope *= np.where(count >= 2, count / (count + _PRIOR), 0.0)
    adjusted: NDArray[np.float64] = reward - slope * (known - x)
    return adjusted


def ratio_rewards(
    numerators: NDArray[np.floating], denominators: NDArray[np.floating], arms: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Rewards whose mean in each arm is the arm's ratio of sums.

    Args:
        numerators: N of each unit, in order, shape (..., n).
        denominators: D of each unit, not negative, same shape.
        arms: Arm of each unit, same shape.

    Returns:
        The linearised ratios, with r_k and d_k from the arm's units before, drawn to those of all
        arms by the weight of `_ALL_ARMS` units; 0 while no earlier unit has a positive D.

    Raises:
        ValueError: If shapes differ or a denominator is negative.
    """
    above, below = np.asarray(numerators, dtype=np.float64), np.asarray(denominators, np.float64)
    if not above.shape == below.shape == arms.shape or (below < 0).any():
        raise ValueError("numerators, denominators and arms must pair, no denominator negative")
    count = np.arange(above.shape[-1], dtype=np.float64)
    all_above, all_below = sum_before(above), sum_before(below)
    known = all_below > 0
    lent = np.where(known, all_below, 1.0) / np.maximum(count, 1.0) * _ALL_ARMS
    pooled = all_above / np.where(known, all_below, 1.0)
    values = np.zeros(above.shape)
    for arm in np.unique(arms):
        own = arms == arm
        mass = sum_before(below * own) + lent
        ratio = (sum_before(above * own) + pooled * lent) / mass
        mean = mass / (sum_before(own.astype(np.float64)) + _ALL_ARMS)
        values = np.where(own, ratio + (above - ratio * below) / mean, values)
    return np.where(known, values, 0.0)
