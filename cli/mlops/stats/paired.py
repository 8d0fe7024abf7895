"""Two models scored on the same rows: far more precise than two arms, where truth is known.

Symbols:
    d_i   reward of the candidate on row i minus that of the baseline on row i

Pairing removes what makes a row hard for both. The anytime version is `arm_mean` on d; the fixed
one is Student's t. Assumes rows are independent and in order of arrival; rows seen in training
flatter the model that memorised them.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mlops.stats.arm_mean import mean_sequence
from mlops.stats.fixed import Interval
from mlops.stats.sequence import ConfidenceSequence


def paired_sequence(
    candidate: NDArray[np.floating], baseline: NDArray[np.floating], *, alpha: float = 0.05
) -> ConfidenceSequence:
    """Anytime-valid confidence sequence of the mean of d.

    Args:
        candidate: Rewards of the candidate, one per row, shape (n,).
        baseline: Rewards of the baseline on the same rows, shape (n,).
        alpha: Probability that any interval, ever, misses.

    Raises:
        ValueError: If shapes differ or a reward is not finite.
    """
    return mean_sequence(_differences(candidate, baseline), alpha=alpha)


def paired_interval(
    candidate: NDArray[np.floating], baseline: NDArray[np.floating], *, alpha: float = 0.05
) -> Interval:
    """Student's interval of the mean of d, for one look at a number of rows fixed in advance.

    Raises:
        ValueError: If shapes differ or there are fewer than two rows.

    >>> paired_interval(np.array([1.0, 2.0, 3.0]), np.array([0.0, 1.0, 2.0]))
    Interval(estimate=1.0, lower=1.0, upper=1.0)
    """
    values = _differences(candidate, baseline)
    if values.size < 2:
        raise ValueError(f"needs two rows, got {values.size}")
    estimate = float(values.mean())
    error = float(values.std(ddof=1)) / math.sqrt(values.size)
    width = float(stats.t.ppf(1 - alpha / 2, values.size - 1)) * error
    return Interval(estimate, estimate - width, estimate + width)


def _differences(
    candidate: NDArray[np.floating], baseline: NDArray[np.floating]
) -> NDArray[np.float64]:
    """The differences d, or an error where rows do not pair."""
    ours, theirs = np.asarray(candidate, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    if ours.shape != theirs.shape:
        raise ValueError(f"rows must pair: {ours.shape} and {theirs.shape}")
    return ours - theirs
