"""Each arm against the baseline, now and at every look before."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlops.monitoring.evidence import Evidence
from mlops.monitoring.importance import importance_by_row
from mlops.monitoring.methods import ASYMPTOTIC, BOUNDED, PLANNED
from mlops.monitoring.verdict import Comparison, Method
from mlops.stats.aipw import WARM_UP
from mlops.stats.bounded import bounded_difference_sequence
from mlops.stats.burn_in import MIN_OUTCOMES
from mlops.stats.difference import bonferroni, difference_sequence
from mlops.stats.sample_size import remaining_observations, remaining_range, shrunken
from mlops.stats.sequence import ConfidenceSequence
from mlops.stats.weakest import turning_loss
from mlops.stats.worth import conclude

_LOOKS = 9
_DAY_MS, _WEEK_DAYS = 86_400_000, 7.0
# Parts of a planned time from which its number of units is estimated.
_FIRST_QUARTER, _FIRST_HALF = 0.25, 0.5


@dataclass(frozen=True, slots=True)
class Look:
    """The comparison after n units.

    Attributes:
        n: Units with a reward.
        time_ms: When the last of them arrived, milliseconds since 1970 in UTC.
        estimate: Estimated difference to the baseline.
        lower: Lower bound, -inf during the burn-in.
        upper: Upper bound.
    """

    n: int
    time_ms: int
    estimate: float
    lower: float
    upper: float


def method_of(evidence: Evidence) -> Method:
    """Say how the arms of an experiment are compared.

    To a planned end where there is one, else exactly where the reward has a range.
    """
    if evidence.spec.has_end:
        days, units = evidence.spec.horizon_days, planned_units(evidence)
        end = f"{units:,}" if not days else f"{days:g} days"
        if days and units:
            end += f", {units:,} at the rate of their first part,"
        return Method(PLANNED, f"a horizon of {end} was declared at deployment")
    if evidence.adjusted:
        return Method(
            ASYMPTOTIC, f"rewards are adjusted by `{evidence.adjusted}`, known before the draw"
        )
    if evidence.spec.analysis.per:
        return Method(ASYMPTOTIC, f"sums of rewards per {evidence.spec.analysis.per} have no range")
    if evidence.bounds is None:
        return Method(ASYMPTOTIC, f"the reward `{evidence.spec.reward}` has no declared range")
    low, high = evidence.bounds
    declared = "is declared to be" if evidence.spec.reward_range else "is always"
    return Method(BOUNDED, f"the reward `{evidence.spec.reward}` {declared} in [{low:g}, {high:g}]")


def difference(evidence: Evidence, candidate: int, alpha: float) -> ConfidenceSequence:
    """Compare an arm of an experiment, given by position, with the baseline at every look."""
    pair = (candidate, evidence.base)
    if evidence.bounds is None or evidence.spec.has_end:
        found = difference_sequence(
            evidence.arms, evidence.rewards, evidence.propensities,
            candidate=candidate, baseline=evidence.base,
            importance=importance(evidence, pair),
            shares=(_share(evidence, candidate), _share(evidence, evidence.base)), alpha=alpha,
            horizon=_horizon(evidence, pair),
        )  # fmt: skip
        if evidence.bounds is None:
            return found
        low, high = evidence.bounds
        return found.within(low - high, high - low)
    return bounded_difference_sequence(
        evidence.arms, evidence.rewards, evidence.propensities,
        candidate=candidate, baseline=evidence.base,
        reward_range=evidence.bounds, importance=_overlap(evidence, pair), alpha=alpha,
    )  # fmt: skip


def look(evidence: Evidence, found: ConfidenceSequence, index: int) -> Look:
    """Return the comparison after the unit at `index`."""
    return Look(
        n=index + 1,
        time_ms=int(evidence.times_ms[index]),
        estimate=float(found.estimate[index]),
        lower=float(found.lower[index]),
        upper=float(found.upper[index]),
    )


def importance(evidence: Evidence, arms: Sequence[int]) -> NDArray[np.float64] | float:
    """Weight periods of different weights by the precision they add for these arms."""
    if len(np.unique(evidence.weights, axis=0)) < 2 or not evidence.arms.size:
        return 1.0
    return _overlap(evidence, arms)


def _overlap(evidence: Evidence, arms: Sequence[int]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = importance_by_row(evidence, arms)[evidence.strata]
    return found


def _share(evidence: Evidence, arm: int) -> NDArray[np.float64]:
    share: NDArray[np.float64] = evidence.weights[evidence.strata, arm]
    return share


def planned_units(evidence: Evidence) -> int | None:
    """How many units the planned end has; None without one, and while that is not known.

    An end in days has as many as its first part predicts (half of it, or a quarter where that is a
    week at least), counted regardless of their rewards, and fixed from then on. Whether more
    come later than that does not matter, since nothing is learned past the end.
    """
    days, times = evidence.spec.horizon_days, evidence.times_ms
    if not days:
        return evidence.spec.horizon or None
    if not times.size:
        return None
    part = min(_FIRST_HALF, max(_FIRST_QUARTER, _WEEK_DAYS / days))
    known_ms = int(times[0]) + part * days * _DAY_MS
    if evidence.now_ms < known_ms + evidence.spec.attribution.window_s * 1000:
        return None
    return max(round(np.searchsorted(times, known_ms, side="right") / part), 1)


def _horizon(evidence: Evidence, pair: Sequence[int]) -> float | None:
    """The planned sum of importance: that of the planned units under the first weights."""
    if not evidence.spec.has_end:
        return None
    units = planned_units(evidence)
    first = importance(evidence, pair)
    return (units or math.inf) * (first if isinstance(first, float) else float(first[0]))


def compare(
    evidence: Evidence, alpha: float, worth: float | None = None
) -> tuple[tuple[Comparison, ...], tuple[tuple[Look, ...], ...], tuple[ConfidenceSequence, ...]]:
    """Compare every other arm of an experiment with the baseline, and say how that developed.

    Args:
        evidence: All of the experiment.
        alpha: Probability of ever naming a false winner, over all comparisons.
        worth: The smallest difference worth having, in units of reward; None for none declared.
    """
    arms, base = evidence.spec.arms, evidence.base
    others = [index for index in range(len(arms)) if index != base]
    comparisons, looks, sequences = [], [], []
    for candidate in others:
        share = bonferroni(alpha, len(others))
        found = difference(evidence, candidate, share)
        last = evidence.arms.size - 1
        lower = float(found.lower[last]) if last >= 0 else -math.inf
        upper = float(found.upper[last]) if last >= 0 else math.inf
        comparisons.append(
            Comparison(
                arm=arms[candidate].name,
                baseline=arms[base].name,
                n=evidence.arms.size,
                estimate=float(found.estimate[last]) if last >= 0 else math.nan,
                lower=lower,
                upper=upper,
                p_value=float(found.p_value[last]) if last >= 0 else 1.0,
                alpha=share,
                waiting_for=_waiting_for(found, evidence),
                remaining=_remaining(evidence, candidate, found.estimate, share),
                remaining_range=_remaining_range(evidence, candidate, found.estimate, share),
                likely=_likely(found),
                worse=upper < 0 or _is_worse(evidence, candidate, alpha, len(others)),
                conclusion=conclude(lower, upper, worth),
                weakest=_weakest(evidence, candidate, found),
            )
        )
        picked = _looks_at(evidence.arms.size)
        looks.append(tuple(look(evidence, found, index) for index in picked))
        sequences.append(found)
    return tuple(comparisons), tuple(looks), tuple(sequences)


def _is_worse(evidence: Evidence, candidate: int, alpha: float, comparisons: int) -> bool:
    """Whether an arm is worse than the baseline, without a share of alpha for each arm.

    That all are is an intersection-union test, see `mlops.stats.worth`.
    """
    if comparisons < 2 or not evidence.arms.size:
        return False
    return bool(difference(evidence, candidate, alpha).upper[-1] < 0)


def _weakest(evidence: Evidence, candidate: int, found: ConfidenceSequence) -> str:
    """Say what unseen event would reverse a decision; nothing where the reward has a range."""
    shares = evidence.weights[-1, candidate], evidence.weights[-1, evidence.base]
    if min(shares) <= 0 or evidence.spec.has_end or found.opening is None:
        return ""
    pair = (candidate, evidence.base)
    weight = importance(evidence, pair)
    turning = turning_loss(
        found,
        (float(shares[0]), float(shares[1])),
        importance=weight if isinstance(weight, float) else float(weight[-1]),
    )
    if turning is None:
        return ""
    better = found.lower[-1] > 0
    names = [evidence.spec.arms[arm].name for arm in pair]
    leader = names[0] if better else names[1]
    return (
        f"One loss of {turning.loss:.3g} by `{leader}` among the next {turning.within:,} would "
        f"turn this; what is rarer than 1 in {1 / turning.unseen_rate:,.0f} may be unseen so far."
    )


def _waiting_for(found: ConfidenceSequence, evidence: Evidence) -> str | None:
    """Say why there is no interval yet, with names of arms instead of their positions."""
    if evidence.spec.has_end and planned_units(evidence) is None:
        return "needs the first part of its planned time, to know how many requests all of it has"
    waiting_for = found.waiting_for
    if waiting_for is None:
        if found.ready[-1:].any():
            return None
        return f"needs more than {WARM_UP} outcomes, and has {evidence.arms.size}"
    for index in reversed(range(len(evidence.spec.arms))):
        waiting_for = waiting_for.replace(f"arm {index}", f"`{evidence.spec.arms[index].name}`")
    return waiting_for + _cure(found, evidence)


def _cure(found: ConfidenceSequence, evidence: Evidence) -> str:
    """Say what helps if an arm's outcomes are many and alike, as those of a perfect one."""
    opening = found.opening
    if (
        opening is None
        or evidence.bounds is not None
        or evidence.adjusted
        or not evidence.arms.size
    ):
        return ""
    if float(opening.smallest()[-1]) < MIN_OUTCOMES:
        return ""
    unit = bool(((evidence.rewards >= 0) & (evidence.rewards <= 1)).all())
    return (
        f". If the reward has a range, declare it: `mlops deploy … --reward-range "
        f"{'0..1' if unit else 'LOW..HIGH'}` begins an experiment that needs no such wait"
    )


def _looks_at(n: int) -> list[int]:
    """Positions of a few looks, evenly spread on a logarithmic scale; the last is n - 1."""
    if not n:
        return []
    return sorted({round(n ** (k / _LOOKS)) - 1 for k in range(_LOOKS // 2, _LOOKS + 1)})


def _likely(found: ConfidenceSequence) -> float | None:
    """The difference without most of the selection bias at stopping."""
    if found.opening is None or not found.ready[-1:].any():
        return None
    precision = float(found.precision[-1])
    if not math.isfinite(precision):
        return None
    return shrunken(float(found.estimate[-1]), float(found.variance[-1]), precision)


_Spread = tuple[tuple[float, float], tuple[float, float]]


def _remaining(
    evidence: Evidence, candidate: int, estimate: NDArray[np.float64], alpha: float
) -> int | None:
    spread = _spread(evidence, candidate, estimate)
    if spread is None:
        return None
    return remaining_observations(
        float(estimate[-1]), *spread, evidence.arms.size,
        reward_range=evidence.bounds, alpha=alpha,
    )  # fmt: skip


def _remaining_range(
    evidence: Evidence, candidate: int, estimate: NDArray[np.float64], alpha: float
) -> tuple[int, int | None] | None:
    spread = _spread(evidence, candidate, estimate)
    if spread is None:
        return None
    return remaining_range(
        float(estimate[-1]), *spread, evidence.arms.size,
        reward_range=evidence.bounds, alpha=alpha,
    )  # fmt: skip


def _spread(evidence: Evidence, candidate: int, estimate: NDArray[np.float64]) -> _Spread | None:
    """Variances and shares of the two arms; None if a forecast is not meaningful."""
    variances = []
    for arm in (candidate, evidence.base):
        rewards = evidence.rewards[evidence.arms == arm]
        variances.append(float(rewards.var(ddof=1)) if rewards.size > 1 else 0.0)
    weights = evidence.weights[-1]
    shares = (float(weights[candidate]), float(weights[evidence.base]))
    known = max(variances) > 0 and min(shares) > 0 and bool(np.isfinite(estimate[-1:]).all())
    return ((variances[0], variances[1]), shares) if known else None
