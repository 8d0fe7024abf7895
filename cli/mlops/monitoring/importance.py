"""How much requests of one policy epoch count in a comparison."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mlops.monitoring.evidence import Evidence
from mlops.stats.aipw import overlap


def importance_by_row(evidence: Evidence, arms: Sequence[int]) -> NDArray[np.float64]:
    """Return what a request counts in the difference of these arms, by row of the weights, (s,).

    The precision that it adds; 0 where one of the arms is off.
    """
    own = overlap(*(evidence.weights[:, arm] for arm in arms))
    # A policy that looks at the request must not decide which requests the difference is of: all
    # that are drawn by one of several vectors count alike.
    least = np.full(own.size, np.inf)
    np.minimum.at(least, evidence.groups, own)
    found: NDArray[np.float64] = least[evidence.groups]
    return found
