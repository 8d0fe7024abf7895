"""Tolerances of seeded simulations, computed from their size."""

from scipy import stats


def most(runs: int, rate: float) -> int:
    """The count that a rate of at most `rate` exceeds in 1 of 100 simulations."""
    return int(stats.binom.ppf(0.99, runs, rate))


def fewest(runs: int, rate: float) -> int:
    """The count that a rate of at least `rate` falls below in 1 of 100 simulations."""
    return int(stats.binom.ppf(0.01, runs, rate))
