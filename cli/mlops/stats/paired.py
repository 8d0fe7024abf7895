"""Two models scored on the same rows: far more precise than two arms, where truth is known.

Symbols:
    d_i   reward of the candidate on row i minus that of the baseline on row i

Pairing removes what makes a row hard for both; the sequence is that of `arm_mean` on d. Assumes
rows are independent and in order of arrival; rows seen in training flatter the model that
memorised them.
"""

import numpy as np
from numpy.typing import NDArray

from mlops.stats.arm_mean import mean_sequence
from mlops.stats.sequence import ConfidenceSequence


def paired_sequence(
    candidate: NDArray[np.floating],
    baseline: NDArray[np.floating],
    *,
    alpha: float = 0.05,
    horizon: float | None = None,
) -> ConfidenceSequence:
    """Anytime-valid confidence sequence of the mean of d.

    Args:
        candidate: Rewards of the candidate, one per row, shape (n,).
        baseline: Rewards of the baseline on the same rows, shape (n,).
        alpha: Probability that any interval, ever, misses.
        horizon: Number of rows planned, declared beforehand; None for no end.

    Raises:
        ValueError: If shapes differ or a reward is not finite.
    """
    return mean_sequence(_differences(candidate, baseline), alpha=alpha, horizon=horizon)


def _differences(
    candidate: NDArray[np.floating], baseline: NDArray[np.floating]
) -> NDArray[np.float64]:
    """The differences d, or an error where rows do not pair."""
    ours, theirs = np.asarray(candidate, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    if ours.shape != theirs.shape:
        raise ValueError(f"rows must pair: {ours.shape} and {theirs.shape}")
    return ours - theirs
