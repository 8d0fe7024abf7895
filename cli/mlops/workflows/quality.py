"""`mlops monitor quality`: whether models answer worse than in validation, where truth arrives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from mlops.deployment.locate import locate
from mlops.errors import InvalidInputError, one_of
from mlops.monitoring.powered_quality import PoweredMeasure, powered_quality
from mlops.monitoring.quality_measures import MeasureName, metrics_of
from mlops.monitoring.quality_streams import FIRST
from mlops.monitoring.quality_watch import QualityReport, watch_quality
from mlops.settings import Settings
from mlops.settings.schema import labels_at_random
from mlops.workflows.evidence import open_evidence, unanswered
from mlops.workflows.validation import figures_of


@dataclass(frozen=True, slots=True)
class FullQualityReport(QualityReport):
    """What was found, with what is known of all answers.

    Attributes:
        powered: Measures over all answers; none unless labels come at random.
    """

    powered: tuple[PoweredMeasure, ...] = ()


def look_at_quality(settings: Settings, name: str | None, alpha: float) -> FullQualityReport:
    """Compare what the live models answered with the truth, as far as that is known.

    Args:
        settings: The project's settings.
        name: Deployment, or None for the only one.
        alpha: Probability of any alarm, ever, though nothing is worse.

    Raises:
        InvalidInputError: `alpha` is not a number, or `watch.labels` says something unknown.
        NotFoundError: There is no such deployment, its journal is not here, or it has answered no
            request yet.
        ConflictError: Its servers keep no journal.
        RemoteError: The journal, or the tracking server, cannot be read.
    """
    if not math.isfinite(alpha):
        raise InvalidInputError(f"`--alpha {alpha}` is no number.")
    at_random = labels_at_random(settings.watch.labels)
    located = locate(settings, name)
    journal, _ = open_evidence(settings, located)
    try:
        found = watch_quality(
            journal, located.name, lambda arm: figures_of(settings, arm.model), alpha
        )
        powered = powered_quality(journal, alpha) if at_random else ()
    finally:
        journal.close()
    if found is None or not any(each.answered for each in found.judged):
        raise unanswered(located.name)
    every = {each.name: getattr(found, each.name) for each in fields(found)}
    return replace(FullQualityReport(**every), notes=tuple(_notes(found)), powered=powered)


def _notes(found: QualityReport) -> list[str]:
    notes = [
        f"Nothing is known about the answers of `{each.arm}`: no truth came for any of its "
        f"{each.answered:,} rows."
        for each in found.judged
        if not each.rows and not each.not_compared
    ]
    notes += [
        f"`{each.arm}`: the truth of {each.not_compared:,} of its {each.answered:,} rows is known "
        f"and cannot be compared with the answers: {each.why_not}."
        for each in found.judged
        if each.not_compared
    ]
    notes += [f"`{each.arm}`: {each.unknown}" for each in found.judged if each.unknown]
    notes += [_without_figures(*each) for each in _unknown_figures(found).items()]
    return notes


def _unknown_figures(found: QualityReport) -> dict[str, list[MeasureName]]:
    """Return the measures of each arm whose validation figure is not known."""
    unknown: dict[str, list[MeasureName]] = {}
    for each in found.streams:
        if each.against == "first judged":
            unknown.setdefault(each.arm, []).append(each.measure)
    return unknown


def _without_figures(arm: str, measures: Sequence[MeasureName]) -> str:
    wanted = "; ".join(
        f"{measure.replace('_', ' ')}: {one_of(metrics_of(measure))}" for measure in measures
    )
    return (
        f"`{arm}` is compared with its first {FIRST:,} judged rows: its run has no metric that is "
        f"a validation figure of this. Log one, also with a prefix such as `val_`. {wanted}. An "
        "accuracy, error rate or Brier score must be in [0, 1]."
    )
