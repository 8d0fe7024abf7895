"""Capital of bets on a bounded stream: the curve behind `bounded`, exact at any sample size.

Symbols:
    X_i    scores less a predictable guess, in [-c, c]
    S_j    sum of X_i^j; S of X less its conditional mean is a martingale
    t      size of a bet, in (0, 1/c); u = c t
    w      weights of a grid of bets

Wagering t on each score multiplies a gambler's capital by 1 + t X_i, whose mean is 1 + t E[X_i] at
most e^(t E[X_i]) (Waudby-Smith, Ramdas, arXiv 2010.09686). Its logarithm is bounded from below by
sums of powers, so that one pass over the data serves all bets and all candidate means:

    log(1 + y) >= y - y^2 / 2 + y^3 / 3 - g(u) y^4      for y >= -u,
    g(u) = -(log(1 - u) + u + u^2 / 2 + u^3 / 3) / u^4,

because the remainder over y^4 is -integral of s^3 / (1 + y s) over s in [0, 1], which rises with y.
Stopping at y^2 instead is the empirical Bernstein bound (Fan's inequality; Howard, Ramdas,
McAuliffe, Sekhon, arXiv 1810.08240), which charges a rare success like a rare failure; the two
further terms give back most of what that costs. For every true mean, by Ville's inequality,

    sum over t of w exp(t (S_1 - sum of means) - t^2 S_2 / 2 + t^3 S_3 / 3 - g t^4 S_4) < 1 / alpha

at all times with probability 1 - alpha. The grid is lognormal in u: a curve about as good over two
orders of magnitude of sample size, unlike one tuned to a spread that is unknown beforehand.
"""

import math

import numpy as np
from numpy.typing import NDArray

_BETS = 14
_MEDIAN, _SPREAD, _REACH = 0.2, 0.9, 2.4
_LARGEST = 0.97
_NEWTON = 3
_CHUNK = 1 << 13


def _grid() -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Bets u, logarithms of their weights, and g(u)."""
    steps = np.linspace(-_REACH, _REACH, _BETS)
    u = np.minimum(_MEDIAN * np.exp(_SPREAD * steps), _LARGEST)
    log_w = -(steps**2) / 2
    log_w -= np.logaddexp.reduce(log_w)
    g = -(np.log1p(-u) + u + u**2 / 2 + u**3 / 3) / u**4
    return u, log_w, g


_U, _LOG_W, _G = _grid()


def log_capital(
    total: NDArray[np.float64], powers: tuple[NDArray[np.float64], ...], scale: float
) -> NDArray[np.float64]:
    """Logarithm of the capital: an e-value against a mean at most that which was subtracted.

    Args:
        total: S_1 less the sum of means, any shape.
        powers: S_2, S_3 and S_4, same shape.
        scale: c.

    Returns:
        Same shape.
    """
    paid = _paid(powers, scale)
    log_e: NDArray[np.float64] = np.logaddexp.reduce(
        _LOG_W + (_U / scale) * np.asarray(total)[..., None] - paid, axis=-1
    )
    return log_e


def bound(
    powers: tuple[NDArray[np.float64], ...], scale: float, alpha: float
) -> NDArray[np.float64]:
    """What S_1 less the sum of means exceeds, ever, with probability at most alpha.

    Args:
        powers: S_2, S_3 and S_4, of one shape.
        scale: c.
        alpha: In (0, 1).

    Returns:
        Same shape. Newton's method from above: what it has not yet gained is width, not validity.
    """
    second, third, fourth = (np.asarray(each, dtype=np.float64).ravel() for each in powers)
    edge = np.empty(second.size)
    for start in range(0, second.size, _CHUNK):
        part = slice(start, start + _CHUNK)
        edge[part] = _bound((second[part], third[part], fourth[part]), scale, -math.log(alpha))
    return edge.reshape(np.shape(powers[0]))


def _bound(
    powers: tuple[NDArray[np.float64], ...], scale: float, log_target: float
) -> NDArray[np.float64]:
    t = _U / scale
    offset = _LOG_W - _paid(powers, scale)
    edge: NDArray[np.float64] = ((log_target - offset) / t).min(axis=-1)
    for _ in range(_NEWTON):
        terms = offset + t * edge[:, None]
        highest = terms.max(axis=-1, keepdims=True)
        weight = np.exp(terms - highest)
        mass = weight.sum(axis=-1)
        edge -= (np.log(mass) + highest[:, 0] - log_target) * mass / (weight @ t)
    return edge


def _paid(powers: tuple[NDArray[np.float64], ...], scale: float) -> NDArray[np.float64]:
    """What each bet has paid for the spread so far, shape (..., bets)."""
    t = _U / scale
    second, third, fourth = (np.asarray(each)[..., None] for each in powers)
    paid: NDArray[np.float64] = t**2 * second / 2 - t**3 * third / 3 + _G * t**4 * fourth
    return paid
