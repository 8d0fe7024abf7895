"""The verdict: what the evidence says should be done. Pure.

    invalid    traffic did not split as promised; no comparison can be trusted
    promote    an arm is better than the baseline
    keep       the baseline is better than every other arm
    continue   not decided yet

The rule holds at any number of looks: with probability 1 - alpha no verdict of `promote` or `keep`
is ever wrong, whenever one stops. Bayesian numbers stand in the report and play no part in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Decision = Literal["promote", "keep", "continue", "invalid"]

#: What a script gets from `mlops report --exit-code`.
EXIT_CODES: dict[Decision, int] = {"promote": 0, "keep": 10, "continue": 11, "invalid": 12}

METHOD = (
    "anytime-valid asymptotic confidence sequence of the propensity-weighted difference"
    " (Waudby-Smith et al. 2021, arXiv:2103.06476)"
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One arm against the baseline.

    Attributes:
        arm: Name of the arm.
        baseline: Name of the baseline.
        n: Units with a reward, of all arms.
        estimate: Mean reward of the arm minus that of the baseline; NaN before the first.
        lower: Anytime-valid lower bound, -inf during the burn-in.
        upper: Anytime-valid upper bound, inf during the burn-in.
        p_value: Anytime-valid p-value against no difference.
        alpha: Its share of the error probability.
        waiting_for: What the burn-in still needs, None once it is over.
        remaining: More units until it decides, if the estimate were true; None if unknown.
    """

    arm: str
    baseline: str
    n: int
    estimate: float
    lower: float
    upper: float
    p_value: float
    alpha: float
    waiting_for: str | None
    remaining: int | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do, and why.

    Attributes:
        decision: See the module.
        winner: The arm to promote or keep; None otherwise.
        reason: One sentence for people.
        method: How it was found.
        alpha: Probability of ever naming a false winner.
        n: Units with a reward.
        effect: Estimated difference of the deciding comparison; None without one.
        lower: Its lower bound.
        upper: Its upper bound.
        remaining: More units until a decision is likely; None if unknown or decided.
    """

    decision: Decision
    winner: str | None
    reason: str
    method: str
    alpha: float
    n: int
    effect: float | None = None
    lower: float | None = None
    upper: float | None = None
    remaining: int | None = None


def decide(
    comparisons: Sequence[Comparison], *, mismatch: bool, mismatch_p: float, alpha: float, n: int
) -> Verdict:
    """Turn comparisons into a verdict.

    Args:
        comparisons: Every other arm against the baseline; empty for a single arm.
        mismatch: Whether the sample-ratio test rejects.
        mismatch_p: Its anytime-valid p-value.
        alpha: Probability of ever naming a false winner, over all comparisons.
        n: Units with a reward.
    """
    if mismatch:
        reason = (
            f"Traffic did not split as promised (sample ratio, p = {mismatch_p:.2g}): find out why "
            "before you compare anything."
        )
        return Verdict("invalid", None, reason, METHOD, alpha, n)
    if not comparisons:
        return Verdict(
            "continue", None, "There is one arm, so nothing to compare.", METHOD, alpha, n
        )
    better = [c for c in comparisons if c.lower > 0]
    if better:
        best = max(better, key=lambda c: c.estimate)
        reason = f"`{best.arm}` is better than `{best.baseline}`: {_interval(best)}."
        if len(better) > 1:
            others = ", ".join(f"`{c.arm}`" for c in better if c is not best)
            reason += f" So are {others}; among these the highest estimate was taken."
        return _decided("promote", best.arm, reason, best, alpha, n)
    if all(c.upper < 0 for c in comparisons):
        nearest = max(comparisons, key=lambda c: c.upper)
        reason = f"`{nearest.baseline}` is better than every other arm: {_interval(nearest)}."
        return _decided("keep", nearest.baseline, reason, nearest, alpha, n)
    return _undecided(comparisons, alpha, n)


def _undecided(comparisons: Sequence[Comparison], alpha: float, n: int) -> Verdict:
    waiting = [c for c in comparisons if c.waiting_for]
    if waiting:
        reason = f"Too early to tell: {waiting[0].waiting_for}."
        return Verdict("continue", None, reason, METHOD, alpha, n)
    # Arms that are worse for certain are out; the others keep it open.
    nearest = min((c for c in comparisons if c.upper >= 0), key=lambda c: c.p_value)
    reason = f"Not decided: {_interval(nearest)} contains 0."
    if nearest.remaining:
        reason += f" If the estimate is right, about {nearest.remaining:,} more will decide."
    elif nearest.remaining is None:
        reason += " The arms may be as good as equal."
    return Verdict(
        "continue", None, reason, METHOD, alpha, n,
        nearest.estimate, nearest.lower, nearest.upper, nearest.remaining,
    )  # fmt: skip


def _decided(
    decision: Decision, winner: str, reason: str, by: Comparison, alpha: float, n: int
) -> Verdict:
    return Verdict(
        decision, winner, reason, METHOD, alpha, n, by.estimate, by.lower, by.upper, None
    )


def _interval(c: Comparison) -> str:
    return f"{c.arm} - {c.baseline} = {c.estimate:+.4g} reward [{c.lower:+.4g}, {c.upper:+.4g}]"
