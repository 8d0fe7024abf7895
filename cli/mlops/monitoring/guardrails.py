"""Metrics that must not get worse while the reward gets better: latency, errors, another reward.

A guardrail has a margin: the loss that would be accepted for a better reward. It passes once the
arm is shown to be worse by less than that (non-inferiority), with the same sequences as the reward,
so that it may be looked at all the time. All must pass before an arm is promoted; none is needed to
keep the baseline. The rule, and why alpha is not divided, is in `mlops.stats.guardrail`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mlops.journal.base import Journal
from mlops.monitoring.comparing import difference
from mlops.monitoring.evidence import Evidence, gather
from mlops.monitoring.gates import Gate
from mlops.rewards.guardrails import ERRORS, LATENCY, OF_REQUESTS, REFUSALS
from mlops.stats.difference import bonferroni
from mlops.stats.guardrail import Guardrail, State

_ALL_ERRORS = (-1.0, 0.0)
# How a metric is written: a factor and a unit.
_SCALES = {LATENCY: (1.0, " ms"), ERRORS: (100.0, " points"), REFUSALS: (100.0, " points")}


@dataclass(frozen=True, slots=True)
class Watched:
    """A guardrail with its evidence.

    Attributes:
        name: `latency_ms`, `errors`, `refusals` or a reward.
        margin: Accepted loss, positive, in units of the metric.
        evidence: Of the metric as a reward: higher is better.
    """

    name: str
    margin: float
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class GuardrailReport:
    """One guardrail of one arm.

    Attributes:
        name: `latency_ms`, `errors`, `refusals` or a reward.
        arm: The arm.
        baseline: What it is compared with.
        n: Units that have the metric.
        estimate: Arm minus baseline, in units of the metric; NaN before the first.
        lower: Anytime-valid lower bound of that, -inf during the burn-in.
        upper: Upper bound.
        margin: Accepted loss, in the direction that is worse.
        state: Whether it is shown that no more than the margin is lost (`passes`), that the arm is
            worse and may lose more (`fails`), or neither (`open`).
    """

    name: str
    arm: str
    baseline: str
    n: int
    estimate: float
    lower: float
    upper: float
    margin: float
    state: State


def watch(
    journal: Journal,
    evidence: Evidence,
    *,
    whole: bool = False,
) -> tuple[Watched, ...]:
    """Gather the evidence of the guardrails that a revision declares.

    Args:
        journal: Where it is; read again for rewards only.
        evidence: Of the experiment.
        whole: As in `gather`.
    """
    if len(evidence.spec.arms) < 2:
        return ()
    baseline = evidence.spec.arms[evidence.base].name
    return tuple(
        Watched(
            name,
            margin,
            _of_requests(evidence, name)
            if name in OF_REQUESTS
            else gather(
                journal, baseline=baseline, whole=whole, now_ms=evidence.now_ms, reward=name
            ),
        )
        for name, margin in evidence.spec.analysis.guardrails
    )


def guardrail_reports(
    watched: Sequence[Watched], arm: str, alpha: float
) -> tuple[GuardrailReport, ...]:
    """Compare an arm with the baseline by every guardrail.

    Args:
        watched: The guardrails.
        arm: Name of the arm.
        alpha: Error probability of the comparison; to be called worse, each has its share of it.
    """
    return tuple(_report(each, arm, alpha, len(watched)) for each in watched)


def guardrail_gates(reports: Sequence[GuardrailReport], arm: str) -> tuple[Gate, ...]:
    """Turn the guardrails of an arm into conditions of its promotion."""
    return tuple(
        Gate(
            "guardrail", each.state == "passes", None, _text(each), _HINTS[each.state],
            promotion_only=True,
        )
        for each in reports
        if each.arm == arm
    )  # fmt: skip


_HINTS: dict[State, str] = {
    "passes": "",
    "fails": "Mend the arm; or, where such a loss is acceptable, widen the margin in `[report] "
    "guardrails` before the next test.",
    "open": "Let it run: the guardrail needs more requests than the reward.",
}


def _of_requests(evidence: Evidence, name: str) -> Evidence:
    """Evidence in which a metric of all requests is the reward, with or without feedback."""
    asked = evidence.everybody
    assert asked is not None, "a guardrail of requests asks for each of them"
    values = {LATENCY: asked.latency_ms, ERRORS: asked.errors, REFUSALS: asked.refusals}[name]
    return replace(
        evidence,
        # A horizon is one of units with a reward.
        spec=replace(evidence.spec, reward="given", reward_range=None, horizon=0, horizon_days=0.0),
        bounds=None if name == LATENCY else _ALL_ERRORS,
        arms=asked.arms,
        rewards=-values,
        propensities=asked.propensities,
        strata=asked.strata,
        times_ms=asked.times_ms,
    )


def _report(watched: Watched, arm: str, alpha: float, guardrails: int) -> GuardrailReport:
    evidence = watched.evidence
    candidate, n = evidence.spec.index_of(arm), evidence.arms.size
    baseline = evidence.spec.arms[evidence.base].name
    if not n:
        unknown = (math.nan, -math.inf, math.inf)
        return GuardrailReport(
            watched.name, arm, baseline, 0, *unknown, watched.margin, state="open"
        )
    found = difference(evidence, candidate, alpha)
    estimate, lower, upper = (
        float(each[-1]) for each in (found.estimate, found.lower, found.upper)
    )
    strict = upper
    if guardrails > 1:
        strict = float(difference(evidence, candidate, bonferroni(alpha, guardrails)).upper[-1])
    state = Guardrail(watched.name, lower, strict, watched.margin).state()
    if watched.name in OF_REQUESTS:
        # Not -0.0, which is printed as that.
        estimate, lower, upper = 0.0 - estimate, -upper, -lower
    return GuardrailReport(
        watched.name, arm, baseline, n, estimate, lower, upper, watched.margin, state
    )


def _text(found: GuardrailReport) -> str:
    if not math.isfinite(found.lower) or not math.isfinite(found.upper):
        return (
            f"Guardrail `{found.name}`: not known yet for `{found.arm}`, after {found.n:,} units."
        )
    sign = 1 if found.name in OF_REQUESTS else -1
    scale, unit = _SCALES.get(found.name, (1.0, ""))
    margin = f"{scale * sign * found.margin:+.3g}{unit}"
    measured = (
        f"Guardrail `{found.name}`: `{found.arm}` - `{found.baseline}` = "
        f"{scale * found.estimate:+.3g}{unit} [{scale * found.lower:+.3g}, "
        f"{scale * found.upper:+.3g}]"
    )
    ends: dict[State, str] = {
        "passes": f"inside the margin of {margin}",
        "fails": f"worse, and the margin of {margin} is not kept",
        "open": f"not shown yet to keep the margin of {margin}",
    }
    return f"{measured}, {ends[found.state]}."
