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

A ratio sum N / sum D of an arm is no mean of units. By the delta method (Deng, Knoblich, Lu, KDD
2018) the difference of two ratios behaves as that of the means of (N - r D) / mean D, which is
linear: with r and mean D from the past and from all arms together, those are rewards like any
other, with a mean of 0 where the arms' ratios are equal. The estimate is in units of the ratio, to
first order in the difference; equal ratios of arms that differ in D are equal here only once r has
converged: read it with the count of units.
"""

import numpy as np
from numpy.typing import NDArray

# Observations before the past is trusted with a slope, and their weight in it afterwards.
_PRIOR = 50.0


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
    x, r = _before(known) / n, _before(reward) / n
    spread = _before(known**2) / n - x**2
    shared = _before(known * reward) / n - x * r
    scale = np.maximum(_before(known**2) / n, np.finfo(np.float64).tiny)
    varies = spread > 1e-12 * scale
    slope = np.where(varies, shared / np.where(varies, spread, 1.0), 0.0)
    slope *= np.where(count >= 2, count / (count + _PRIOR), 0.0)
    adjusted: NDArray[np.float64] = reward - slope * (known - x)
    return adjusted


def history(units: NDArray[np.integer], rewards: NDArray[np.floating]) -> NDArray[np.float64]:
    """Each unit's mean reward before each of its observations, 0 for a first one.

    Args:
        units: Unit of each observation, in order, shape (n,).
        rewards: Reward of each, shape (n,).

    Returns:
        Shape (n,): as a covariate, only of rewards earned before the experiment began.

    >>> history(np.array([1, 1, 2, 1]), np.array([4.0, 2.0, 9.0, 1.0])).tolist()
    [0.0, 4.0, 0.0, 3.0]
    """
    order = np.argsort(units, kind="stable")
    sums = np.cumsum(np.asarray(rewards, dtype=np.float64)[order])
    first = np.r_[True, np.diff(units[order]) != 0] if units.size else np.zeros(0, dtype=bool)
    start = np.maximum.accumulate(np.where(first, np.arange(units.size), 0))
    seen = np.arange(units.size) - start
    earlier = np.r_[0.0, sums[:-1]] if units.size else sums
    base = earlier[start]
    means = np.empty(units.size)
    means[order] = np.where(seen > 0, (earlier - base) / np.maximum(seen, 1), 0.0)
    return means


def ratio_rewards(
    numerators: NDArray[np.floating], denominators: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Rewards whose difference between arms is that of the arms' ratios, to first order.

    Args:
        numerators: N of each unit, in order, shape (..., n).
        denominators: D of each unit, not negative, same shape.

    Returns:
        (N - r D) / mean D with both from the units before, of all arms; 0 while no earlier unit
        has a positive D.

    Raises:
        ValueError: If shapes differ or a denominator is negative.
    """
    above, below = np.asarray(numerators, dtype=np.float64), np.asarray(denominators, np.float64)
    if above.shape != below.shape or (below < 0).any():
        raise ValueError("numerators and denominators must pair, none of these negative")
    sums, sizes = _before(above), _before(below)
    known = sizes > 0
    size = np.where(known, sizes, 1.0)
    mean = size / np.maximum(np.arange(above.shape[-1]), 1.0)
    values: NDArray[np.float64] = np.where(known, (above - sums / size * below) / mean, 0.0)
    return values


def _before(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Running sum of the values before each entry."""
    sums = np.zeros_like(values)
    np.cumsum(values[..., :-1], axis=-1, out=sums[..., 1:])
    return sums
