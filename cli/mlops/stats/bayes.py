"""P(best) and expected loss: numbers users ask for, and not a stopping rule.

Stopping when P(best) first exceeds 95 % declares a winner in 46 % of A/A tests looked at 30 times
(4,000 runs of 200 users per arm and look at 10 % conversion). Read these beside the verdict, do not
act on them alone; `difference` is made for watching.

Symbols, for arm k:
    n, mean, variance   outcomes, their mean and sample variance
    F_k                 posterior distribution of the arm's true mean
    u                   a probability; arms are integrated in their own quantiles, theta = F_k^-1(u)

Posteriors:
    rewards all 0 or 1: Beta(1 + successes, 1 + failures), uniform prior;
    else: normal, with the unit-information prior of Kass and Wasserman (JASA 90, 1995): centred on
    the pooled mean with the pooled variance, the weight of one outcome; the likelihood is normal by
    the central limit theorem, so below some 30 outcomes per arm the answer leans on that.

    P(best = k)      = integral of prod_{j != k} F_j(F_k^-1(u)) du
    E[max]           = sum over k of integral of F_k^-1(u) prod_{j != k} F_j(F_k^-1(u)) du
    expected loss k  = E[max] - E[theta_k], in units of reward: what choosing k costs on average

Shown only where calibrated: `calibrated` asks for so many outcomes of the smallest arm that its
mean is nearly normal whatever the tail that all arms together have shown. At 95/5 with 20 squared
errors in the small arm, P(best) said 0.998 and was right in 62 %.

The integrals use the midpoint rule: no seed, error about 1e-4. Propensities are ignored: pass
statistics of one stratum, or of weighted rewards, where weights changed.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

_POINTS = 8192

MIN_OUTCOMES = 50
MIN_EFFECTIVE = 20.0


@dataclass(frozen=True, slots=True)
class Posterior:
    """The posterior of each arm; arrays of shape (k,).

    Attributes:
        mean: Posterior mean of the arm's true mean, in units of reward.
        lower: 2.5 % point of it.
        upper: 97.5 % point of it.
        p_best: Probability that the arm has the highest mean; sums to 1.
        expected_loss: Expected reward given up by choosing the arm, in units of reward.
    """

    mean: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    p_best: NDArray[np.float64]
    expected_loss: NDArray[np.float64]


def posterior(n: ArrayLike, mean: ArrayLike, variance: ArrayLike, *, binary: bool) -> Posterior:
    """Posterior of several arms from their sufficient statistics. No stopping rule.

    Args:
        n: Outcomes per arm, shape (k,).
        mean: Mean reward per arm; ignored where n is 0.
        variance: Sample variance per arm; ignored where n is below 2, and for binary rewards.
        binary: Whether all rewards are 0 or 1.

    Returns:
        Posterior probabilities, one entry per arm.

    Raises:
        ValueError: If shapes differ, no arm was given, binary means leave [0, 1], or rewards are
            not binary and no arm has an outcome.

    >>> found = posterior([1000, 1000], [0.10, 0.13], [0.0, 0.0], binary=True)
    >>> found.p_best.round(2).tolist()
    [0.02, 0.98]
    """
    size, centre, spread = (np.asarray(each, dtype=np.float64) for each in (n, mean, variance))
    if not size.shape == centre.shape == spread.shape or size.ndim != 1 or not size.size:
        raise ValueError(f"need one shape (k,), got {size.shape}, {centre.shape}, {spread.shape}")
    if not binary and not size.any():
        raise ValueError("no arm has an outcome: nothing is known of the scale of rewards")
    centre = np.where(size > 0, centre, 0.0)
    if binary and ((centre < 0) | (centre > 1)).any():
        raise ValueError(f"binary rewards have means in [0, 1], got {centre.tolist()}")
    belief = _beta(size, centre) if binary else _normal(size, centre, spread)
    u = (np.arange(_POINTS) + 0.5) / _POINTS
    theta = belief.ppf(u[:, None])  # (points, k)
    # (points, k, k): how likely arm j, the last axis, lies below the quantiles of arm k.
    below = belief.cdf(theta[:, :, None])
    arm = np.arange(size.size)
    below[:, arm, arm] = 1.0
    best = below.prod(axis=2)
    mean_of_best = (theta * best).mean(axis=0).sum()
    p_best = best.mean(axis=0)
    expected = belief.mean()
    return Posterior(
        mean=expected,
        lower=belief.ppf(0.025),
        upper=belief.ppf(0.975),
        p_best=p_best / p_best.sum(),
        expected_loss=np.maximum(mean_of_best - expected, 0.0),
    )


def calibrated(n: ArrayLike, kurtosis: float) -> bool:
    """Whether P(best) may be shown.

    Args:
        n: Outcomes per arm, shape (k,).
        kurtosis: Fourth central moment over the squared variance, of all arms' rewards around
            their own means: 3 for normal ones, 1 / rate for rare conversions.

    Returns:
        Whether each arm has `MIN_OUTCOMES` outcomes, and `MIN_EFFECTIVE` times the kurtosis.

    >>> calibrated([1000, 40], 3.0), calibrated([1000, 400], 3.0), calibrated([9000, 400], 100.0)
    (False, True, False)
    """
    smallest = float(np.min(n))
    return smallest >= MIN_OUTCOMES and smallest >= MIN_EFFECTIVE * kurtosis


def _beta(n: NDArray[np.float64], mean: NDArray[np.float64]) -> stats.rv_continuous:
    """Beta posteriors under a uniform prior, one per arm."""
    return stats.beta(1 + n * mean, 1 + n * (1 - mean))


def _normal(
    n: NDArray[np.float64], mean: NDArray[np.float64], variance: NDArray[np.float64]
) -> stats.rv_continuous:
    """Normal posteriors under the unit-information prior, one per arm."""
    total = n.sum()
    pooled_mean = (n * mean).sum() / total
    within = (np.where(n > 1, (n - 1) * variance, 0.0)).sum()
    between = (n * (mean - pooled_mean) ** 2).sum()
    pooled = (within + between) / max(total - 1, 1.0)
    # Rewards that never varied: a spread too small to matter, in their own units.
    pooled = pooled or (1e-9 * max(abs(pooled_mean), 1.0)) ** 2
    # An arm of one outcome, or of equal outcomes, has no variance of its own.
    # A small arm has not seen its rare outcomes; a large one supplies an estimate.
    small = n < n.max() / 2
    own = np.where(n > 1, np.where(small, np.maximum(variance, pooled), variance), pooled)
    own = np.where(own > 0, own, pooled)
    precision = 1 / pooled + n / own
    centre = (pooled_mean / pooled + n * mean / own) / precision
    return stats.norm(centre, 1 / np.sqrt(precision))
