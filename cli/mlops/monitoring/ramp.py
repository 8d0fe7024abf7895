"""One look at a canary's ramp: continue, wait, or take it back.

Symbols:
    E_gs   e-value of guardrail g against the canary being no worse, from step s on
    K      steps of the ramp, G guardrails

    roll back   mean over g of mean over s of E_gs >= 1 / alpha, where E_gs is 1 for steps to come
    go on       every guardrail is shown to be kept, each at level alpha

Rolling back asks whether any guardrail is broken, so error must not add up over them: the average
of e-values is an e-value whatever their dependence, and its threshold is never harder to reach than
that of Bonferroni (Vovk, Wang, "E-values: calibration, combination and applications", Ann. Stat.
49, 2021). It also averages over when the canary begins to be worse, as under more load. So it is
rolled back, ever, with probability at most alpha where it is no worse (Ville). Going on asks
whether all are kept, an intersection-union test, and alpha is not divided (Schultzberg et al.,
arXiv 2402.11609). A guardrail that is shown to be kept is no evidence for a rollback: what is lost
is less than what was declared to be acceptable.

Evidence is that of all steps, by the weights of each; a sticky unit counts once, in the step it met
first. A mismatch of the sample ratio makes this invalid, and nothing is moved.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from mlops.errors import ConflictError, NotFoundError
from mlops.journal.base import Journal
from mlops.journal.records import RevisionEvent
from mlops.journal.terms import is_spec
from mlops.monitoring.evidence import Evidence, gather
from mlops.monitoring.guardrails import (
    GuardrailReport,
    Watched,
    evidence_against,
    guardrail_reports,
    guardrail_text,
    watch,
)
from mlops.monitoring.split_words import counts_text
from mlops.spec.deployment import DeploymentSpec, from_dict
from mlops.spec.ramp import ALL, Ramp
from mlops.stats.sample_ratio import ALPHA as SAMPLE_RATIO_ALPHA
from mlops.stats.sample_ratio import largest_evidence, latched_at

#: The result of a look. `done` is the end of a ramp that leaves the rest to the verdict.
Decision = Literal["advance", "finish", "wait", "roll back", "withhold", "done"]
#: Units that the canary answers at least in each step.
MIN_UNITS = 30
_BASE, _CANARY = 0, 1


@dataclass(frozen=True, slots=True)
class RampLook:
    """What a look at a ramp found.

    Attributes:
        name: Of the deployment.
        revision: The live revision.
        baseline: Name of the baseline.
        canary: Name of the canary.
        steps: Of the ramp, per cent.
        percent: Share of the canary now, per cent.
        next_percent: Share after this step; None after the last.
        since_ms: When the step began, milliseconds since 1970 in UTC.
        due_ms: When it may end.
        now_ms: When the look was taken.
        units: Units that the canary answered in this step.
        alpha: Probability of ever taking back a canary that is not worse.
        evidence: E-value against all guardrails being kept; it is rolled back from 1 / alpha on.
        guardrails: Each of them; `evidence` there is its share of that.
        sample_ratio: Anytime-valid p-value of the test of the sample ratio: the smallest so far.
        decision: What to do.
        reason: Why, as a sentence.
        seen: Units of all steps of the baseline, and of the canary; empty where not known.
        expected: How many that should be by the weights.
    """

    name: str
    revision: int
    baseline: str
    canary: str
    steps: tuple[float, ...]
    percent: float
    next_percent: float | None
    since_ms: int
    due_ms: int
    now_ms: int
    units: int
    alpha: float
    evidence: float
    guardrails: tuple[GuardrailReport, ...]
    sample_ratio: float
    decision: Decision = "wait"
    reason: str = ""
    seen: tuple[int, ...] = ()
    expected: tuple[float, ...] = ()


def look_at_ramp(journal: Journal, *, now_ms: int | None = None) -> RampLook:
    """Look at the ramp that is live.

    Args:
        journal: Where the evidence is; only read.
        now_ms: When the look is taken, milliseconds since 1970 in UTC; now by default.

    Raises:
        NotFoundError: Nothing was ever deployed with this journal.
        ConflictError: What is live has no ramp.
    """
    now_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    revision, spec, ramp, steps = _steps(journal.revision_events())
    evidence = gather(journal, now_ms=now_ms)
    watched = [_at_any_look(each) for each in watch(journal, evidence)]
    canary = spec.arms[_CANARY]
    taken = [_from_step(each, steps) for each in watched]
    reports = guardrail_reports(taken, canary.name, ramp.alpha)
    shown = tuple(
        replace(each, evidence=_evidence(its, canary.name, steps, ramp))
        for each, its in zip(reports, taken, strict=True)
    )
    rows = [number == revision for number, _ in evidence.epochs]
    own = np.array([number in steps for number, _ in evidence.epochs], dtype=bool)
    seen, expected = evidence.asked.split(evidence.weights, own)
    percent = 100 * canary.weight
    since_ms = steps[revision]
    found = RampLook(
        name=spec.name,
        revision=revision,
        baseline=spec.arms[_BASE].name,
        canary=canary.name,
        steps=ramp.steps,
        percent=round(percent, 6),
        next_percent=ramp.next_after(ramp.step_of(canary.weight)),
        since_ms=since_ms,
        due_ms=since_ms + round(1000 * ramp.every_s),
        now_ms=now_ms,
        units=int(evidence.asked.all[rows, _CANARY].sum()),
        alpha=ramp.alpha,
        evidence=_combined(shown),
        guardrails=shown,
        sample_ratio=latched_at(_mismatch(evidence, steps)).p_value,
        seen=seen,
        expected=expected,
    )
    return decide(found, ramp)


def decide(look: RampLook, ramp: Ramp) -> RampLook:
    """Say what a look means for its ramp. Pure.

    Args:
        look: Without a decision.
        ramp: The plan.
    """
    broken = look.evidence >= 1 / look.alpha
    # One that is kept is no evidence for a rollback, however certain a smaller loss is.
    speaking = [each for each in look.guardrails if each.state != "passes"]
    worst = max(speaking, key=lambda each: each.evidence, default=None)
    states = tuple(
        replace(each, state="fails" if broken and each is worst else "open")
        if each.state != "passes"
        else each
        for each in look.guardrails
    )
    look = replace(look, guardrails=states)
    if look.sample_ratio <= SAMPLE_RATIO_ALPHA:
        text = (
            "Traffic did not follow the weights (sample ratio mismatch), so that this evidence "
            f"cannot be read: p = {look.sample_ratio:.2g}. "
            + counts_text((look.baseline, look.canary), look.seen, look.expected)
        ).rstrip()
        return replace(look, decision="withhold", reason=text)
    if broken and worst is not None:
        failed = next(each for each in states if each.state == "fails")
        text = (
            f"{guardrail_text(failed)} Evidence {_number(look.evidence)}, and "
            f"{1 / look.alpha:.3g} is enough."
        )
        return replace(look, decision="roll back", reason=text)
    return _go_on(look, ramp)


def _go_on(look: RampLook, ramp: Ramp) -> RampLook:
    if look.now_ms < look.due_ms:
        text = f"The step of {look.percent:g} % cannot end before {_moment(look.due_ms)}."
        return replace(look, reason=text)
    if look.units < MIN_UNITS:
        text = (
            f"`{look.canary}` has answered {look.units} of the {MIN_UNITS} requests (or sticky "
            "units) that a step needs."
        )
        return replace(look, reason=text)
    strict = ramp.advance == "not-worse" or look.next_percent in (None, ALL)
    waiting = [each for each in look.guardrails if each.state != "passes"]
    if strict and waiting:
        return replace(look, reason=" ".join(guardrail_text(each) for each in waiting))
    kept = "Every guardrail is kept." if not waiting else "No guardrail is broken."
    if look.next_percent is None:
        return replace(look, decision="done", reason=f"{kept} The verdict decides from here on.")
    if look.next_percent == ALL:
        return replace(look, decision="finish", reason=kept)
    return replace(look, decision="advance", reason=kept)


def _steps(
    events: Sequence[RevisionEvent],
) -> tuple[int, DeploymentSpec, Ramp, dict[int, int]]:
    """The live revision, its spec and ramp, and when each step of that began, oldest first."""
    specs = [
        (event.revision, event.time_ms, from_dict(event.spec))
        for event in events
        if event.spec and is_spec(event)
    ]
    if not specs:
        raise NotFoundError("The journal is empty.", hint="`mlops deploy --ab modelA modelB`")
    revision, began_ms, spec = specs[-1]
    ramp = spec.ramp
    if ramp is None:
        raise ConflictError(
            f"Revision {revision} of `{spec.name}` has no ramp.",
            hint="`mlops deploy --model REF --canary REF=5 --ramp 5,25,50,100` begins one.",
        )
    steps, weight = {revision: began_ms}, spec.arms[_CANARY].weight
    for number, time_ms, its in reversed(specs[:-1]):
        if number in steps:
            # A server that came back: the step continues.
            steps[number] = time_ms
            continue
        if number > revision:
            # The server never took it: the former revision came back.
            continue
        same = its.ramp is not None and its.experiment == spec.experiment
        if not same or its.arms[_CANARY].weight >= weight:
            break
        steps[number], weight = time_ms, its.arms[_CANARY].weight
    return revision, spec, ramp, dict(reversed(steps.items()))


def _at_any_look(watched: Watched) -> Watched:
    """Leave a horizon out: what is valid at one look only is no e-value."""
    spec = replace(watched.evidence.spec, horizon=0, horizon_days=0.0)
    return replace(watched, evidence=replace(watched.evidence, spec=spec))


def _mismatch(evidence: Evidence, steps: dict[int, int]) -> float:
    """Largest log e-value that arms were not drawn by the weights of these steps.

    What went wrong before the ramp, in an earlier try of the same arms, is over.
    """
    own = np.array([number in steps for number, _ in evidence.epochs], dtype=bool)
    asked = evidence.everybody
    if asked is not None:
        kept = own[asked.strata]
        return largest_evidence([(asked.arms[kept], asked.strata[kept])], evidence.weights)
    if own.all():
        return evidence.asked.largest_evidence
    return evidence.asked.largest_within(evidence.weights, own)


def _from_step(watched: Watched, steps: Sequence[int] | dict[int, int]) -> Watched:
    """Keep the units that came under these steps."""
    evidence = watched.evidence
    kept = np.array([number in steps for number, _ in evidence.epochs])[evidence.strata]
    return replace(watched, evidence=_only(evidence, kept.astype(bool)))


def _only(evidence: Evidence, kept: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Evidence:
    if kept.all():
        return evidence
    same = evidence.units.size == kept.size
    return replace(
        evidence,
        arms=evidence.arms[kept],
        rewards=evidence.rewards[kept],
        propensities=evidence.propensities[kept],
        strata=evidence.strata[kept],
        times_ms=evidence.times_ms[kept],
        units=evidence.units[kept] if same else evidence.units,
        nonces=evidence.nonces[kept] if same else evidence.nonces,
    )


def _evidence(watched: Watched, canary: str, steps: dict[int, int], ramp: Ramp) -> float:
    """E-value of one guardrail, averaged over the steps from which on it may be broken."""
    begun = list(steps)
    found = [
        evidence_against(_from_step(watched, begun[start:]), canary) for start in range(len(begun))
    ]
    planned = max(len(ramp.steps), len(begun))
    return (sum(found) + planned - len(found)) / planned


def _combined(guardrails: Sequence[GuardrailReport]) -> float:
    if not guardrails:
        return 0.0
    against = [each.evidence if each.state != "passes" else 0.0 for each in guardrails]
    return sum(against) / len(against)


def _moment(time_ms: int) -> str:
    return dt.datetime.fromtimestamp(time_ms / 1000, dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 1e6 else "over a million"
