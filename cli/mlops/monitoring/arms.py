"""The table of arms: traffic, rewards and estimates of each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlops.monitoring.comparing import importance
from mlops.monitoring.evidence import Evidence
from mlops.monitoring.quality import Quality, measure
from mlops.rewards import reward_called
from mlops.stats.arm_mean import arm_sequence
from mlops.stats.bayes import calibrated, posterior
from mlops.stats.burn_in import MIN_OUTCOMES, Opening


@dataclass(frozen=True, slots=True)
class ArmReport:
    """One arm.

    Attributes:
        name: Its name.
        version: Its model version.
        weight: Its share of traffic now, in [0, 1].
        requests: Requests for which the policy drew it.
        share: Its share of those, in [0, 1].
        forced: Requests for which a tester chose it; in no statistic.
        errors: Requests answered with 5xx.
        latency_ms: Mean latency in milliseconds; NaN without requests.
        n: Units with a reward.
        mean: Mean reward of those units, as it is, or the ratio of their sums; NaN without any.
        estimate: Propensity-weighted estimate (AIPW) of the mean reward if the arm had answered
            everything; NaN during the warm-up.
        lower: Anytime-valid lower bound of that mean.
        upper: Upper bound.
        alpha: One minus the level of that interval.
        quality: Against the truth.
        p_best: Posterior probability of being best; not a stopping rule. None if not computed.
        expected_loss: Expected reward given up by choosing it; None likewise.
        refused: Drawn requests answered with 4xx: the model refused the rows.
        outcomes: Outcomes with a reward; a unit has one or more.
        needs: What its interval still waits for; empty once it has one.
    """

    name: str
    version: str
    weight: float
    requests: int
    share: float
    forced: int
    errors: int
    latency_ms: float
    n: int
    mean: float
    estimate: float
    lower: float
    upper: float
    quality: Quality
    p_best: float | None
    expected_loss: float | None
    refused: int = 0
    outcomes: int = 0
    needs: str = ""
    alpha: float = 0.05


def report_arms(evidence: Evidence, alpha: float) -> tuple[ArmReport, ...]:
    """Describe every arm of an experiment, in its order.

    Args:
        evidence: All of the experiment.
        alpha: One minus the level of each arm's own interval, in (0, 1).
    """
    posteriors = _posteriors(evidence)
    measures = reward_called(evidence.spec.reward).measures
    weight = importance(evidence, range(len(evidence.spec.arms)))
    total = sum(t.drawn for t in evidence.traffic)
    reports = []
    for index, arm in enumerate(evidence.spec.arms):
        rows = [t for t in evidence.traffic if t.arm == index]
        drawn = sum(t.drawn for t in rows)
        latency = (
            sum(t.latency_us_mean * t.drawn for t in rows) / drawn / 1000 if drawn else math.nan
        )
        estimate, lower, upper, needs = _estimate(evidence, index, alpha, weight)
        reports.append(
            ArmReport(
                name=arm.name,
                version=arm.model.label,
                weight=float(evidence.weights[-1, index]),
                requests=drawn,
                share=drawn / total if total else 0.0,
                forced=sum(t.forced for t in rows),
                errors=sum(t.errors for t in rows),
                latency_ms=latency,
                n=int((evidence.arms == index).sum()),
                mean=_mean(evidence, index),
                estimate=estimate,
                lower=lower,
                upper=upper,
                quality=measure(evidence.truths, index, measures, evidence.terms[index]),
                p_best=posteriors[index][0] if posteriors else None,
                expected_loss=posteriors[index][1] if posteriors else None,
                refused=sum(t.refused for t in rows),
                outcomes=evidence.outcomes[index],
                needs=needs,
                alpha=alpha,
            )
        )
    return tuple(reports)


def _mean(evidence: Evidence, arm: int) -> float:
    own = evidence.arms == arm
    if evidence.sums is None:
        return float(evidence.rewards[own].mean()) if own.any() else math.nan
    above, below = evidence.sums[:, own].sum(axis=1)
    return float(above / below) if below else math.nan


def _estimate(
    evidence: Evidence, arm: int, alpha: float, weight: NDArray[np.float64] | float
) -> tuple[float, float, float, str]:
    """Return estimate, bounds, and what the bounds still wait for."""
    if not evidence.arms.size:
        return math.nan, -math.inf, math.inf, f"needs {MIN_OUTCOMES} outcomes"
    found = arm_sequence(
        evidence.arms, evidence.rewards, evidence.propensities,
        arm=arm, importance=weight, alpha=alpha,
    )  # fmt: skip
    if evidence.bounds is not None:
        found = found.within(*evidence.bounds)
    bounds = float(found.estimate[-1]), float(found.lower[-1]), float(found.upper[-1])
    return (*bounds, "" if found.ready[-1] else _needs(found.opening))


def _needs(opening: Opening | None) -> str:
    """Say in a few words what an interval waits for.

    Effective outcomes are extrapolated, assuming that future ones are as alike as those so far.
    """
    if opening is None:
        return ""
    outcomes, effective = float(opening.smallest()[-1]), float(opening.effective[-1])
    if outcomes < MIN_OUTCOMES:
        return f"needs {MIN_OUTCOMES - outcomes:.0f} more outcomes"
    if effective <= 0:
        return "needs outcomes that differ"
    more = max(1, math.ceil(outcomes * (opening.least / effective - 1)))
    return f"needs about {more:,} more outcomes"


def _kurtosis(groups: Sequence[NDArray[np.float64]]) -> float:
    """Kurtosis of all arms' rewards around their own means; 3 where none deviates."""
    off = np.concatenate([group - group.mean() for group in groups])
    variance = float((off**2).mean())
    return float((off**4).mean()) / variance**2 if variance > 0 else 3.0


def _posteriors(evidence: Evidence) -> Sequence[tuple[float, float]]:
    """P(best) and expected loss; left out where they are not calibrated.

    That is where an arm has few outcomes for their tail, and where weights changed, as they ignore
    propensities.
    """
    k = len(evidence.spec.arms)
    n = np.bincount(evidence.arms, minlength=k)
    if k < 2 or not n.all() or len(np.unique(evidence.weights, axis=0)) > 1:
        return ()
    groups = [evidence.rewards[evidence.arms == arm] for arm in range(k)]
    mean = np.array([group.mean() for group in groups])
    variance = np.array([group.var(ddof=1) if group.size > 1 else 0.0 for group in groups])
    if not calibrated(n, _kurtosis(groups)):
        return ()
    binary = bool(np.isin(evidence.rewards, (0.0, 1.0)).all())
    found = posterior(n, mean, variance, binary=binary)
    return list(zip(found.p_best.tolist(), found.expected_loss.tolist(), strict=True))
