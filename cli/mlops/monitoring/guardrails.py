"""Metrics that must not get worse while the reward gets better: latency, errors, another reward.

A guardrail has a margin: the loss that would be accepted for a better reward. It passes once the
arm is shown to be worse by less than that (non-inferiority), with the same sequences as the reward,
so that it holds at every look. All must pass before an arm is promoted; none is needed to
keep the baseline. The rule, and why alpha is not divided, is in `mlops.stats.guardrail`.

Shares of requests and quantiles of the latency are compared exactly (`mlops.stats.one_sided`), each
bound at the level of the comparison; the mean latency and rewards as the verdict compares rewards.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mlops.journal.base import Journal
from mlops.monitoring.comparing import difference, importance
from mlops.monitoring.evidence import Evidence, gather
from mlops.monitoring.gates import Gate
from mlops.rewards.guardrails import (
    ERRORS,
    LATENCY,
    OF_REQUESTS,
    OWN_REWARD,
    QUANTILES,
    REFUSALS,
)
from mlops.stats.difference import bonferroni
from mlops.stats.guardrail import Guardrail, State
from mlops.stats.one_sided import Side, beyond, bounds, count, log_evidence, thresholds

# Larger evidence adds nothing, and JSON has no infinity.
_MOST_LOG = 600.0
# Where a sequence is tightest; its p-values hold for every level.
_ANY_ALPHA = 0.05
# How a metric is written: a factor and a unit.
_SCALES = {
    **dict.fromkeys((LATENCY, *QUANTILES), (1.0, " ms")),
    **dict.fromkeys((ERRORS, REFUSALS), (100.0, " points")),
}


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
        evidence: E-value against the arm being no worse: at least 1 / alpha at any look with
            probability at most alpha where it is not.
        levels: The metric of the arm and of the baseline, as if each had answered all units; NaN
            where unknown.
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
    evidence: float = 1.0
    levels: tuple[float, float] = (math.nan, math.nan)


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
            else evidence
            if name == OWN_REWARD
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


def guardrail_gates(reports: Sequence[GuardrailReport], arms: Collection[str]) -> tuple[Gate, ...]:
    """Turn the guardrails of these arms into conditions of their promotion."""
    return tuple(
        Gate(
            "guardrail", each.state == "passes", None, guardrail_text(each), _HINTS[each.state],
            promotion_only=True,
        )
        for each in reports
        if each.arm in arms
    )  # fmt: skip


_HINTS: dict[State, str] = {
    "passes": "",
    "fails": "Fix the arm; or, where such a loss is acceptable, widen the margin in `[report] "
    "guardrails` before the next test.",
    "open": "Let it run: the guardrail needs more requests than the reward.",
}


def _of_requests(evidence: Evidence, name: str) -> Evidence:
    """Evidence in which a metric of all requests is the reward, with or without feedback."""
    asked = evidence.everybody
    assert asked is not None, "a guardrail of requests asks for each of them"
    values = {
        ERRORS: asked.errors,
        REFUSALS: asked.refusals,
        LATENCY: asked.latency_ms,
        # Thresholds are right only if a unit's latency stays as it was when it was compared.
    }.get(name, asked.first_latency_ms)
    return replace(
        evidence,
        # A horizon is one of units with a reward.
        spec=replace(evidence.spec, reward="given", reward_range=None, horizon=0, horizon_days=0.0),
        bounds=None,
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
    blank = GuardrailReport(
        *(watched.name, arm, baseline, n, math.nan, -math.inf, math.inf, watched.margin, "open")
    )
    if not n:
        return blank
    if watched.name in OF_REQUESTS and watched.name != LATENCY:
        return _exact(blank, evidence, candidate, alpha, guardrails)
    found = difference(evidence, candidate, alpha)
    estimate, lower, upper = (
        float(each[-1]) for each in (found.estimate, found.lower, found.upper)
    )
    strict = upper
    if guardrails > 1:
        strict = float(difference(evidence, candidate, bonferroni(alpha, guardrails)).upper[-1])
    state = Guardrail(watched.name, lower, strict, watched.margin).state()
    is_worse = estimate < 0
    if watched.name in OF_REQUESTS:
        # Not -0.0, which is printed as that.
        estimate, lower, upper = 0.0 - estimate, -upper, -lower
    weights = _as_if_all(evidence, candidate)
    sign = -1 if watched.name in OF_REQUESTS else 1
    levels = [
        float(np.average(sign * evidence.rewards[own], weights=weights[own]))
        if weights[own].any()
        else math.nan
        for own in (evidence.arms == candidate, evidence.arms == evidence.base)
    ]
    return replace(
        blank,
        estimate=estimate,
        lower=lower,
        upper=upper,
        state=state,
        evidence=_e_of_p(float(found.p_value[-1])) if is_worse else 0.0,
        levels=(levels[0], levels[1]),
    )


def _exact(
    blank: GuardrailReport, evidence: Evidence, candidate: int, alpha: float, guardrails: int
) -> GuardrailReport:
    """Compare shares of requests, or quantiles of their latency."""
    pair, losses = (candidate, evidence.base), -evidence.rewards
    is_canary, is_baseline = evidence.arms == candidate, evidence.arms == evidence.base
    quantile = QUANTILES.get(blank.name)
    tau = thresholds(losses, is_baseline, quantile) if quantile else losses

    def log_e(side: Side, margin: float) -> float:
        moved = beyond(losses, tau, is_canary, margin) if quantile else losses
        counted = count(moved, evidence.arms, evidence.strata, evidence.weights, pair)
        return log_evidence(counted, side, 0.0 if quantile else margin)

    reach = float(losses.max(initial=0.0)) + 1 if quantile else 1.0
    lower, upper = bounds(log_e, alpha, (-reach, reach))
    worse = _log_worse(blank.name, evidence, candidate)
    weights = _as_if_all(evidence, candidate)
    levels = [_level(losses[own], weights[own], quantile) for own in (is_canary, is_baseline)]
    state: State = "open"
    if log_e("not worse", blank.margin) >= -math.log(alpha):
        state = "passes"
    elif worse >= -math.log(bonferroni(alpha, guardrails)):
        state = "fails"
    return replace(
        blank,
        estimate=levels[0] - levels[1],
        lower=lower,
        upper=upper,
        state=state,
        evidence=_e_value(worse),
        levels=(levels[0], levels[1]),
    )


def evidence_against(watched: Watched, arm: str) -> float:
    """E-value against an arm being no worse than the baseline by a metric.

    Args:
        watched: The guardrail.
        arm: Name of the arm.
    """
    evidence, candidate = watched.evidence, watched.evidence.spec.index_of(arm)
    if not evidence.arms.size:
        return 1.0
    if watched.name in OF_REQUESTS and watched.name != LATENCY:
        return _e_value(_log_worse(watched.name, evidence, candidate))
    found = difference(evidence, candidate, _ANY_ALPHA)
    return _e_of_p(float(found.p_value[-1])) if found.estimate[-1] < 0 else 0.0


def _log_worse(name: str, evidence: Evidence, candidate: int) -> float:
    """Log e-value against an arm, of a share of requests or a quantile of the latency.

    A sticky unit that failed once has failed: it counts from the moment on when it did, so that
    what is known of it is never taken back.
    """
    losses, quantile = -evidence.rewards, QUANTILES.get(name)
    if quantile:
        tau = thresholds(losses, evidence.arms == evidence.base, quantile)
        seen = beyond(losses, tau, evidence.arms == candidate)
    else:
        seen = (losses > 0).astype(np.float64)
    pair = (candidate, evidence.base)
    return log_evidence(
        count(seen, evidence.arms, evidence.strata, evidence.weights, pair), "worse"
    )


def _e_value(log_e: float) -> float:
    return math.exp(min(log_e, _MOST_LOG))


def _e_of_p(p: float) -> float:
    """The mixture of both sides, where an arm looks worse; on the other side it says nothing."""
    return 1 / max(p, math.exp(-_MOST_LOG))


def _as_if_all(evidence: Evidence, candidate: int) -> NDArray[np.float64]:
    """Weights of units in the mean of their arm, by which both arms answer the same units."""
    both = importance(evidence, (candidate, evidence.base))
    weights: NDArray[np.float64] = both / evidence.propensities
    return weights


def _level(
    values: NDArray[np.float64], weights: NDArray[np.float64], quantile: float | None
) -> float:
    """A weighted mean, or quantile; NaN without values."""
    if not weights.any():
        return math.nan
    if quantile is None:
        return float(np.average(values, weights=weights))
    order = np.argsort(values)
    mass = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(mass, quantile * mass[-1])])


def figures(found: GuardrailReport) -> tuple[str, str, str, str, str]:
    """Write a guardrail in figures: name, baseline, arm, difference with its bounds, margin."""
    scale, unit = _SCALES.get(found.name, (1.0, ""))
    unit = " %" if unit == " points" else unit
    arm, baseline = (
        "unknown" if math.isnan(level) else f"{scale * level:.3g}{unit}" for level in found.levels
    )
    known = (found.lower, found.upper)
    ends = (f"{scale * end:+.3g}" if math.isfinite(end) else "?" for end in known)
    difference = "" if math.isnan(found.estimate) else f"{scale * found.estimate:+.3g}"
    margin = f"{scale * _sign(found) * found.margin:+.3g}"
    return found.name, baseline, arm, f"{difference} [{', '.join(ends)}]", margin


def _sign(found: GuardrailReport) -> int:
    """In which direction an arm is worse."""
    return 1 if found.name in OF_REQUESTS else -1


def guardrail_text(found: GuardrailReport) -> str:
    """Say in a sentence what a guardrail of an arm has shown."""
    if not math.isfinite(found.lower) and not math.isfinite(found.upper):
        return (
            f"Guardrail `{found.name}`: not known yet for `{found.arm}`, after {found.n:,} units."
        )
    scale, unit = _SCALES.get(found.name, (1.0, ""))
    margin = f"{scale * _sign(found) * found.margin:+.3g}{unit}"
    known = (found.lower, found.upper)
    bounded = (f"{scale * end:+.3g}" if math.isfinite(end) else "?" for end in known)
    measured = (
        f"Guardrail `{found.name}`: `{found.arm}` - `{found.baseline}` = "
        f"{scale * found.estimate:+.3g}{unit} [{', '.join(bounded)}]"
    )
    ends: dict[State, str] = {
        "passes": f"inside the margin of {margin}",
        "fails": f"worse, and the margin of {margin} is not kept",
        "open": f"not shown yet to keep the margin of {margin}",
    }
    return f"{measured}, {ends[found.state]}."
