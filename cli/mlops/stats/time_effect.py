"""Does the effect change over time, and has a whole cycle been seen?

Symbols, over blocks of time (days) j with scores:
    e_j, m_j   mean score of the block, and its sum of importance
    E_j, M_j   mean and importance of all blocks before it
    z_j        (e_j - E_j) over its standard error, standardised recursive residual

If the effect is constant the recursive residuals have mean 0, are uncorrelated, and have variance
1 (Brown, Durbin, Evans, JRSS B 37, 1975, their CUSUM). Two e-values bet against that, both normal
mixtures: on their sum (an effect that fades or grows: novelty, learning) and on each by itself (one
that differs by block: weekdays against weekends),

    sum:   (1 + r J)^(-1/2) exp(r (sum z)^2 / (2 (1 + r J)))                 r = 1/4
    each:  product over j of (1 + r)^(-1/2) exp(r z_j^2 / (2 (1 + r)))       r = 1

and their mean exceeds 1/alpha at any block with probability at most alpha. Asymptotic: blocks must
be large enough for normal means; those with few outcomes are joined by the caller.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

# A false alarm withholds a verdict only where the effect is smaller of late as well.
ALPHA = 0.05
# Part of the whole effect that must be left in the second half; where the effect is shown to
# change, of that in the first half as well.
_LEFT = 0.5
_TREND, _BLOCK = 0.25, 1.0

# A daily rhythm must explain so much of the hourly counts, beyond chance, to be called one.
_EXPLAINED, _CHANCE, _HARMONICS = 0.2, 1e-3, 2
_DAY, _WEEK = 24, 168


@dataclass(frozen=True, slots=True)
class EffectOverTime:
    """Evidence that the effect is not the same at all times.

    Attributes:
        p_value: Anytime-valid, in (0, 1].
        changes: Whether `p_value` is at most alpha.
        early: Mean score of the first half of the blocks, in units of reward.
        late: Mean score of the second half.
        whole: Mean score of all.
    """

    p_value: float
    changes: bool
    early: float
    late: float
    whole: float

    @property
    def fades(self) -> bool:
        """Whether too little of the effect is left in the second half to act on the whole of it.

        An effect that lasts and is 3 standard errors from 0 has less than half of itself in its
        second half at 7 % of looks, and at others not. One that starts at half a standard deviation
        and halves every five days is still called better, once it is worse, in 2 to 3 % of runs
        instead of 7 to 11 % by a test at 1 % alone (150 runs of three rewards).
        """
        sign = np.sign(self.whole)
        least = _LEFT * max(abs(self.whole), abs(self.early) if self.changes else 0.0)
        return bool(self.late * sign < least)


def effect_over_time(
    totals: NDArray[np.floating],
    masses: NDArray[np.floating],
    variances: NDArray[np.floating],
    *,
    alpha: float = ALPHA,
) -> EffectOverTime:
    """Test a constant effect over blocks of time.

    Args:
        totals: Sum of importance times score in each block, S by block, shape (j,).
        masses: Sum of importance in each, positive, shape (j,).
        variances: V by block, shape (j,).
        alpha: Probability of a false alarm, ever.

    Returns:
        The test at this moment. With one block nothing is known: p is 1.

    Raises:
        ValueError: If shapes differ or a mass is not positive.
    """
    total, mass, spread = (np.asarray(x, dtype=np.float64) for x in (totals, masses, variances))
    if not total.shape == mass.shape == spread.shape or (mass <= 0).any():
        raise ValueError("every block needs a total, a positive mass and a variance")
    blocks = total.size
    half = blocks // 2
    if blocks < 2 or spread.sum() <= 0:
        nan = float("nan")
        return EffectOverTime(1.0, False, nan, nan, nan)
    before, gathered = np.cumsum(total)[:-1], np.cumsum(mass)[:-1]
    gap = total[1:] / mass[1:] - before / gathered
    # Each residual in units of its own standard error: blocks may differ in their noise.
    noise = spread[1:] / mass[1:] ** 2 + np.cumsum(spread)[:-1] / gathered**2
    z = gap / np.sqrt(np.maximum(noise, np.finfo(np.float64).tiny))
    count = np.arange(1, z.size + 1)
    trend = -0.5 * np.log1p(_TREND * count) + _TREND * np.cumsum(z) ** 2 / (
        2 * (1 + _TREND * count)
    )
    each = np.cumsum(-0.5 * np.log1p(_BLOCK) + _BLOCK * z**2 / (2 * (1 + _BLOCK)))
    largest = float(np.max(np.logaddexp(trend, each) - np.log(2), initial=0.0))
    p_value = float(np.exp(-largest))
    early, late = total[:half].sum() / mass[:half].sum(), total[half:].sum() / mass[half:].sum()
    whole = float(total.sum() / mass.sum())
    return EffectOverTime(p_value, p_value <= alpha, float(early), float(late), whole)


def cycle(hourly: NDArray[np.integer]) -> Literal["day", "week"] | None:
    """The rhythm of traffic: what a test should see whole before it may end.

    Args:
        hourly: Requests in each hour, without gaps, oldest first, shape (h,).

    Returns:
        "week" or "day" where sines of that period and their first harmonic explain the counts
        beyond chance (F-test at 0.1 %) and by a fifth or more; None without a rhythm, and where
        fewer than two periods were seen. Who calls at hours of the day has a week as well: take a
        week wherever this says "day" of less than two weeks.

    >>> hours = np.arange(96)
    >>> cycle((100 + 50 * np.sin(2 * np.pi * hours / 24)).astype(int))
    'day'
    """
    counts = np.asarray(hourly, dtype=np.float64)
    if _explained(counts, _WEEK, (_DAY,)):
        return "week"
    return "day" if _explained(counts, _DAY, ()) else None


def _explained(counts: NDArray[np.float64], period: int, besides: tuple[int, ...]) -> bool:
    """Whether waves of a period explain the counts, besides a trend and waves of other periods."""
    n = counts.size
    if n < 2 * period or not counts.any():
        return False
    hours = np.arange(n)

    def waves(length: int) -> list[NDArray[np.float64]]:
        angles = [2 * np.pi * k * hours / length for k in range(1, _HARMONICS + 1)]
        return [wave(angle) for angle in angles for wave in (np.sin, np.cos)]

    base = [np.ones(n), hours / n, *(w for length in besides for w in waves(length))]
    without, with_waves = (_left(counts, columns) for columns in (base, base + waves(period)))
    added, free = 2 * _HARMONICS, n - len(base) - 2 * _HARMONICS
    if free <= 0 or without <= 0 or 1 - with_waves / without < _EXPLAINED:
        return False
    ratio = (without - with_waves) / added / max(with_waves / free, 1e-12)
    return bool(stats.f.sf(ratio, added, free) < _CHANCE)


def _left(counts: NDArray[np.float64], columns: list[NDArray[np.float64]]) -> float:
    """Sum of squares that a regression leaves."""
    design = np.stack(columns, axis=1)
    fitted = design @ np.linalg.lstsq(design, counts, rcond=None)[0]
    return float(((counts - fitted) ** 2).sum())
