"""The report: traffic, quality, rewards, and the verdict."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from mlops.errors import MlopsError, NotFoundError
from mlops.journal.base import Journal
from mlops.monitoring.arm_lines import rewarded
from mlops.monitoring.arms import ArmReport, report_arms
from mlops.monitoring.comparing import Look, compare, method_of
from mlops.monitoring.covariates import adjust
from mlops.monitoring.evidence import Evidence, Finished, gather
from mlops.monitoring.gates import Bounds, Gate, gates_of
from mlops.monitoring.guardrails import (
    GuardrailReport,
    Watched,
    guardrail_gates,
    guardrail_reports,
    watch,
)
from mlops.monitoring.kept_pairs import kept_pairs
from mlops.monitoring.missing_feedback import SilentReport, in_a_sentence, silent_report
from mlops.monitoring.paired import PairedReport
from mlops.monitoring.quality import Window, over_time
from mlops.monitoring.report_notes import notes_of
from mlops.monitoring.same_rows import Ask, ask_all, live_alpha
from mlops.monitoring.segments import SegmentReport, segment_reports
from mlops.monitoring.shadows import ShadowReport, shadow_reports
from mlops.monitoring.split_words import STAYS, WHERE_TO_LOOK, begin_again, counts_text
from mlops.monitoring.timing import duration_gate, effect_gate
from mlops.monitoring.verdict import Comparison, Verdict, decide, leading, withhold
from mlops.rewards import Range, reward_called
from mlops.rewards.choosing import no_reward
from mlops.spec.analysis import Analysis
from mlops.stats.sample_ratio import latched_at
from mlops.stats.sequence import ConfidenceSequence

# Conditions that a comparison on the same rows shares with the live one.
_SHARED_GATES = ("failures", "duration")


@dataclass(frozen=True, slots=True)
class SampleRatioReport:
    """Whether traffic split as declared.

    Attributes:
        p_value: Anytime-valid: the smallest so far.
        mismatch: Whether it did not.
        alpha: Probability of a false alarm, ever.
        seen: Units that each arm was drawn for.
        expected: How many that should be by the probabilities in force.
    """

    p_value: float
    mismatch: bool
    alpha: float
    seen: tuple[int, ...] = ()
    expected: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """The report on one experiment.

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
        verdict: What to do; its alpha is that of the report as a whole.
        shares_alpha: Whether the comparison on the same rows has half of alpha.
        paired: Every arm on the rows with a label, of a finished experiment as it was at its end;
            None where they were not asked.
        gates: What must hold for it; empty with one arm.
        judged_ms: Requests from after this are not judged yet, since their feedback window is
            open; milliseconds since 1970 in UTC, None without a window.
        open: Units whose feedback window is still open.
        notes: What a reader must know to judge all this.
        shadows: Models that get copies of requests now; no part of the experiment.
        sticky_by: What a unit is, `header:NAME` or `field:NAME`; empty where it is a request.
        no_reward: Why no reward at all can be derived from the feedback there is; else empty.
        finished: What is live instead of the experiment; None while it continues.
        guardrails: Metrics that must not get worse, of every arm but the baseline.
        segments: Segments of the feature that was asked for; never a verdict.
        analysis: What the revision declares of how its evidence is judged.
        silent: What requests without feedback could hide, of every arm but the baseline.
        repeated: What several outcomes of one row mean: `first`, `last` or `sum`.
        decision_rule: What the reward `cost` takes for the prediction of probabilities; empty for
            another reward.
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
    shares_alpha: bool = False
    paired: PairedReport | None = None
    gates: tuple[Gate, ...] = ()
    judged_ms: int | None = None
    open: int = 0
    finished: Finished | None = None
    guardrails: tuple[GuardrailReport, ...] = ()
    segments: tuple[SegmentReport, ...] = ()
    analysis: Analysis = field(default_factory=Analysis)
    silent: tuple[SilentReport, ...] = ()
    repeated: str = "first"
    decision_rule: str = ""


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """What is asked of one look; what was declared at deployment is in the spec.

    Attributes:
        alpha: Probability of ever naming a false winner, in (0, 1).
        baseline: Arm the others are compared with; empty for the first.
        worth: The smallest difference worth having, in units of reward; None for what the revision
            declares.
        whole: Take all evidence, also from before the experiment was last ended.
        segments: Feature whose segments are listed; empty for none.
    """

    alpha: float = 0.05
    baseline: str = ""
    worth: float | None = None
    whole: bool = False
    segments: str = ""


def make_report(
    journal: Journal,
    options: ReportOptions | None = None,
    *,
    now_ms: int | None = None,
    ask: Ask | None = None,
) -> Report:
    """Report on the newest experiment in a journal.

    Args:
        journal: Where the evidence is.
        options: What is asked of it.
        now_ms: When the look is taken, milliseconds since 1970 in UTC; now by default.
        ask: Asks the arms about the labelled rows; None where they cannot be asked.

    Raises:
        NotFoundError: Nothing was deployed with this journal.
        InvalidInputError: There is no arm called `baseline`.
    """
    return look_at(journal, options or ReportOptions(), now_ms=now_ms, ask=ask)[0]


def look_at(
    journal: Journal,
    options: ReportOptions,
    *,
    now_ms: int | None = None,
    ask: Ask | None = None,
) -> tuple[Report, Evidence]:
    """Make a report as `make_report` does, and return the evidence that was compared with it."""
    evidence = gather(journal, baseline=options.baseline, whole=options.whole, now_ms=now_ms)
    compared = adjust(journal, evidence)
    watched = watch(journal, evidence, whole=options.whole)
    report = report_of(evidence, compared, options.alpha, options.worth, watched)
    if options.segments:
        listed = segment_reports(journal, evidence, options.segments, options.alpha)
        report = replace(report, segments=listed)
    report = replace(report, shadows=shadow_reports(journal))
    if evidence.finished:
        report = _with_kept_rows(report, journal, evidence)
    elif evidence.spec.paired:
        report = _with_same_rows(report, journal, evidence, options, ask)
    return report, compared


def _with_kept_rows(report: Report, journal: Journal, evidence: Evidence) -> Report:
    """Add the comparison on the same rows that was made when the experiment ended."""
    if not evidence.spec.paired or not len(evidence.truths):
        return report
    baseline = evidence.spec.arms[evidence.base].name
    kept = kept_pairs(journal, evidence.revisions, baseline)
    if kept is None:
        text = (
            f"Whether the arms differ from `{baseline}` on the same rows is not known any more: "
            "only `mlops promote` keeps that comparison when an experiment ends."
        )
        return replace(report, notes=(*report.notes, text))
    paired, time_ms = kept
    moment = dt.datetime.fromtimestamp(time_ms / 1000, dt.UTC)
    text = f"The arms were last asked about the same rows at {moment:%Y-%m-%d %H:%M:%S} UTC."
    return with_paired(replace(report, notes=(*report.notes, text)), paired)


def _with_same_rows(
    report: Report,
    journal: Journal,
    evidence: Evidence,
    options: ReportOptions,
    ask: Ask | None,
) -> Report:
    """Add the comparison on the same rows, or say why it is missing."""
    try:
        if ask is None:
            raise NotFoundError("No server of this deployment runs.")
        paired = ask_all(journal, evidence, ask, alpha=options.alpha, worth=options.worth)
    except MlopsError as error:
        text = f"The arms could not be asked about the same rows: {error.message}"
        return replace(report, notes=(*report.notes, text))
    return with_paired(report, paired)


def report_of(
    evidence: Evidence,
    compared: Evidence,
    alpha: float,
    worth: float | None = None,
    watched: Sequence[Watched] = (),
) -> Report:
    """Report on evidence that was gathered before.

    Args:
        evidence: All of one experiment.
        compared: The same, with rewards as they are compared.
        alpha: Probability of ever naming a false winner, in (0, 1).
        worth: The smallest difference worth having, in units of reward; None for what the revision
            declares.
        watched: Metrics that must not get worse.
    """
    spec = evidence.spec
    whole_alpha, alpha = alpha, live_alpha(spec, alpha)
    ratio = _sample_ratio(evidence)
    worth = spec.analysis.worth if worth is None else worth
    comparisons, looks, sequences = compare(compared, alpha, worth)
    bounds = _bounds(evidence, comparisons)
    silent = [silent_report(evidence, each) for each in bounds]
    comparisons = tuple(map(_with_silence, comparisons, silent, bounds))
    verdict = decide(
        comparisons,
        method=method_of(compared),
        mismatch=ratio is not None and ratio.mismatch,
        mismatch_p=ratio.p_value if ratio else 1.0,
        alpha=whole_alpha,
        n=evidence.arms.size,
        units=rewarded(spec.sticky_by),
    )
    spoken = _spoken_of(verdict, comparisons)
    time_gates = _time_gates(compared, comparisons, sequences, spoken)
    # Ten numbers for each outcome, whose memory the arms' own sequences need.
    del sequences
    guardrails = tuple(
        each for c in comparisons for each in guardrail_reports(watched, c.arm, c.alpha)
    )
    gates = gates_of(evidence, bounds) + time_gates + guardrail_gates(guardrails, spoken)
    verdict = withhold(verdict, gates)
    if ratio is not None and ratio.mismatch:
        verdict = _explained(verdict, ratio, evidence)
    stuck = _no_reward(evidence)
    if stuck and verdict.decision == "continue":
        verdict = replace(verdict, reason=f"{stuck[:1].upper()}{stuck[1:]}.")
    window_ms = round(spec.attribution.window_s * 1000)
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
        notes=notes_of(compared) + _pairable(evidence, verdict),
        sticky_by=spec.sticky_by,
        no_reward=stuck,
        shares_alpha=spec.paired,
        gates=gates,
        guardrails=guardrails,
        judged_ms=evidence.now_ms - window_ms if window_ms else None,
        open=evidence.asked.open,
        finished=evidence.finished,
        analysis=spec.analysis,
        repeated=spec.attribution.repeated,
        decision_rule=spec.decides_by,
        silent=tuple(filter(None, silent)),
    )


def _with_silence(found: Comparison, silent: SilentReport | None, bounds: Bounds) -> Comparison:
    """Say of a decision how much of what is not known would open it again."""
    text = in_a_sentence(silent, bounds) if silent else ""
    return replace(found, weakest=f"{found.weakest} {text}".strip())


def _no_reward(evidence: Evidence) -> str:
    """Say why feedback came and no reward with it; empty if there is some, or no feedback."""
    if evidence.arms.size or not evidence.underived:
        return ""
    most = evidence.underived[0]
    return no_reward(most.reason, most.instead)


def _sample_ratio(evidence: Evidence) -> SampleRatioReport | None:
    """Test units against the shares of the revision that they met first, over all revisions.

    A mismatch stays one, whatever comes after it: what was measured while the split was broken is
    in the evidence for good.
    """
    asked = evidence.asked
    if len(evidence.spec.arms) < 2 or not asked.n:
        return None
    found = latched_at(asked.largest_evidence)
    seen, expected = asked.split(evidence.weights)
    return SampleRatioReport(found.p_value, found.mismatch, found.alpha, seen, expected)


def _explained(verdict: Verdict, ratio: SampleRatioReport, evidence: Evidence) -> Verdict:
    """Say by how much the split is off, where to look, and how to begin again."""
    spec = evidence.spec
    counts = counts_text([arm.name for arm in spec.arms], ratio.seen, ratio.expected)
    return replace(
        verdict,
        reason=f"{verdict.reason} {counts}",
        hints=(WHERE_TO_LOOK, STAYS, begin_again(spec)),
    )


def _pairable(evidence: Evidence, verdict: Verdict) -> tuple[str, ...]:
    """Note if asking every arm about the same rows would decide with fewer of them."""
    derived = reward_called(evidence.spec.reward).is_derived
    known = derived and len(evidence.truths) >= evidence.arms.size > 0
    if evidence.finished or verdict.decision != "continue" or len(evidence.spec.arms) < 2:
        return ()
    # Where every report asks the arms already, there is nothing to advise.
    if not known or evidence.spec.paired:
        return ()
    text = (
        "The truth of every answered row is known: `mlops report --paired` asks every arm about "
        "the same rows, and decides with fewer of them."
    )
    return (text,)


def with_paired(report: Report, paired: PairedReport) -> Report:
    """Let the comparison on the same rows decide where it can, with the live test as its check.

    Args:
        report: What arms earned, at half of alpha.
        paired: What they answer about the same rows, at the other half.
    """
    # A comparison that was kept may have been made at another alpha than this look's.
    alpha = max(report.verdict.alpha, report.verdict.alpha / 2 + paired.verdict.alpha)
    verdict = paired.verdict
    if verdict.decision in ("continue", "withheld") or report.verdict.decision == "invalid":
        return replace(report, paired=paired, verdict=replace(report.verdict, alpha=alpha))
    # Guardrails are of the arm that is promoted, which need not be the one that earned most.
    rails = guardrail_gates(report.guardrails, _spoken_of(verdict, report.comparisons))
    rest = tuple(gate for gate in report.gates if gate.name != "guardrail")
    report = replace(report, gates=rest + rails)
    shared = [gate for gate in rest if gate.name in _SHARED_GATES]
    shut = [gate for gate in (*shared, *rails) if not gate.passed]
    live = {c.arm: c for c in report.comparisons}
    against = [c for c in paired.comparisons if _contradicts(c, live[c.arm])]
    if against:
        text = f"What `{against[0].arm}` earned says the opposite of what it answers on the rows."
        hint = "Labels and what people do may differ: find out which of them counts."
        shut.append(Gate("live check", False, None, text, hint))
        report = replace(report, gates=(*report.gates, shut[-1]))
    return replace(report, paired=paired, verdict=replace(withhold(verdict, shut), alpha=alpha))


def _contradicts(paired: Comparison, live: Comparison) -> bool:
    return (paired.lower > 0 and live.upper < 0) or (paired.upper < 0 and live.lower > 0)


def _bounds(evidence: Evidence, comparisons: Sequence[Comparison]) -> list[Bounds]:
    return [Bounds(evidence.spec.index_of(c.arm), c.lower, c.upper) for c in comparisons]


def _time_gates(
    evidence: Evidence,
    comparisons: Sequence[Comparison],
    sequences: Sequence[ConfidenceSequence],
    spoken: Collection[str],
) -> tuple[Gate, ...]:
    """Conditions of time, of the comparisons that the verdict speaks of."""
    if not comparisons:
        return ()
    gates = [duration_gate(evidence)]
    for comparison, found in zip(comparisons, sequences, strict=True):
        if comparison.arm in spoken:
            gates.append(effect_gate(evidence, found, comparison.arm if len(spoken) > 1 else ""))
    return tuple(gate for gate in gates if gate is not None)


def _spoken_of(verdict: Verdict, comparisons: Sequence[Comparison]) -> tuple[str, ...]:
    """Name the arms that must keep the conditions of a verdict: those that it lets through.

    That which decides or is nearest to it; all, where none of them is said to be worse.
    """
    if verdict.decision == "not-worse":
        return tuple(each.arm for each in comparisons)
    if verdict.arm is not None:
        return (verdict.arm,)
    return (leading(comparisons).arm,) if comparisons else ()
