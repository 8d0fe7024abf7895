"""The curve that a sum of scores crosses with probability at most alpha, at any time.

Symbols:
    S     sum of scores under the null, a martingale
    V     its variance so far, sum of conditional variances
    rho2  precision of the mixture, 1 / (units of V): where the curve is tightest
    x     V * rho2, time on the scale of the mixture

Robbins' two-sided normal mixture: with probability 1 - alpha, for all times at once,

    S^2 < (V + 1/rho2) * log((V rho2 + 1) / alpha^2)

exactly for Gaussian scores, asymptotically for others: Waudby-Smith, Arbour, Sinha, Kennedy,
Ramdas, "Time-uniform central limit theory and asymptotic confidence sequences", arXiv 2103.06476,
Gaussian-mixture boundary (there written with sigma sqrt(t) for our sqrt(V)). Asymptotic means: as
the first look is put off, the error tends to alpha. Looking before the variance is known breaks it,
which is why callers hold the bounds infinite during `burn_in`.
"""

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar


def radius(
    variance: NDArray[np.float64], rho2: NDArray[np.float64], alpha: float
) -> NDArray[np.float64]:
    """The bound on |S|.

    Args:
        variance: V, of any shape, positive.
        rho2: Precision of the mixture, positive, broadcast against `variance`.
        alpha: Probability of ever crossing, in (0, 1).

    Returns:
        Bound of the same shape, in the units of S.

    >>> float(radius(np.array(1.0), np.array(1.0), 0.05).round(3))
    3.656
    """
    edge: NDArray[np.float64] = np.sqrt(
        (variance + 1 / rho2) * np.log((variance * rho2 + 1) / alpha**2)
    )
    return edge


def p_value(
    total: NDArray[np.float64], variance: NDArray[np.float64], rho2: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The smallest alpha whose curve |S| has crossed: an anytime-valid p-value, in (0, 1].

    Args:
        total: S under the null.
        variance: V.
        rho2: Precision of the mixture.

    Returns:
        One p-value per entry; the mixture martingale's inverse, at most 1.
    """
    time = variance * rho2
    log_p = 0.5 * np.log1p(time) - total**2 * rho2 / (2 * (1 + time))
    p: NDArray[np.float64] = np.exp(np.minimum(log_p, 0.0))
    return p


@cache
def tightest_time(alpha: float) -> float:
    """The x at which the curve, relative to sqrt(V), is lowest: 8.2 for alpha 0.05.

    Minimises (1 + 1/x) log((x + 1) / alpha^2), see arXiv 2103.06476 on tuning Robbins'
    mixture for a planned time.
    """
    found = minimize_scalar(
        lambda log_x: (1 + math.exp(-log_x)) * math.log((math.exp(log_x) + 1) / alpha**2),
        bounds=(-3.0, 8.0),
        method="bounded",
    )
    return math.exp(float(found.x))
