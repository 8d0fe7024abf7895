"""Two models scored on the same rows: far more precise than two arms, where truth is known.

Symbols:
    d_i     reward of the candidate on row i minus that of the baseline on row i
    p_ik    probability with which arm k served row i

Pairing removes what makes a row hard for both; the sequence is that of `arm_mean` on d, tuned for
`TIGHTEST_AT` rows, since pairs decide early. Assumes rows are independent and in order of arrival;
rows seen in training flatter the model that memorised them. A row on which the candidate fails
badly and that has not come yet is not in the mean: `weakest` gives its size, and where the reward
has a range, `bounded.bounded_mean_sequence` of d needs no such assumption.

Selective labels. Where truth becomes known only if the answer that was served was acted on, the
labelled rows are those that the served arm liked: at 90/10 mostly the baseline's, and it looks the
worse for them. `labels_depend` tests whether among rows with the same pattern of answers the served
arms of the labelled ones are still drawn by p; if not, the rows must not be compared.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlops.stats.arm_mean import mean_sequence
from mlops.stats.sample_ratio import ALPHA, tilted_evidence
from mlops.stats.sequence import ConfidenceSequence

TIGHTEST_AT = 500


@dataclass(frozen=True, slots=True)
class LabelTest:
    """Evidence that labels depend on the answer that was served.

    Attributes:
        p_value: Anytime-valid, in (0, 1].
        depend: Whether `p_value` is at most alpha.
        alpha: Probability of a false alarm, ever.
    """

    p_value: float
    depend: bool
    alpha: float


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
    differences = _differences(candidate, baseline)
    return mean_sequence(differences, alpha=alpha, horizon=horizon, tightest_at=TIGHTEST_AT)


def labels_depend(
    arms: NDArray[np.integer],
    probabilities: NDArray[np.floating],
    labelled: NDArray[np.bool_],
    pattern: NDArray[np.integer],
    *,
    alpha: float = ALPHA,
) -> LabelTest:
    """Test whether a label depends on the arm that served the row.

    Args:
        arms: Arm that served each row, shape (n,).
        probabilities: p, of every arm at each row, shape (n, k).
        labelled: Whether the row got a label, shape (n,).
        pattern: How the arms' answers compare, as a small number, shape (n,): the sign of the
            difference of two predictions, or 0 for all where the answers of unlabelled rows are
            unknown.
        alpha: Probability of a false alarm, ever.

    Returns:
        The test at this moment; it may be repeated. Within each pattern, and for labelled and
        unlabelled rows apart, arms are drawn by p if labels do not depend on them (`missing`);
        the mean over those groups of their e-values is taken, with the product of all.
    """
    groups = []
    for kind in np.unique(pattern):
        for state in (True, False):
            members = (pattern == kind) & (labelled == state)
            if members.any():
                groups.append(float(tilted_evidence(arms[members], probabilities[members])[-1]))
    if not groups:
        return LabelTest(1.0, False, alpha)
    log_e = float(np.logaddexp.reduce([*groups, sum(groups)])) - np.log(len(groups) + 1)
    p_value = float(np.exp(-max(log_e, 0.0)))
    return LabelTest(p_value, p_value <= alpha, alpha)


def _differences(
    candidate: NDArray[np.floating], baseline: NDArray[np.floating]
) -> NDArray[np.float64]:
    """The differences d, or an error where rows do not pair."""
    ours, theirs = np.asarray(candidate, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    if ours.shape != theirs.shape:
        raise ValueError(f"rows must pair: {ours.shape} and {theirs.shape}")
    return ours - theirs
