"""What missing feedback could hide: bounds, and how few requests would reverse a verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mlops.monitoring.answers import answers_of
from mlops.monitoring.evidence import Evidence
from mlops.monitoring.gates import Bounds
from mlops.monitoring.importance import importance_by_row
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
            Where the probabilities of the arms have changed, requests are weighted by them.
        baseline_answered: The same of the baseline.
        lee: Lower and upper bound for those who answer under either arm, if the arm moves
            every unit's response in one direction; None where an arm has no answer.
        manski: Lower and upper bound whatever those without feedback earned.
        lowest: The lowest reward that one without feedback may have had.
        highest: The highest.
        declared: Whether these two are the range of the reward; else the extremes that came.
        tipping: Share of the leading arm's silent requests, of those that the decision is of,
            which would have to have had the worst reward for it to be open again; None where
            nothing is decided, or not even all of them would do.
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

    None if no feedback is missing, if its reward when missing was declared, or if it is not known
    how many requests an arm had, because all of its decisions were shed.

    Args:
        evidence: All of the experiment.
        bounds: The comparison.
    """
    rules, pair = evidence.spec.attribution, (bounds.candidate, evidence.base)
    if rules.fills_silence or rules.missing == LEFT_OUT or evidence.sums is not None:
        return None
    ours, theirs = answers_of(evidence, pair)
    rates = ours.rate, theirs.rate
    if not all(math.isfinite(rate) for rate in rates):
        return None
    if not (ours.rewards.size and theirs.rewards.size and min(rates) < 1 and max(rates) > 0):
        return None
    ends = evidence.bounds or (float(evidence.rewards.min()), float(evidence.rewards.max()))
    arms = evidence.spec.arms
    lee = None
    if min(rates) > 0:
        lee = lee_bounds(ours.rewards, theirs.rewards, rates, (ours.weights, theirs.weights))
    return SilentReport(
        arm=arms[pair[0]].name,
        baseline=arms[pair[1]].name,
        answered=rates[0],
        baseline_answered=rates[1],
        lee=lee,
        manski=manski_bounds((ours.mean, theirs.mean), rates, ends),
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


def _tipping(evidence: Evidence, bounds: Bounds, ends: Range) -> float | None:
    if bounds.lower <= 0 <= bounds.upper:
        return None
    leader = bounds.candidate if bounds.lower > 0 else evidence.base
    pair = (bounds.candidate, evidence.base)
    its = answers_of(evidence, pair, importance_by_row(evidence, pair))[pair.index(leader)]
    if not its.rewards.size or not its.rate > 0:
        return None
    lead = bounds.lower if bounds.lower > 0 else -bounds.upper
    return tipping_share(lead, its.mean, its.rate, ends[0])
