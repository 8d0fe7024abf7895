"""Is a canary worse than its baseline, or not worse by more than a margin? At every look.

Symbols:
    y      loss of a unit in [0, 1]: 1 for an error, say
    p_c    probability with which the unit would get the canary, p_b the baseline; both known
           before its draw, and changing along a ramp
    d      difference of mean losses, canary minus baseline, on the border of the null hypothesis
    X      score of the unit, of mean (difference - d):
           (y - d) / p_c if the canary answered, -y / p_b if the baseline did, else 0
    theta  odds of a bet: how many times as often the canary is taken to lose
    b      what is bet, p_c p_b |theta - 1| / (p_b + p_c theta)

    worse        null: difference <= d    E = mean over theta > 1 of product (1 + b X)
    not worse    null: difference >= d    E = mean over theta < 1 of product (1 - b X)

Every factor has a mean of at most 1 under its null, whatever the weights and the rate of losses do
from unit to unit, so E is a non-negative supermartingale and ever exceeds 1/alpha with probability
at most alpha (Ville). There is no burn-in, no asymptotics and nothing to be known of the variance:
testing by betting (Waudby-Smith, Ramdas, arXiv 2010.09686) on importance-weighted scores (Waudby-
Smith et al., arXiv 2210.10768). With d = 0 only losses move E, and b makes the factors those of the
Bernoulli test of Lindon and Malek (arXiv 2011.03567; Lindon and Kallus, arXiv 2410.09282): given
that a unit lost, is it the canary's more often than p_c says? A unit's stratum is that of its
draw; strata are never pooled.

E does not depend on the order of units, so that counts are enough.

A quantile q is compared at a threshold: with tau the baseline's quantile before a unit came
(`thresholds`), a loss is a value beyond tau for the baseline and beyond tau + d for the canary. At
equal quantiles both have losses in 1 - q of their units. (Howard and Ramdas, arXiv 1906.09712,
bound the quantile of one stream; two streams whose mixture changes along a ramp cannot be bounded
one by one, as early units are mostly the baseline's.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Side = Literal["worse", "not worse"]

_THETAS: dict[Side, Floats] = {
    "worse": np.array([1.03, 1.1, 1.2, 1.4, 1.8, 2.5, 4.0, 8.0, 20.0, 100.0]),
    "not worse": np.array([0.0, 0.05, 0.15, 0.3, 0.45, 0.6, 0.75, 0.85, 0.92, 0.97]),
}
# Short of where one unit could cost everything.
_MOST = 0.999
_FIRST_THRESHOLD, _GROWTH, _WINDOW = 50, 1.3, 10_000
_HALVINGS = 30


@dataclass(frozen=True, slots=True)
class Losses:
    """Losses of the units of two arms, m distinct ones.

    Attributes:
        values: y, (m,), in [0, 1].
        canary: Whether it is the canary's, else the baseline's, (m,).
        shares: p_c and p_b, (2, m).
        counts: How many units are like this, (m,).
    """

    values: Floats
    canary: NDArray[np.bool_]
    shares: Floats
    counts: Ints


def count(
    values: NDArray[np.floating], arms: Ints, strata: Ints, weights: Floats, pair: tuple[int, int]
) -> Losses:
    """Count equal losses.

    Args:
        values: y of each unit, (n,), in [0, 1]; NaN for one that does not count.
        arms: Its arm, (n,).
        strata: Row of `weights` by which it was drawn, (n,).
        weights: Probabilities of the arms, (s, k).
        pair: Canary and baseline.

    Raises:
        ValueError: A loss is outside [0, 1].
    """
    candidate, base = pair
    kept = ((arms == candidate) | (arms == base)) & ~np.isnan(values)
    y = np.asarray(values, dtype=np.float64)[kept]
    if not ((y >= 0) & (y <= 1)).all():
        raise ValueError("losses must be in [0, 1]")
    whole = y.astype(np.int64)
    levels, level = (np.array([0.0, 1.0]), whole) if (whole == y).all() else _levels(y)
    codes = (strata[kept] * 2 + (arms[kept] == candidate)) * levels.size + level
    counts = np.bincount(codes)
    found = np.flatnonzero(counts)
    places, at = np.divmod(found, levels.size)
    rows, canary = np.divmod(places, 2)
    shares = weights[rows][:, [candidate, base]].T
    return Losses(levels[at], canary == 1, shares, counts[found])


def _levels(y: Floats) -> tuple[Floats, Ints]:
    levels, level = np.unique(y, return_inverse=True)
    return levels, level


def log_evidence(losses: Losses, side: Side, margin: float = 0.0) -> float:
    """Log E that the canary is worse by more than `margin`, or not worse by as much.

    >>> weights, units = np.array([[0.95, 0.05]]), np.arange(10_000)
    >>> arms, strata = (units % 20 == 0).astype(np.int64), np.zeros(10_000, dtype=np.int64)
    >>> fails = np.where(arms == 1, units % 400 == 0, False).astype(float)
    >>> bad = count(fails, arms, strata, weights, (1, 0))
    >>> log_evidence(bad, "worse") > float(np.log(1000))
    True
    >>> fine = count(fails * 0, arms, strata, weights, (1, 0))
    >>> abs(log_evidence(fine, "worse")) < 1e-9
    True
    >>> log_evidence(fine, "not worse", 0.01) > float(np.log(20))
    True
    """
    gains = losses.counts @ _log_factors(losses, side, margin)
    return _mean(gains)


def evidence_path(losses: Losses, side: Side, margin: float = 0.0) -> Floats:
    """Log E after each unit, for losses that are in order and not counted, (m,)."""
    paths = np.cumsum(_log_factors(losses, side, margin), axis=0)
    path: Floats = np.logaddexp.reduce(paths, axis=-1) - np.log(paths.shape[-1])
    return path


def _mean(gains: Floats) -> float:
    return float(np.logaddexp.reduce(gains) - np.log(gains.size))


def _log_factors(losses: Losses, side: Side, margin: float) -> Floats:
    """Logarithm of the factor of each loss under each bet, (m, bets)."""
    ours, theirs = losses.shares[..., None]
    theta = _THETAS[side]
    with np.errstate(invalid="ignore", divide="ignore"):
        bet = ours * theirs * np.abs(theta - 1) / (theirs + ours * theta)
        # What the canary's unit would cost at most: none may leave less than nothing.
        worst = margin if side == "worse" else 1 - margin
        bet = np.minimum(bet, _MOST * np.minimum(theirs, ours / worst if worst > 0 else np.inf))
        scores = np.where(
            losses.canary, (losses.values - margin) / losses.shares[0],
            -losses.values / losses.shares[1],
        )[:, None]  # fmt: skip
        factors = np.log1p(bet * scores if side == "worse" else -bet * scores)
    # Where one of the arms was off there is nothing to compare.
    compared = (losses.shares[0] > 0) & (losses.shares[1] > 0)
    both: Floats = np.where(compared[:, None], factors, 0.0)
    return both


def thresholds(values: Floats, is_baseline: NDArray[np.bool_], quantile: float) -> Floats:
    """The baseline's quantile before each unit came, (n,); NaN before it has had some.

    Settled again whenever the baseline has had a third more units, from the latest of them: known
    before the units that are compared with it, whatever comes.

    Args:
        values: Of each unit in order, (n,).
        is_baseline: Whether the baseline answered it, (n,).
        quantile: In (0, 1).
    """
    at = np.flatnonzero(is_baseline)
    found = np.full(values.size, np.nan)
    size = _FIRST_THRESHOLD
    while size <= at.size:
        known = values[at[max(0, size - _WINDOW) : size]]
        found[at[size - 1] + 1 :] = np.quantile(known, quantile, method="higher")
        size = int(size * _GROWTH) + 1
    return found


def beyond(
    values: Floats, tau: Floats, is_canary: NDArray[np.bool_], margin: float = 0.0
) -> Floats:
    """Whether values are beyond their threshold, the canary's by more than a margin, (n,)."""
    lost = values > tau + np.where(is_canary, margin, 0.0)
    return np.where(np.isnan(tau), np.nan, lost.astype(np.float64))


def bounds(
    log_e: Callable[[Side, float], float], alpha: float, reach: tuple[float, float]
) -> tuple[float, float]:
    """The differences that are not refuted: a lower and an upper bound, each at level alpha.

    Args:
        log_e: Log E of a side at a margin, growing with the margin on the side `not worse`, and
            falling on the other.
        alpha: Error probability of each bound.
        reach: Where to look. A bound outside is infinite.
    """
    target = -np.log(alpha)
    low, high = reach
    lower, upper = -np.inf, np.inf
    if log_e("worse", low) >= target:
        lower = _border(lambda margin: log_e("worse", margin) >= target, low, high)
    if log_e("not worse", high) >= target:
        upper = _border(lambda margin: log_e("not worse", margin) >= target, high, low)
    return lower, upper


def _border(holds: Callable[[float], bool], inside: float, outside: float) -> float:
    """Where a statement that holds `inside` ends to hold, from the side where it does."""
    for _ in range(_HALVINGS):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if holds(middle) else (inside, middle)
    return inside
