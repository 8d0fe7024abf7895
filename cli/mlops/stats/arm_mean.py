"""Anytime-valid mean of one arm, for the table of arms, and of any stream of numbers.

Symbols as in `scores`. The estimate is the average, over all observations, of the mean reward the
arm had at each: what the arm would have earned on the whole traffic. It therefore agrees with
`difference`: the estimates of two arms subtract to the estimate of their difference. Non-overlap of
two intervals is not the test; `difference` is.
"""

import numpy as np
from numpy.typing import NDArray

from mlops.stats.aipw import arm_scores, observations
from mlops.stats.burn_in import MIN_EFFECTIVE, Opening, effective_outcomes
from mlops.stats.sequence import TIGHTEST_AT, ConfidenceSequence, sequence


def arm_sequence(
    arms: NDArray[np.integer],
    rewards: NDArray[np.floating],
    propensities: NDArray[np.floating] | float,
    *,
    arm: int,
    importance: NDArray[np.floating] | float = 1.0,
    alpha: float = 0.05,
    horizon: float | None = None,
    tightest_at: float = TIGHTEST_AT,
) -> ConfidenceSequence:
    """Confidence sequence of the mean reward of one arm.

    Args:
        arms: Chosen arm of each observation, shape (..., n), all arms.
        rewards: Reward of each observation, same shape.
        propensities: Probability with which the chosen arm was chosen, in (0, 1].
        arm: The arm in question.
        importance: As in `difference_sequence`; give both the same for estimates that agree.
        alpha: Probability that any interval, ever, misses.
        horizon: As in `difference_sequence`.
        tightest_at: Outcomes of the arm for which the curve is tuned.

    Returns:
        One interval per observation, in units of reward.

    Raises:
        ValueError: If shapes differ or a value is out of its range.
    """
    seen = observations(arms, rewards, propensities, importance)
    own = arm_scores(seen, arm)
    scores = own.plug_in + own.residuals
    added = (seen.importance * own.residuals) ** 2
    raw = np.where(seen.arms == arm, (seen.importance * seen.rewards / seen.propensities) ** 2, 0.0)
    effective = effective_outcomes(added, raw)
    opening = Opening((arm,), (own.outcomes,), effective, MIN_EFFECTIVE)
    return sequence(
        scores, np.cumsum(added, axis=-1), seen.importance, opening, alpha, horizon, tightest_at
    )


def mean_sequence(
    values: NDArray[np.floating],
    *,
    alpha: float = 0.05,
    horizon: float | None = None,
    tightest_at: float = TIGHTEST_AT,
) -> ConfidenceSequence:
    """Confidence sequence of the running mean of a stream, e.g. latencies or paired differences.

    Args:
        values: In order of arrival, shape (..., n); leading axes are independent runs.
        alpha: Probability that any interval, ever, misses.
        horizon: Number of values planned, declared beforehand; None for no end.
        tightest_at: Number of values for which the curve is tuned.

    Raises:
        ValueError: If a value is not finite or alpha is not in (0, 1).

    >>> rng = np.random.default_rng(7)
    >>> found = mean_sequence(rng.normal(1.0, 1.0, 1000))
    >>> bool(found.lower[-1] < 1.0 < found.upper[-1])
    True
    """
    stream = np.asarray(values, dtype=np.float64)
    return arm_sequence(
        np.zeros(stream.shape, dtype=np.int64), stream, 1.0,
        arm=0, alpha=alpha, horizon=horizon, tightest_at=tightest_at,
    )  # fmt: skip
