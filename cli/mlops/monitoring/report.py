"""The report: who got what, how good it was, and the verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlops.errors import NotFoundError
from mlops.journal.base import Journal
from mlops.monitoring.evidence import Evidence, gather
from mlops.monitoring.quality import Quality, Window, measure, over_time
from mlops.monitoring.verdict import Comparison, Verdict, decide
from mlops.rewards import REWARDS
from mlops.stats.arm_mean import arm_sequence
from mlops.stats.bayes import posterior
from mlops.stats.difference import bonferroni, difference_sequence
from mlops.stats.remaining import remaining_observations
from mlops.stats.sample_ratio import SampleRatio, sample_ratio
from mlops.stats.scores import overlap
from mlops.stats.sequence import ConfidenceSequence

_LOOKS = 9


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
        mean: Propensity-weighted mean reward; NaN before the burn-in is over.
        lower: Anytime-valid lower bound of the mean.
        upper: Upper bound.
        quality: Against the truth.
        p_best: Posterior probability of being best; not a stopping rule. None if not computed.
        expected_loss: Expected reward given up by choosing it; None likewise.
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
    lower: float
    upper: float
    quality: Quality
    p_best: float | None
    expected_loss: float | None


@dataclass(frozen=True, slots=True)
class Look:
    """The comparison as it stood after n units.

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


@dataclass(frozen=True, slots=True)
class SampleRatioReport:
    """Whether traffic split as promised.

    Attributes:
        p_value: Anytime-valid.
        mismatch: Whether it did not.
        alpha: Probability of a false alarm, ever.
    """

    p_value: float
    mismatch: bool
    alpha: float


@dataclass(frozen=True, slots=True)
class Report:
    """All there is to say about one experiment.

    Attributes:
        name: Name of the deployment.
        experiment: Identity of the experiment.
        revisions: Its revisions, oldest first.
        reward: Name of the reward.
        first_ms: First decision, milliseconds since 1970 in UTC; 0 without any.
        last_ms: Last decision.
        arms: Every arm; the baseline first.
        comparisons: Every other arm against the baseline.
        looks: For each comparison, how it developed.
        sample_ratio: Of decisions; None without traffic or with one arm.
        quality: Quality over time.
        verdict: What to do.
        notes: What a reader must know to judge all this.
    """

    name: str
    experiment: str
    revisions: tuple[int, ...]
    reward: str
    first_ms: int
    last_ms: int
    arms: tuple[ArmReport, ...]
    comparisons: tuple[Comparison, ...]
    looks: tuple[tuple[Look, ...], ...]
    sample_ratio: SampleRatioReport | None
    quality: tuple[Window, ...]
    verdict: Verdict
    notes: tuple[str, ...]


def make_report(journal: Journal, *, alpha: float = 0.05, baseline: str = "") -> Report:
    """Report on the newest experiment in a journal.

    Args:
        journal: Where the evidence is.
        alpha: Probability of ever naming a false winner, in (0, 1).
        baseline: Arm the others are compared with; empty for the first.

    Raises:
        NotFoundError: Nothing was ever deployed with this journal.
        InvalidInputError: There is no arm called `baseline`.
    """
    evidence = gather(journal)
    if evidence is None:
        raise NotFoundError("The journal is empty.", hint="`mlops deploy --ab modelA modelB`")
    base = evidence.spec.index_of(baseline) if baseline else 0
    return report_of(evidence, base, alpha)


def report_of(evidence: Evidence, base: int, alpha: float) -> Report:
    """Report on evidence that was gathered before.

    Args:
        evidence: All of one experiment.
        base: Position of the arm that the others are compared with.
        alpha: Probability of ever naming a false winner, in (0, 1).
    """
    spec = evidence.spec
    ratio = _sample_ratio(evidence)
    comparisons, looks = _compare(evidence, base, alpha)
    verdict = decide(
        comparisons,
        mismatch=ratio is not None and ratio.mismatch,
        mismatch_p=ratio.p_value if ratio else 1.0,
        alpha=alpha,
        n=evidence.arms.size,
    )
    times = [t for t in evidence.traffic if t.drawn or t.forced]
    return Report(
        name=spec.name,
        experiment=spec.experiment,
        revisions=evidence.revisions,
        reward=spec.reward,
        first_ms=min((t.first_ms for t in times), default=0),
        last_ms=max((t.last_ms for t in times), default=0),
        arms=_arms(evidence, alpha),
        comparisons=comparisons,
        looks=looks,
        sample_ratio=ratio,
        quality=over_time(evidence.truths, len(spec.arms)),
        verdict=verdict,
        notes=_notes(evidence) + _pairable(evidence, verdict),
    )


def difference(evidence: Evidence, candidate: int, base: int, alpha: float) -> ConfidenceSequence:
    """Compare two arms of an experiment, given by position, at every look."""
    return difference_sequence(
        evidence.arms, evidence.rewards, evidence.propensities,
        candidate=candidate, baseline=base,
        importance=_importance(evidence, (candidate, base)), alpha=alpha,
    )  # fmt: skip


def look(evidence: Evidence, found: ConfidenceSequence, index: int) -> Look:
    """Return how a comparison stood after the unit at `index`."""
    return Look(
        n=index + 1,
        time_ms=int(evidence.times_ms[index]),
        estimate=float(found.estimate[index]),
        lower=float(found.lower[index]),
        upper=float(found.upper[index]),
    )


def _importance(evidence: Evidence, arms: Sequence[int]) -> NDArray[np.float64] | float:
    """Weigh stretches of different weights by the precision they bring to these arms."""
    if len(np.unique(evidence.weights, axis=0)) < 2 or not evidence.arms.size:
        return 1.0
    return overlap(*(evidence.weights[:, arm] for arm in arms))[evidence.strata]


def _compare(
    evidence: Evidence, base: int, alpha: float
) -> tuple[tuple[Comparison, ...], tuple[tuple[Look, ...], ...]]:
    arms = evidence.spec.arms
    others = [index for index in range(len(arms)) if index != base]
    comparisons, looks = [], []
    for candidate in others:
        share = bonferroni(alpha, len(others))
        found = difference(evidence, candidate, base, share)
        last = evidence.arms.size - 1
        comparisons.append(
            Comparison(
                arm=arms[candidate].name,
                baseline=arms[base].name,
                n=evidence.arms.size,
                estimate=float(found.estimate[last]) if last >= 0 else math.nan,
                lower=float(found.lower[last]) if last >= 0 else -math.inf,
                upper=float(found.upper[last]) if last >= 0 else math.inf,
                p_value=float(found.p_value[last]) if last >= 0 else 1.0,
                alpha=share,
                waiting_for=_named(found.waiting_for, evidence),
                remaining=_remaining(evidence, candidate, base, found.estimate, share),
            )
        )
        picked = _looks_at(evidence.arms.size)
        looks.append(tuple(look(evidence, found, index) for index in picked))
    return tuple(comparisons), tuple(looks)


def _named(waiting_for: str | None, evidence: Evidence) -> str | None:
    """Say arms by name where the statistics say them by number."""
    if waiting_for is None:
        return None
    for index in reversed(range(len(evidence.spec.arms))):
        waiting_for = waiting_for.replace(f"arm {index}", f"`{evidence.spec.arms[index].name}`")
    return waiting_for


def _looks_at(n: int) -> list[int]:
    """Positions of a few looks, evenly spread on a logarithmic scale; the last is n - 1."""
    if not n:
        return []
    return sorted({round(n ** (k / _LOOKS)) - 1 for k in range(_LOOKS // 2, _LOOKS + 1)})


def _remaining(
    evidence: Evidence,
    candidate: int,
    base: int,
    estimate: NDArray[np.float64],
    alpha: float,
) -> int | None:
    variances = []
    for arm in (candidate, base):
        rewards = evidence.rewards[evidence.arms == arm]
        variances.append(float(rewards.var(ddof=1)) if rewards.size > 1 else 0.0)
    weights = evidence.weights[-1]
    shares = (float(weights[candidate]), float(weights[base]))
    known = max(variances) > 0 and min(shares) > 0 and bool(np.isfinite(estimate[-1:]).all())
    if not known:
        return None
    return remaining_observations(
        float(estimate[-1]), (variances[0], variances[1]), shares, evidence.arms.size, alpha=alpha
    )


def _sample_ratio(evidence: Evidence) -> SampleRatioReport | None:
    """Test decisions, or distinct units where arms stick, against the promised shares."""
    arms, sticky = len(evidence.spec.arms), bool(evidence.spec.sticky_by)
    counts = np.zeros((len(evidence.revisions), arms), dtype=np.int64)
    for traffic in evidence.traffic:
        row = evidence.revisions.index(traffic.revision)
        counts[row, traffic.arm] = traffic.units if sticky else traffic.drawn
    weights = evidence.weights
    if sticky:
        # A unit that returns under new weights was not drawn again, so revisions are not
        # independent; the newest with traffic speaks for itself.
        busy = np.flatnonzero(counts.sum(axis=1))
        counts, weights = counts[busy[-1:]], weights[busy[-1:]]
    if arms < 2 or not counts.sum():
        return None
    found: SampleRatio = sample_ratio(counts, weights)
    return SampleRatioReport(found.p_value, found.mismatch, found.alpha)


def _arms(evidence: Evidence, alpha: float) -> tuple[ArmReport, ...]:
    beliefs = _beliefs(evidence)
    importance = _importance(evidence, range(len(evidence.spec.arms)))
    total = sum(t.drawn for t in evidence.traffic)
    reports = []
    for index, arm in enumerate(evidence.spec.arms):
        rows = [t for t in evidence.traffic if t.arm == index]
        drawn = sum(t.drawn for t in rows)
        latency = (
            sum(t.latency_us_mean * t.drawn for t in rows) / drawn / 1000 if drawn else math.nan
        )
        mean, lower, upper = _mean(evidence, index, alpha, importance)
        reports.append(
            ArmReport(
                name=arm.name,
                version=arm.model.label,
                weight=arm.weight,
                requests=drawn,
                share=drawn / total if total else 0.0,
                forced=sum(t.forced for t in rows),
                errors=sum(t.errors for t in rows),
                latency_ms=latency,
                n=int((evidence.arms == index).sum()),
                mean=mean,
                lower=lower,
                upper=upper,
                quality=measure(evidence.truths, index),
                p_best=beliefs[index][0] if beliefs else None,
                expected_loss=beliefs[index][1] if beliefs else None,
            )
        )
    return tuple(reports)


def _mean(
    evidence: Evidence, arm: int, alpha: float, importance: NDArray[np.float64] | float
) -> tuple[float, float, float]:
    if not evidence.arms.size:
        return math.nan, -math.inf, math.inf
    found = arm_sequence(
        evidence.arms, evidence.rewards, evidence.propensities,
        arm=arm, importance=importance, alpha=alpha,
    )  # fmt: skip
    return float(found.estimate[-1]), float(found.lower[-1]), float(found.upper[-1])


def _beliefs(evidence: Evidence) -> Sequence[tuple[float, float]]:
    """P(best) and expected loss; left out where weights changed, as they ignore propensities."""
    k = len(evidence.spec.arms)
    n = np.bincount(evidence.arms, minlength=k)
    if k < 2 or not n.all() or len(np.unique(evidence.weights, axis=0)) > 1:
        return ()
    groups = [evidence.rewards[evidence.arms == arm] for arm in range(k)]
    mean = np.array([group.mean() for group in groups])
    variance = np.array([group.var(ddof=1) if group.size > 1 else 0.0 for group in groups])
    binary = bool(np.isin(evidence.rewards, (0.0, 1.0)).all())
    found = posterior(n, mean, variance, binary=binary)
    return list(zip(found.p_best.tolist(), found.expected_loss.tolist(), strict=True))


def _notes(evidence: Evidence) -> tuple[str, ...]:
    notes = list(evidence.notes)
    if evidence.lost:
        notes.append(
            f"{evidence.lost:,} decisions were shed under load; their feedback still counts."
        )
    if evidence.underived:
        notes.append(
            f"{evidence.underived:,} outcomes have no reward: no prediction fits their truth."
        )
    if evidence.late:
        notes.append(f"{evidence.late:,} outcomes came after their revision had been replaced.")
    notes += _coverage(evidence)
    return tuple(notes)


def _pairable(evidence: Evidence, verdict: Verdict) -> tuple[str, ...]:
    """Say so where asking every arm about the same rows would decide with fewer of them."""
    derived = evidence.spec.reward in REWARDS and evidence.spec.reward != "given"
    known = derived and len(evidence.truths) >= evidence.arms.size > 0
    if verdict.decision != "continue" or len(evidence.spec.arms) < 2 or not known:
        return ()
    text = (
        "The truth of every answered row is known: `mlops report --paired` asks every arm about "
        "the same rows, and decides with fewer of them."
    )
    return (text,)


def _coverage(evidence: Evidence) -> list[str]:
    """Warn if answers of some arms get feedback more often than those of others."""
    k = len(evidence.spec.arms)
    if k < 2 or not evidence.arms.size:
        return []
    counts = np.zeros((len(evidence.revisions), k), dtype=np.int64)
    np.add.at(counts, (evidence.strata, evidence.arms), 1)
    if not sample_ratio(counts, evidence.weights).mismatch:
        return []
    return [
        "Some arms get feedback more often than others: this compares those who answer, not all."
    ]
