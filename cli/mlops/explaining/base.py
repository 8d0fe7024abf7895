"""What an explanation is, and the check that it adds up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

#: Column name to n cells.
Rows: TypeAlias = Mapping[str, Sequence[Any]]

#: Relative to the largest of 1, the base and the answer. XGBoost calculates in float32.
TOLERANCE = 1e-6
SINGLE_TOLERANCE = 1e-3


class NotExactError(Exception):
    """There is no exact method for a model. Its text says why, for people."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Shares of k features in the answers to n rows.

    Attributes:
        method: `linear`, `trees`, `xgboost`, `lightgbm` or `permutations`.
        output: What is explained, for people: `prediction`, or `log-odds of class 1`.
        names: Names of the features, (k,).
        base: What the shares count from, (n,).
        shares: (n, k).
        outputs: The explained output of each row, (n,).
        errors: Standard error of each share, (n, k); None where they are exact.
        gap: Largest of |base + sum of shares - output|.
    """

    method: str
    output: str
    names: tuple[str, ...]
    base: NDArray[np.float64]
    shares: NDArray[np.float64]
    outputs: NDArray[np.float64]
    errors: NDArray[np.float64] | None
    gap: float


def check_additive(
    method: str,
    output: str,
    names: Sequence[str],
    base: NDArray[np.float64],
    shares: NDArray[np.float64],
    outputs: NDArray[np.float64],
    errors: NDArray[np.float64] | None = None,
    tolerance: float = TOLERANCE,
) -> Explanation:
    """Return an explanation whose shares add up.

    Raises:
        NotExactError: They do not.
    """
    gaps = np.abs(base + shares.sum(axis=1) - outputs)
    scale = np.maximum(1.0, np.maximum(np.abs(base), np.abs(outputs)))
    if not np.all(gaps <= tolerance * scale):
        raise NotExactError(f"the shares of `{method}` do not add up to what the model answers")
    return Explanation(
        method, output, tuple(names), base, shares, outputs, errors, float(gaps.max(initial=0.0))
    )
