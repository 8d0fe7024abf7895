"""Fixed-horizon tools: valid for one look at a sample size chosen in advance, and for planning.

Symbols:
    n, mean, var   outcomes, their mean and sample variance, per arm
    z              normal quantile
    q              observed proportion

Looking repeatedly and stopping at the first significance makes 28 % of A/A tests "significant" at 5
% (30 looks): use `difference` for anything that is watched.
"""

import math
from dataclasses import dataclass

from scipy import stats


@dataclass(frozen=True, slots=True)
class Sample:
    """Sufficient statistics of one arm: outcomes, mean, and sample variance (divisor n - 1)."""

    n: int
    mean: float
    variance: float


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and its bounds, in the units of the estimate."""

    estimate: float
    lower: float
    upper: float


def welch_interval(candidate: Sample, baseline: Sample, *, alpha: float = 0.05) -> Interval:
    """Interval of the difference of means with unequal variances (Welch, Biometrika 34, 1947).

    Raises:
        ValueError: If an arm has fewer than two outcomes.

    >>> welch_interval(Sample(50, 5.2, 1.0), Sample(50, 5.0, 1.0)).lower < 0
    True
    """
    if min(candidate.n, baseline.n) < 2:
        raise ValueError(f"needs two outcomes per arm, got {candidate.n} and {baseline.n}")
    estimate = candidate.mean - baseline.mean
    parts = [arm.variance / arm.n for arm in (candidate, baseline)]
    squared = sum(parts)
    if squared == 0:
        return Interval(estimate, estimate, estimate)
    spread = sum(
        part**2 / (arm.n - 1) for part, arm in zip(parts, (candidate, baseline), strict=True)
    )
    width = float(stats.t.ppf(1 - alpha / 2, squared**2 / spread)) * math.sqrt(squared)
    return Interval(estimate, estimate - width, estimate + width)


def wilson_interval(successes: int, n: int, *, alpha: float = 0.05) -> Interval:
    """Interval of a proportion by the score test (Wilson, JASA 22, 1927); sound near 0 and 1.

    Args:
        successes: Outcomes equal to 1.
        n: Outcomes; with none the interval is [0, 1] and the estimate nan.
        alpha: One minus the coverage.

    Raises:
        ValueError: If successes are not in [0, n].

    >>> found = wilson_interval(0, 10)
    >>> round(found.lower, 3), round(found.upper, 3)
    (0.0, 0.278)
    """
    if not 0 <= successes <= n:
        raise ValueError(f"successes must be in [0, {n}], got {successes}")
    if n == 0:
        return Interval(math.nan, 0.0, 1.0)
    q, z = successes / n, _z(1 - alpha / 2)
    shrink = 1 + z**2 / n
    centre = (q + z**2 / (2 * n)) / shrink
    width = z * math.sqrt(q * (1 - q) / n + z**2 / (4 * n**2)) / shrink
    return Interval(q, max(centre - width, 0.0), min(centre + width, 1.0))


def power(
    effect: float,
    variances: tuple[float, float],
    n: int,
    *,
    share: float = 0.5,
    alpha: float = 0.05,
) -> float:
    """Probability that a two-sided z-test at n observations finds the effect.

    Args:
        effect: True difference of means, candidate minus baseline.
        variances: Of one outcome of the candidate, and of the baseline.
        n: Observations in both arms together.
        share: Part of them that the candidate gets, in (0, 1).
        alpha: Level of the test.

    >>> round(power(0.2, (1.0, 1.0), 1000), 3)
    0.885
    """
    ours, theirs = variances
    shift = abs(effect) / math.sqrt(ours / (n * share) + theirs / (n * (1 - share)))
    z = _z(1 - alpha / 2)
    return float(stats.norm.cdf(shift - z) + stats.norm.cdf(-shift - z))


def sample_size(
    effect: float,
    variances: tuple[float, float],
    *,
    share: float = 0.5,
    alpha: float = 0.05,
    wanted_power: float = 0.9,
) -> int:
    """Observations in both arms together for a two-sided z-test to find the effect.

    Args:
        effect: True difference of means, not 0.
        variances: Of one outcome of the candidate, and of the baseline.
        share: Part that the candidate gets, in (0, 1).
        alpha: Level of the test.
        wanted_power: Probability of finding it, in (alpha, 1).

    Raises:
        ValueError: If the effect is 0.

    >>> sample_size(0.2, (1.0, 1.0))
    1051
    """
    if effect == 0:
        raise ValueError("no sample finds an effect of 0")
    ours, theirs = variances
    per_observation = ours / share + theirs / (1 - share)
    z = _z(1 - alpha / 2) + _z(wanted_power)
    return math.ceil(per_observation * (z / effect) ** 2)


def _z(probability: float) -> float:
    """Normal quantile."""
    return float(stats.norm.ppf(probability))
