"""What missing feedback could hide: bounds, and how few requests would reverse a verdict."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlops.monitoring.evidence import Evidence
from mlops.monitoring.gates import Bounds
from mlops.rewards import Range
from mlops.spec.attribution import LEFT_OUT
from mlops.stats.missing import lee_bounds, manski_bounds, tipping_share


@dataclass(frozen=True, slots=True)
class SilentReport:
    """The difference of an arm to the baseline over all requests, also those without feedback.

    No sampling error is in the bounds: they say what is not known however many requests come.

    Attributes:
        arm: The arm.
        baseline: What it is compared with.
        answered: Share of the arm's requests with feedback, whose window has closed, in [0, 1].
        baseline_answered: The same of the baseline.
        lee: Lower and upper bound for those who answer under either arm, if the arm moves
            every unit's response in one direction; None where an arm has no answer.
        manski: Lower and upper bound whatever those without feedback earned.
        lowest: The lowest reward that one without feedback may have had.
        highest: The highest.
        declared: Whether these two are the range of the reward; else the extremes that came.
        tipping: Share of the leading arm's silent requests which would have to have had the worst
            reward for a decision to be open again; None where nothing is decided, or not even all
            of them would do.
    """

    arm: str
    baseline: str
    answered: float
    baseline_answered: float
    lee: tuple[float, float] | None
    manski: tuple[float, float]
    lowest: float
    highest: float
    declared: bool
    tipping: float | None = None


def silent_report(evidence: Evidence, bounds: Bounds) -> SilentReport | None:
    """Bound a comparison by what requests without feedback may have earned.

    None if no feedback is missing, or if its reward when missing was declared.

    Args:
        evidence: All of the experiment.
        bounds: The comparison.
    """
    rules, pair = evidence.spec.attribution, _pair(evidence, bounds)
    if rules.fills_silence or rules.missing == LEFT_OUT or evidence.sums is not None:
        return None
    rates = [evidence.asked.answer_rate(arm) for arm in pair]
    known = [evidence.arms == arm for arm in pair]
    if not evidence.arms.size or max(rates, default=1.0) <= 0 or min(rates) >= 1:
        return None
    if not all(own.any() for own in known) or not evidence.asked.n:
        return None
    ends = evidence.bounds or (float(evidence.rewards.min()), float(evidence.rewards.max()))
    arms = evidence.spec.arms
    lee, manski = _over_revisions(evidence, pair, ends)
    return SilentReport(
        arm=arms[pair[0]].name,
        baseline=arms[pair[1]].name,
        answered=rates[0],
        baseline_answered=rates[1],
        lee=lee,
        manski=manski,
        lowest=ends[0],
        highest=ends[1],
        declared=evidence.bounds is not None,
        tipping=_tipping(evidence, bounds, ends),
    )


def in_a_sentence(found: SilentReport, bounds: Bounds) -> str:
    """Say how few silent requests would open a decision again; empty where that is not known."""
    if found.tipping is None:
        return ""
    leader = found.arm if bounds.lower > 0 else found.baseline
    return (
        f"If {100 * found.tipping:.2g} % of the requests of `{leader}` without feedback had a "
        f"reward of {found.lowest:.3g}, this would be undecided."
    )


def _pair(evidence: Evidence, bounds: Bounds) -> tuple[int, int]:
    return bounds.candidate, evidence.base


def _over_revisions(
    evidence: Evidence, pair: tuple[int, int], ends: Range
) -> tuple[tuple[float, float] | None, tuple[float, float]]:
    """Bounds of Lee and of Manski in each policy epoch, averaged by its requests.

    Pooled they would mix the weights of one with the base rate of another.
    """
    lee, manski, sizes = [], [], []
    for stratum in range(len(evidence.weights)):
        ours, theirs = (
            evidence.rewards[(evidence.arms == arm) & (evidence.strata == stratum)] for arm in pair
        )
        first, second = (evidence.asked.answer_rate(arm, stratum) for arm in pair)
        rates = first, second
        if not ours.size or not theirs.size or min(rates) <= 0:
            continue
        lee.append(lee_bounds(ours, theirs, rates))
        manski.append(manski_bounds((float(ours.mean()), float(theirs.mean())), rates, ends))
        sizes.append(float(evidence.asked.all[stratum].sum()))
    if not sizes or not sum(sizes):
        width = ends[1] - ends[0]
        return None, (-width, width)
    return _average(lee, sizes), _average(manski, sizes)


def _average(bounds: list[tuple[float, float]], sizes: list[float]) -> tuple[float, float]:
    low, high = np.average(np.array(bounds), axis=0, weights=sizes).tolist()
    return low, high


def _tipping(evidence: Evidence, bounds: Bounds, ends: Range) -> float | None:
    if bounds.lower <= 0 <= bounds.upper:
        return None
    leader = bounds.candidate if bounds.lower > 0 else evidence.base
    rewards: NDArray[np.float64] = evidence.rewards[evidence.arms == leader]
    rate = evidence.asked.answer_rate(leader)
    if not rewards.size or rate <= 0:
        return None
    lead = bounds.lower if bounds.lower > 0 else -bounds.upper
    return tipping_share(lead, float(rewards.mean()), rate, ends[0])
