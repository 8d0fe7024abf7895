"""The verdict: the decision that follows from the evidence. Pure.

    invalid    traffic did not split as declared; no comparison can be trusted
    withheld   the comparison is decided, and a condition that it rests on does not hold
    promote    an arm is better than the baseline
    keep       the baseline is better than every other arm
    equal      no difference worth having, where it was said what is worth having
    not-worse  no arm is worse than the baseline by as much as is worth having
    continue   not decided yet

The rule holds at any number of looks: with probability 1 - alpha no verdict of `promote`, `keep`,
`equal` or `not-worse` is ever wrong, whenever one stops. Bayesian numbers are in the report and
play no part in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from mlops.monitoring.gates import Gate
from mlops.stats.worth import Conclusion

Decision = Literal["promote", "keep", "equal", "not-worse", "continue", "invalid", "withheld"]

#: What a script gets from `mlops report --exit-code`.
EXIT_CODES: dict[Decision, int] = {
    "promote": 0,
    "keep": 10,
    "continue": 11,
    "invalid": 12,
    "withheld": 13,
    "equal": 14,
    "not-worse": 15,
}
#: And where the experiment is over: one model serves alone, and there is nothing to decide.
FINISHED = 16


@dataclass(frozen=True, slots=True)
class Method:
    """How arms are compared.

    Attributes:
        name: The method with its reference.
        because: Why this one, as a clause for after "because".
    """

    name: str
    because: str


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
        remaining_range: Fewest and most of them, given how little the estimate is known; the most
            is None where it may never decide.
        likely: The estimate, shrunken by what usually makes it too large when a test ends.
        worse: Whether it is worse than the baseline at the undivided alpha.
        conclusion: What the interval shows.
        weakest: The assumption that the conclusion rests on most, in numbers; empty without one.
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
    worse: bool = False
    conclusion: Conclusion = "open"
    weakest: str = ""
    remaining_range: tuple[int, int | None] | None = None
    likely: float | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do, and why.

    Attributes:
        decision: See the module.
        winner: The arm to promote or keep; None otherwise.
        reason: One sentence, human-readable.
        method: How it was found.
        because: Why by that method.
        alpha: Probability of ever naming a false winner.
        n: Units with a reward.
        arm: The arm whose comparison decided; while none has, the leading one; None without any.
        baseline: What it is compared with.
        effect: Estimated difference of that comparison: arm minus baseline.
        lower: Its lower bound.
        upper: Its upper bound.
        remaining: More units until a decision is likely; None if unknown or decided.
        weakest: The assumption that it rests on most, in numbers; empty if undecided.
        likely: The effect, shrunken by what usually makes it too large when a test ends.
        withheld: The decision that a gate withholds; None if none does.
        hints: What to do about a broken split, or about the gates that do not hold.
    """

    decision: Decision
    winner: str | None
    reason: str
    method: str
    because: str
    alpha: float
    n: int
    arm: str | None = None
    baseline: str | None = None
    effect: float | None = None
    lower: float | None = None
    upper: float | None = None
    remaining: int | None = None
    weakest: str = ""
    likely: float | None = None
    withheld: Decision | None = None
    hints: tuple[str, ...] = ()


def decide(
    comparisons: Sequence[Comparison],
    *,
    method: Method,
    mismatch: bool,
    mismatch_p: float,
    alpha: float,
    n: int,
    gates: Sequence[Gate] = (),
    units: str = "units",
) -> Verdict:
    """Turn comparisons into a verdict.

    Args:
        comparisons: Every other arm against the baseline; empty for a single arm.
        method: How they were made.
        mismatch: Whether the sample-ratio test rejects.
        mismatch_p: Its anytime-valid p-value.
        alpha: Probability of ever naming a false winner, over all comparisons.
        n: Units with a reward.
        gates: What must hold for it.
        units: What is counted, in the plural.
    """
    verdict = _decide(comparisons, method, mismatch, mismatch_p, alpha, n, units)
    return withhold(verdict, gates)


def withhold(verdict: Verdict, gates: Sequence[Gate]) -> Verdict:
    """Return a verdict that is withheld if one of its gates does not hold."""
    kept = verdict.decision in ("keep", "equal")
    shut = [gate for gate in gates if not gate.passed and not (kept and gate.promotion_only)]
    if verdict.decision in ("continue", "invalid") or not shut:
        return verdict
    return replace(
        verdict,
        decision="withheld",
        winner=None,
        withheld=verdict.decision,
        reason=f"Withheld: {' '.join(gate.text for gate in shut)} Otherwise: {verdict.reason}",
        hints=tuple(gate.hint for gate in shut if gate.hint),
    )


def _decide(
    comparisons: Sequence[Comparison],
    method: Method,
    mismatch: bool,
    mismatch_p: float,
    alpha: float,
    n: int,
    units: str,
) -> Verdict:
    def say(
        decision: Decision, reason: str, winner: str | None = None, by: Comparison | None = None
    ) -> Verdict:
        found = Verdict(decision, winner, reason, method.name, method.because, alpha, n)
        return found if by is None else _with(found, by)

    if mismatch:
        return say(
            "invalid",
            "Sample ratio mismatch (SRM): traffic did not follow the weights, "
            f"p = {mismatch_p:.2g}. Nothing here can be compared.",
        )
    if not comparisons:
        return say("continue", "There is one arm, so nothing to compare.")
    better = [c for c in comparisons if c.lower > 0]
    if better:
        best = max(better, key=lambda c: c.estimate)
        reason = f"`{best.arm}` is better than `{best.baseline}`: {_interval(best)}."
        if len(better) > 1:
            others = ", ".join(f"`{c.arm}`" for c in better if c is not best)
            reason += f" So are {others}; among these the highest estimate was taken."
        return say("promote", reason, best.arm, best)
    if all(c.upper < 0 or c.worse for c in comparisons):
        nearest = max(comparisons, key=lambda c: c.upper)
        reason = f"`{nearest.baseline}` is better than every other arm: {_interval(nearest)}."
        return say("keep", reason, nearest.baseline, nearest)
    conclusions = {c.conclusion for c in comparisons}
    if conclusions <= {"equal", "worse"}:
        nearest = max(comparisons, key=lambda c: c.upper)
        reason = f"No arm is better than `{nearest.baseline}` by as much as is worth having"
        return say("equal", f"{reason}: {_interval(nearest)}.", by=nearest)
    if conclusions <= {"equal", "not worse"}:
        nearest = min(comparisons, key=lambda c: c.lower)
        reason = f"No arm is worse than `{nearest.baseline}` by as much as is worth having"
        return say("not-worse", f"{reason}: {_interval(nearest)}.", by=nearest)
    undecided = [c for c in comparisons if is_open(c)]
    if not undecided:
        return say("continue", _too_early(comparisons))
    ahead = leading(undecided)
    return say("continue", _undecided(ahead, comparisons, units), by=ahead)


def leading(comparisons: Sequence[Comparison]) -> Comparison:
    """Return that of the arm that would be promoted, or is the best candidate for it so far.

    Arms that are shown to be worse, or have no interval yet, lead only where all are so.
    """

    def rank(c: Comparison) -> tuple[bool, bool, float]:
        known = is_known(c)
        return (
            c.lower > 0,
            known and not (c.worse or c.upper < 0),
            c.estimate if known else -math.inf,
        )

    return max(comparisons, key=rank)


def is_known(c: Comparison) -> bool:
    """Whether there is an interval, which the burn-in is before."""
    return not c.waiting_for and all(map(math.isfinite, (c.estimate, c.lower, c.upper)))


def is_open(c: Comparison) -> bool:
    """Whether there is an interval, and it decides nothing."""
    return is_known(c) and c.lower <= 0 <= c.upper and not c.worse


def _too_early(comparisons: Sequence[Comparison]) -> str:
    """Say what is waited for, where no interval is open."""
    early = [c for c in comparisons if not is_known(c)]
    first = next((c for c in early if c.waiting_for), early[0])
    about = "" if len(early) == len(comparisons) else f" for {_names(early)}"
    reason = f"Too early to tell{about}: {first.waiting_for or 'nothing is known yet'}."
    worse = [c for c in comparisons if is_known(c)]
    return f"{reason} Worse than `{first.baseline}`: {_names(worse)}." if worse else reason


def _names(comparisons: Sequence[Comparison]) -> str:
    return ", ".join(f"`{c.arm}`" for c in comparisons)


def _with(verdict: Verdict, by: Comparison) -> Verdict:
    """Add the comparison that it is based on."""
    return replace(
        verdict,
        arm=by.arm,
        baseline=by.baseline,
        effect=by.estimate,
        lower=by.lower,
        upper=by.upper,
        remaining=by.remaining if verdict.decision == "continue" else None,
        weakest="" if verdict.decision == "continue" else by.weakest,
        likely=by.likely,
    )


def _undecided(ahead: Comparison, comparisons: Sequence[Comparison], units: str) -> str:
    if len(comparisons) < 2:
        reason = f"Not decided: {_interval(ahead)} contains 0."
    elif ahead.estimate > 0:
        reason = f"Not decided: `{ahead.arm}` leads, and {_interval(ahead)} contains 0."
    else:
        reason = (
            f"Not decided: no arm is ahead of `{ahead.baseline}`. The nearest is `{ahead.arm}`: "
            f"{_interval(ahead)} contains 0."
        )
    if ahead.remaining:
        reason += f" {forecast(ahead, units)}"
    elif ahead.remaining is None:
        reason += " The arms may be as good as equal."
        if ahead.remaining_range and ahead.remaining_range[0]:
            reason += f" {forecast(ahead, units)}"
    others = [c for c in comparisons if c is not ahead]
    if shown := [c for c in others if c.worse or c.upper < 0]:
        reason += f" Worse than `{ahead.baseline}`: {_names(shown)}."
    if behind := [c for c in others if stands_out(c) and c.estimate < 0]:
        reason += f" Behind so far: {_names(behind)}."
    if early := [c for c in others if not is_known(c)]:
        reason += f" Too early to tell for {_names(early)}."
    return reason


def stands_out(c: Comparison) -> bool:
    """Whether the estimate of an open comparison is more than 1.28 standard errors away from 0.

    At one look: equal arms often are so at some of many.
    """
    return is_open(c) and c.remaining_range is not None and c.remaining_range[1] is not None


def forecast(c: Comparison, units: str = "") -> str:
    """Say how many more units a decision takes, as a sentence.

    First the number to plan with, which takes the estimate for the truth, then its range.
    """
    units = f" {units}" if units else ""
    about = "" if c.remaining is None else f"about {rounded(c.remaining)}"
    if c.remaining_range is None:
        return f"If the estimate is right, {about} more{units} will decide."
    fewest, most = c.remaining_range
    if most is None and not (fewest or about):
        return f"How many more{units or ' units'} it takes cannot be said yet."
    if not about:
        return f"It takes at least {fewest:,} more{units}, possibly far more."
    if most is None:
        span = f"it takes at least {fewest:,}" if fewest else "it may take far fewer"
        span += ", possibly far more"
    elif fewest:
        span = f"between {fewest:,} and {most:,} are likely"
    else:
        span = f"up to {most:,} are likely"
    return f"If the estimate is right, {about} more{units} will decide; {span}."


def rounded(n: int) -> str:
    """Write a number to plan with, which is not known to more than two digits.

    >>> rounded(9_872), rounded(41), rounded(107_150)
    ('9,900', '41', '110,000')
    """
    size = 10 ** max(len(str(n)) - 2, 0)
    return f"{round(n / size) * size:,}"


def _interval(c: Comparison) -> str:
    # A zero has no sign.
    estimate, lower, upper = (value + 0.0 for value in (c.estimate, c.lower, c.upper))
    return f"{c.arm} - {c.baseline} = {estimate:+.4g} reward [{lower:+.4g}, {upper:+.4g}]"
