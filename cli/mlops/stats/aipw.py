"""Scores whose running average estimates a mean without bias, under any logged policy.

Symbols, at observation i:
    A, R, p   arm, reward, and the probability with which A was chosen
    m_k       plug-in mean of arm k, computed from observations before i only
    r_k       1{A = k} (R - m_k) / p
    phi_k     m_k + r_k, score of arm k
    h         importance of the observation in the average, known before its draw
    S, V      running sums of h phi and of (h r)^2

E[phi_k | past] is the mean of arm k now, whatever m_k is and however p was chosen from the past:
the augmented inverse-propensity score with a predictable plug-in (arXiv 2103.06476, section on
randomised experiments). So equal arms give a martingale even when weights and base rate move
together, where pooled arm means do not. Without m_k, rewards with a large mean would make 1/p
noise of it.

V is at or above the conditional variance of S in expectation: the plug-in's error counts as noise
and nothing is fitted to the outcome it judges. Its weakness is a small arm with rare, large rewards
that it has not met: V knows only the harmless part. `exchanged` adds up the variance that S would
have if the two arms had each other's rewards; equal arms have, so that the larger of the two sums
is no larger than V should be, and the large arm lends the small one its tail.

m_k is the arm's past mean, pulled towards the past mean of all arms with the weight of
`PRIOR_OUTCOMES` outcomes: that keeps the first scores of a rare arm sane. The first `WARM_UP`
observations only feed m_k and get no score.

Importance matters when weights change. Averaged plainly, an hour at 99/1 outshouts a week at
50/50, because its scores are a hundred times as noisy. `overlap` weighs each observation by the
precision it brings (Li, Morgan, Zaslavsky, JASA 113, 2018; the sequential use is that of Hadad et
al., arXiv 1911.02768), and drops stretches in which an arm was off, where no score is unbiased.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WARM_UP = 10
PRIOR_OUTCOMES = 10.0


@dataclass(frozen=True, slots=True)
class Observations:
    """Checked observations in order of arrival; leading axes, if any, are independent runs.

    Attributes:
        arms: A, shape (..., n).
        rewards: R, shape (..., n).
        propensities: p in (0, 1], shape (..., n).
        importance: h, not negative, shape (n,) or (..., n).
    """

    arms: NDArray[np.integer]
    rewards: NDArray[np.float64]
    propensities: NDArray[np.float64]
    importance: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ArmScores:
    """What one arm contributes.

    Attributes:
        plug_in: m_k, shape (..., n), 0 during warm-up.
        residuals: r_k, shape (..., n), 0 during warm-up.
        outcomes: Its outcomes of any importance so far, shape (..., n).
    """

    plug_in: NDArray[np.float64]
    residuals: NDArray[np.float64]
    outcomes: NDArray[np.float64]


def observations(
    arms: NDArray[np.integer],
    rewards: NDArray[np.floating],
    propensities: NDArray[np.floating] | float,
    importance: NDArray[np.floating] | float,
) -> Observations:
    """Checks and broadcasts the inputs of every sequence.

    Raises:
        ValueError: If shapes differ, a reward is not finite, a propensity is not in (0, 1], or an
            importance is negative or not finite.
    """
    reward = np.asarray(rewards, dtype=np.float64)
    arm = np.asarray(arms)
    if arm.shape != reward.shape or not arm.ndim:
        raise ValueError(f"arms {arm.shape} and rewards {reward.shape} need one shape (..., n)")
    propensity = np.broadcast_to(np.asarray(propensities, dtype=np.float64), reward.shape)
    if not np.isfinite(reward).all():
        raise ValueError("rewards must be finite")
    if not ((propensity > 0) & (propensity <= 1)).all():
        raise ValueError("propensities must be in (0, 1]")
    given = np.asarray(importance, dtype=np.float64)
    shape = reward.shape if given.ndim > 1 else reward.shape[-1:]
    weight = np.broadcast_to(given, shape)
    if not (np.isfinite(weight) & (weight >= 0)).all():
        raise ValueError("importance must be finite and not negative")
    return Observations(arm, reward, propensity, weight)


def overlap(*shares: NDArray[np.floating] | float) -> NDArray[np.float64]:
    """Importance of observations drawn under these weights: the precision one score brings.

    Args:
        shares: For each arm compared, the probability of choosing it at each observation, known
            before the draw, in [0, 1]; arrays of one shape, or numbers.

    Returns:
        1 / sum of 1 / share, at most the smallest share; 0 where an arm was off.

    >>> overlap(np.array([0.5, 0.01, 0.0]), np.array([0.5, 0.99, 1.0])).tolist()
    [0.25, 0.0099, 0.0]
    """
    with np.errstate(divide="ignore"):
        inverse = [1 / np.asarray(share, dtype=np.float64) for share in shares]
    total: NDArray[np.float64] = np.asarray(1 / sum(inverse))
    return total


def exchanged(
    seen: Observations,
    residuals: NDArray[np.float64],
    shares: tuple[NDArray[np.floating] | float, NDArray[np.floating] | float] | None,
) -> NDArray[np.float64]:
    """What each observation adds to the variance of S if the two arms exchanged their rewards.

    Args:
        seen: The observations.
        residuals: r_k - r_b, shape (..., n), 0 for other arms.
        shares: Probability of choosing arm k, and arm b, at each observation, broadcast to
            (..., n); None if the two share all traffic.

    Returns:
        (h d)^2 / (p_k p_b) for the residual d = R - m, shape (..., n). Its conditional mean is
        h^2 (s_k / p_b + s_b / p_k) for variances s, where that of (h r)^2 is
        h^2 (s_k / p_k + s_b / p_b): the same at 50/50, or if s_k = s_b.

    Raises:
        ValueError: If there are more than two arms and no shares, or the shares do not fit.
    """
    if shares is None:
        if len(np.unique(seen.arms)) > 2:
            raise ValueError("with more than two arms, give the shares of the two compared")
        ours, theirs = seen.propensities, 1 - seen.propensities
    else:
        ours, theirs = (np.asarray(share, dtype=np.float64) for share in shares)
    product = np.broadcast_to(ours * theirs, seen.rewards.shape)
    weighed = (seen.importance * residuals * seen.propensities) ** 2
    used = weighed > 0
    if (product[used] < 0).any():
        raise ValueError("shares must be probabilities")
    with np.errstate(divide="ignore", invalid="ignore"):
        added: NDArray[np.float64] = np.where(used, weighed / product, 0.0)
    return added


def arm_scores(seen: Observations, arm: int) -> ArmScores:
    """Plug-ins, residuals and outcomes of one arm, in O(n)."""
    mask = seen.arms == arm
    n = seen.rewards.shape[-1]
    position = np.arange(n, dtype=np.float64)
    outcomes = np.cumsum(mask, axis=-1, dtype=np.float64)
    own = np.where(mask, seen.rewards, 0.0)
    pooled_mean = sum_before(seen.rewards) / np.maximum(position, 1.0)
    plug_in = (sum_before(own) + PRIOR_OUTCOMES * pooled_mean) / (outcomes - mask + PRIOR_OUTCOMES)
    residuals = np.where(mask, seen.rewards - plug_in, 0.0) / seen.propensities
    plug_in[..., :WARM_UP] = 0.0
    residuals[..., :WARM_UP] = 0.0
    counted = np.cumsum(mask & (seen.importance > 0), axis=-1, dtype=np.float64)
    return ArmScores(plug_in, residuals, counted)


def sum_before(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Running sum of the values before each entry: predictable, unlike the running sum."""
    sums = np.zeros_like(values)
    np.cumsum(values[..., :-1], axis=-1, out=sums[..., 1:])
    return sums
