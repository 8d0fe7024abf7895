"""The report: who got what, how good it was, and the verdict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from mlops.journal.base import Journal
from mlops.journal.records import Traffic
from mlops.monitoring.arms import ArmReport, report_arms
from mlops.monitoring.comparing import Look, compare, method_of
from mlops.monitoring.evidence import Evidence, Underived, gather
from mlops.monitoring.quality import Window, over_time
from mlops.monitoring.shadows import ShadowReport, shadow_reports
from mlops.monitoring.verdict import Comparison, Verdict, decide
from mlops.rewards import Range, reward_called
from mlops.rewards.choosing import no_reward
from mlops.stats.sample_ratio import SampleRatio, sample_ratio


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
        reward_range: Range of the reward, declared or its own; None if it has none.
        first_ms: First decision, milliseconds since 1970 in UTC; 0 without any.
        last_ms: Last decision.
        arms: Every arm; the baseline first.
        comparisons: Every other arm against the baseline.
        looks: For each comparison, how it developed.
        sample_ratio: Of decisions; None without traffic or with one arm.
        quality: Quality over time.
        verdict: What to do.
        notes: What a reader must know to judge all this.
        shadows: Models that get copies of requests now; no part of the experiment.
        sticky_by: What a unit is, `header:NAME` or `field:NAME`; empty where it is a request.
        no_reward: Why no reward at all can be derived from the feedback there is; else empty.
    """

    name: str
    experiment: str
    revisions: tuple[int, ...]
    reward: str
    reward_range: Range | None
    first_ms: int
    last_ms: int
    arms: tuple[ArmReport, ...]
    comparisons: tuple[Comparison, ...]
    looks: tuple[tuple[Look, ...], ...]
    sample_ratio: SampleRatioReport | None
    quality: tuple[Window, ...]
    verdict: Verdict
    notes: tuple[str, ...]
    shadows: tuple[ShadowReport, ...] = ()
    sticky_by: str = ""
    no_reward: str = ""


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
    evidence = gather(journal, baseline=baseline)
    return replace(report_of(evidence, alpha), shadows=shadow_reports(journal))


def report_of(evidence: Evidence, alpha: float) -> Report:
    """Report on evidence that was gathered before.

    Args:
        evidence: All of one experiment.
        alpha: Probability of ever naming a false winner, in (0, 1).
    """
    spec = evidence.spec
    ratio = _sample_ratio(evidence)
    comparisons, looks = compare(evidence, alpha)
    verdict = decide(
        comparisons,
        method=method_of(evidence),
        mismatch=ratio is not None and ratio.mismatch,
        mismatch_p=ratio.p_value if ratio else 1.0,
        alpha=alpha,
        n=evidence.arms.size,
    )
    stuck = _no_reward(evidence)
    if stuck and verdict.decision == "continue":
        verdict = replace(verdict, reason=f"{stuck[:1].upper()}{stuck[1:]}.")
    times = [t for t in evidence.traffic if t.drawn or t.forced]
    return Report(
        name=spec.name,
        experiment=spec.experiment,
        revisions=evidence.revisions,
        reward=spec.reward,
        reward_range=evidence.bounds,
        first_ms=min((t.first_ms for t in times), default=0),
        last_ms=max((t.last_ms for t in times), default=0),
        arms=report_arms(evidence, alpha),
        comparisons=comparisons,
        looks=looks,
        sample_ratio=ratio,
        quality=over_time(evidence.truths, evidence.terms, reward_called(spec.reward).measures),
        verdict=verdict,
        notes=_notes(evidence) + _pairable(evidence, verdict),
        sticky_by=spec.sticky_by,
        no_reward=stuck,
    )


def _no_reward(evidence: Evidence) -> str:
    """Say why feedback came and no reward with it; empty if there is some, or no feedback."""
    if evidence.arms.size or not evidence.underived:
        return ""
    most = evidence.underived[0]
    return no_reward(most.reason, most.instead)


def _sample_ratio(evidence: Evidence) -> SampleRatioReport | None:
    """Test decisions, or distinct units where arms stick, against the promised shares."""
    sticky = bool(evidence.spec.sticky_by)
    return _split(evidence, lambda t: t.units if sticky else t.drawn)


def _split(evidence: Evidence, count: Callable[[Traffic], int]) -> SampleRatioReport | None:
    """Test whether something counted by arm has the promised shares."""
    arms = len(evidence.spec.arms)
    counts = np.zeros((len(evidence.revisions), arms), dtype=np.int64)
    for traffic in evidence.traffic:
        counts[evidence.revisions.index(traffic.revision), traffic.arm] = count(traffic)
    weights = evidence.weights
    if evidence.spec.sticky_by:
        # A unit that returns under new weights was not drawn again, so revisions are not
        # independent; the newest with traffic speaks for itself.
        busy = np.flatnonzero(counts.sum(axis=1))
        counts, weights = counts[busy[-1:]], weights[busy[-1:]]
    if arms < 2 or not counts.sum():
        return None
    found: SampleRatio = sample_ratio(counts, weights)
    return SampleRatioReport(found.p_value, found.mismatch, found.alpha)


def _notes(evidence: Evidence) -> tuple[str, ...]:
    notes = list(evidence.notes)
    if evidence.lost:
        notes.append(
            f"{evidence.lost:,} decisions were shed under load; their feedback still counts."
        )
    notes += [_underived(each) for each in evidence.underived]
    if evidence.capped and evidence.bounds:
        low, high = evidence.bounds
        notes.append(
            f"{evidence.capped:,} outcomes have a reward outside the range {low:g} to {high:g} and "
            "count as its nearest end: the verdict speaks of rewards so capped."
        )
    if evidence.late:
        notes.append(f"{evidence.late:,} outcomes came after their revision had been replaced.")
    notes += _refusals(evidence)
    notes += _coverage(evidence)
    return tuple(notes)


def _refusals(evidence: Evidence) -> list[str]:
    """Warn if models of some arms refuse more of their requests than others.

    Arms are drawn without regard to what is in a request. So if all arms refuse alike, refused
    requests have the promised shares, whatever their number: the sample-ratio test of those.
    """
    ratio = _split(evidence, lambda t: t.refused_units)
    if ratio is None or not ratio.mismatch:
        return []
    parts = []
    for index, arm in enumerate(evidence.spec.arms):
        own = [t for t in evidence.traffic if t.arm == index]
        refused, drawn = sum(t.refused for t in own), sum(t.drawn for t in own)
        share = f" ({100 * refused / drawn:.3g} %)" if drawn else ""
        parts.append(f"`{arm.name}` {refused:,} of {drawn:,}{share}")
    text = (
        f"The models refuse their requests (4xx) at different rates: {', '.join(parts)}; "
        f"sample-ratio test of the refused, p = {ratio.p_value:.2g}. Rewards compare only what "
        "each arm accepts; `mlops logs` has the reasons."
    )
    return [text]


def _underived(each: Underived) -> str:
    return f"{each.count:,} outcomes: {no_reward(each.reason, each.instead)}."


def _pairable(evidence: Evidence, verdict: Verdict) -> tuple[str, ...]:
    """Say so where asking every arm about the same rows would decide with fewer of them."""
    derived = reward_called(evidence.spec.reward).is_derived
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
