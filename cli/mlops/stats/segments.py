"""Which of many segments differ: listed, never a verdict.

Of twenty segments one differs by chance. The e-BH procedure (Wang, Ramdas, JRSS B
84, 2022) lists segments so that among those listed at most a share q has no effect on average,
however the segments depend on each other, at any look:

    with e-values in falling order e_(1) >= e_(2) ..., list the largest k with e_(k) >= m / (q k).

E-values come from the anytime-valid p-values of `difference` by the calibrator
(1 - p + p log p) / (p log(p)^2), the mean over a of a p^(a - 1) (Vovk, Wang, Annals of Statistics
49, 2021), which turns any valid p-value into an e-value at some cost.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

RATE = 0.1


def e_value(p_value: ArrayLike) -> NDArray[np.float64]:
    """Calibrate p-values to e-values.

    Args:
        p_value: In [0, 1], any shape.

    Returns:
        Same shape; 1/2 at p = 1, inf at p = 0.

    >>> float(e_value(1e-4).round(1))
    117.8
    """
    p = np.clip(np.asarray(p_value, dtype=np.float64), 1e-300, 1.0)
    log_p = np.log(p)
    with np.errstate(divide="ignore", invalid="ignore"):
        calibrated = (1 - p + p * log_p) / (p * log_p**2)
    # Towards p = 1 the quotient is 0 / 0; its series there.
    near: NDArray[np.float64] = np.where(log_p > -1e-4, 0.5 - log_p / 3 * 0.5, calibrated)
    return near


def standing_out(p_values: ArrayLike, rate: float = RATE) -> NDArray[np.bool_]:
    """Choose the segments to list.

    Args:
        p_values: Anytime-valid p-value of each segment's difference, shape (m,).
        rate: q: share of listed segments without an effect, on average at most, in (0, 1).

    Returns:
        Whether each segment is listed, shape (m,).

    >>> standing_out([1e-6, 0.2, 0.04, 0.9]).tolist()
    [True, False, False, False]
    """
    if not 0 < rate < 1:
        raise ValueError(f"rate must be in (0, 1), got {rate}")
    e = np.atleast_1d(e_value(p_values))
    order = np.argsort(-e, kind="stable")
    rank = np.arange(1, e.size + 1)
    passes = np.flatnonzero(e[order] >= e.size / (rate * rank))
    listed = np.zeros(e.size, dtype=bool)
    if passes.size:
        listed[order[: passes[-1] + 1]] = True
    return listed
