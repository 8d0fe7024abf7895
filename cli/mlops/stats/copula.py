r"""How far a row is from others by how its values go together: a Gaussian copula.

Symbols: z is a row of k numbers, each the normal quantile of the rank of a value among n others
(Liu, Lafferty, Wasserman, The Nonparanormal, JMLR 10, 2009), S their covariance. The distance is
that of Mahalanobis, z' S^-1 z. Ranks bound what one value far out adds, and make it independent of
units and skewness.

S is shrunk to a multiple of the identity by the weight that Ledoit and Wolf estimate (J. of
Multivariate Analysis 88, 2004, section 3.3), which matters where n is not many times k.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Least weight of the identity: columns may be multiples of others.
_SHRUNK = 0.01
# Parts of the rows, each of which is scored by the covariance of the others.
_PARTS = 5


@cache
def normal_quantiles(n: int) -> Floats:
    """Return the normal quantiles of the ranks that a value can have among n others, (2 n + 1,).

    The position is how many are below it, plus how many are not above it: equal ones share a rank.

    >>> normal_quantiles(1).round(2).tolist()
    [-0.67, 0.0, 0.67]
    """
    normal = NormalDist()
    return np.array([normal.inv_cdf((at + 1) / (2 * n + 2)) for at in range(2 * n + 1)])


@dataclass(frozen=True, slots=True)
class Copula:
    """How normal quantiles go together.

    Attributes:
        whiten: (k, k) makes them uncorrelated, with a variance of 1.
    """

    whiten: Floats

    def scores(self, normal: Floats) -> Floats:
        """Return the squared distance of rows, (m,).

        Args:
            normal: Normal quantiles, (m, k).
        """
        found: Floats = np.square(normal @ self.whiten).sum(axis=1)
        return found

    def parts(self, normal: Floats) -> Floats:
        """Return what each value adds to the squared distance of its row, (m, k); may be negative.

        Args:
            normal: Normal quantiles, (m, k).
        """
        return normal * (normal @ self.whiten @ self.whiten.T)


def fit_copula(normal: Floats) -> Copula:
    """Estimate the covariance.

    Args:
        normal: Normal quantiles, (n, k), whose mean is 0.
    """
    n, k = normal.shape
    found = normal.T @ normal / n
    target = max(float(np.trace(found)) / k, 1e-12) * np.eye(k)
    # Ledoit and Wolf's d and b, squared: how far off the target it is, and how much is noise.
    apart = float(np.square(found - target).sum())
    fourth = float(np.square(np.square(normal).sum(axis=1)).sum()) / n
    noise = (fourth - float(np.square(found).sum())) / n
    weight = min(max(noise / apart if apart > 0 else 1.0, _SHRUNK), 1.0)
    values, vectors = np.linalg.eigh((1 - weight) * found + weight * target)
    return Copula(vectors / np.sqrt(values))


def held_out_scores(normal: Floats) -> Floats:
    """Return the squared distance of each row by a covariance of others, (n,).

    By one of its own a row would be nearer than a new one is.

    Args:
        normal: Normal quantiles, (n, k).
    """
    found = np.empty(len(normal))
    for part in np.array_split(np.arange(len(normal)), _PARTS):
        found[part] = fit_copula(np.delete(normal, part, axis=0)).scores(normal[part])
    return found
