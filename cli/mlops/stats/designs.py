"""The designs that a test may have, and what each needs: requests, sticky units, pairs.

Symbols as in `planning`, and:
    l      share of requests with a reward
    m      requests of a unit during the test
    c      correlation of two rewards of one unit (intraclass)
    r      correlation of two arms' rewards on one row

    requests   v = var_k / p_k + var_b / p_b; l of the requests count
    units      the same of unit means; a unit counts if any of its requests has a reward, which is
               1 - (1 - l)^m of them, and then has m l / that many
    pairs      v = var_k + var_b - 2 r sd_k sd_b, never less than what two rewards of 0 and 1 with
               that difference leave; every row with a reward counts for both arms

A reward of 0 and 1 has the variance of its mean, in the candidate too. With several candidates
alpha is divided among them, and the plan is for the one with the smallest share.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from scipy.optimize import brentq

from mlops.stats.aipw import overlap
from mlops.stats.difference import bonferroni
from mlops.stats.paired import TIGHTEST_AT as PAIRED_TIGHTEST_AT
from mlops.stats.planning import plan, power, score_variance, unit_variance
from mlops.stats.sequence import TIGHTEST_AT

Kind = Literal["requests", "units", "pairs"]


@dataclass(frozen=True, slots=True)
class Basis:
    """What is known of the traffic and of the reward before a test.

    Attributes:
        mean: Mean reward of the baseline.
        variance: Variance of one reward, positive; of a unit's where `kind` is "units".
        shares: Weight of each arm, the baseline first.
        kind: What the variance and the rate count.
        per_day: Requests, or units, in a day; None if unknown.
        answered: l, in (0, 1].
        binary: Whether a reward is 0 or 1.
        reward_range: Range of the reward; None if it has none.
        visits: m, at least 1; None where units are not known. Used only if `kind` is "units".
        unit_correlation: c, in [0, 1].
        pair_correlation: r, in [0, 1); None where arms cannot be asked about the same rows.
    """

    mean: float
    variance: float
    shares: tuple[float, ...]
    kind: Kind = "requests"
    per_day: float | None = None
    answered: float = 1.0
    binary: bool = False
    reward_range: tuple[float, float] | None = None
    visits: float | None = None
    unit_correlation: float = 0.0
    pair_correlation: float | None = None


@dataclass(frozen=True, slots=True)
class Goal:
    """What a test is to find.

    Attributes:
        lift: Difference of means, positive, in units of reward.
        power: Probability to find it, in (0, 1).
        alpha: Probability of ever naming a false winner, over all arms.
        days: Longest that the test may take.
    """

    lift: float
    power: float = 0.8
    alpha: float = 0.05
    days: float = 28.0


@dataclass(frozen=True, slots=True)
class Design:
    """What one design needs.

    Attributes:
        kind: What counts.
        horizon: Whether the end is declared beforehand.
        observations: Requests, units or rows with a reward, of all arms; None if more than a
            million million.
        days: How long they take; None likewise, or without a rate.
        power: Probability to find the lift in the longest time allowed; None without a rate.
        smallest_lift: Lift that is found with the power asked for in that time; None likewise, or
            if there is none.
        hopeless: Whether it takes longer than allowed.
    """

    kind: Kind
    horizon: bool
    observations: int | None
    days: float | None
    power: float | None
    smallest_lift: float | None
    hopeless: bool


def designs(basis: Basis, goal: Goal) -> tuple[Design, ...]:
    """Plan a test in every design that the basis allows, with and without a horizon.

    Raises:
        ValueError: If a number is out of its range.
    """
    if len(basis.shares) < 2 or min(basis.shares) <= 0 or basis.variance <= 0 or goal.lift <= 0:
        raise ValueError("a plan needs two arms with shares, a variance and a lift, all positive")
    kinds: list[Kind] = [basis.kind]
    if basis.kind == "requests" and basis.visits is not None:
        kinds.append("units")
    if basis.pair_correlation is not None:
        kinds.append("pairs")
    return tuple(_design(basis, goal, kind, end) for kind in kinds for end in (False, True))


def observed_per_day(basis: Basis, kind: Kind) -> float | None:
    """Requests, units or rows with a reward that come in a day; None without a rate.

    >>> observed_per_day(Basis(0.1, 0.09, (0.5, 0.5), per_day=100, answered=0.5, visits=2), "units")
    37.5
    """
    if basis.per_day is None:
        return None
    if kind == "units" and basis.kind == "requests":
        visits = basis.visits or 1.0
        heard: float = 1 - (1 - basis.answered) ** visits
        return basis.per_day / visits * heard
    return basis.per_day * basis.answered


def _design(basis: Basis, goal: Goal, kind: Kind, horizon: bool) -> Design:
    alpha = bonferroni(goal.alpha, len(basis.shares) - 1)
    share, tightest_at = _tuning(basis, kind)
    per_day = observed_per_day(basis, kind)
    scale = _scale(basis, kind)
    found = plan(
        goal.lift, _variance(basis, kind, goal.lift), wanted=goal.power, per_day=per_day,
        patience_days=goal.days, alpha=alpha, horizon=horizon, smallest_share=share,
        tightest_at=tightest_at, scale=scale,
    )  # fmt: skip
    if not per_day:
        return Design(kind, horizon, found.observations, found.days, None, None, found.hopeless)
    seen = per_day * goal.days

    def power_of(lift: float) -> float:
        return power(
            lift, _variance(basis, kind, lift), seen, alpha=alpha, horizon=horizon,
            smallest_share=share, tightest_at=tightest_at, scale=scale,
        )  # fmt: skip

    smallest = _smallest(basis, goal, power_of)
    return Design(
        kind, horizon, found.observations, found.days, power_of(goal.lift), smallest, found.hopeless
    )


def _smallest(basis: Basis, goal: Goal, power_of: Callable[[float], float]) -> float | None:
    """The lift that has the power asked for; None if none that is possible has."""
    most = 1 - basis.mean if basis.binary else 100 * math.sqrt(basis.variance)
    least = 1e-9 * most
    if most <= 0 or power_of(most) < goal.power or power_of(least) >= goal.power:
        return None
    found: float = brentq(lambda lift: power_of(lift) - goal.power, least, most, rtol=1e-6)
    return found


def _tuning(basis: Basis, kind: Kind) -> tuple[float, float]:
    """Share of the smaller arm, and what the sequence is tuned for."""
    return (1.0, PAIRED_TIGHTEST_AT) if kind == "pairs" else (min(basis.shares), TIGHTEST_AT)


def _scale(basis: Basis, kind: Kind) -> float | None:
    """Width of one score's range; pairs are compared without one."""
    if basis.reward_range is None or kind == "pairs":
        return None
    low, high = basis.reward_range
    return (high - low) / float(overlap(basis.shares[0], min(basis.shares[1:])))


def _variance(basis: Basis, kind: Kind, lift: float) -> float:
    """Variance v of one score, for a lift."""
    theirs, ours = basis.variance, basis.variance
    if basis.binary:
        mean = min(basis.mean + lift, 1.0)
        # A model that is always right has no spread; what is planned is not a certainty.
        ours = max(mean * (1 - mean), 1e-3 * theirs)
    if kind == "pairs":
        correlation = basis.pair_correlation or 0.0
        spread = ours + theirs - 2 * correlation * math.sqrt(ours * theirs)
        return max(spread, lift - lift**2) if basis.binary else spread
    if kind == "units" and basis.kind == "requests":
        ours, theirs = (_of_unit(basis, each) for each in (ours, theirs))
    return score_variance((ours, theirs), (min(basis.shares[1:]), basis.shares[0]))


def _of_unit(basis: Basis, variance: float) -> float:
    visits = basis.visits or 1.0
    rewards = visits * basis.answered / (1 - (1 - basis.answered) ** visits)
    return unit_variance(variance, basis.unit_correlation, max(rewards, 1.0))
