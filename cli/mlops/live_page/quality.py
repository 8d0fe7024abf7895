"""Quality where labels arrive: the tests of the consumer `quality`, and measures over time."""

from __future__ import annotations

from typing import Any

from mlops.errors import NotFoundError
from mlops.live_page.looking import Look
from mlops.live_page.templates import finite, render
from mlops.monitoring.quality import measures_of
from mlops.monitoring.quality_watch import ALPHA, CONSUMER, QualityFold, QualityReport

# Fewer labels are no point of a chart, only a part of its line.
_FEW = 30
_NOTHING = (
    "No labels yet: nothing is known of how good the answers are. `mlops feedback` sends them."
)


def quality(look: Look) -> str:
    """Write the part."""
    report = _watched(look)
    windows = look.page.timeline.quality
    if not windows and not report.streams:
        raise NotFoundError(_NOTHING)
    arms = [arm.name for arm in look.page.report.arms]
    return render(
        "quality",
        report=report,
        is_watched=CONSUMER in look.source.consumers,
        charts=_charts(look),
        windows=windows,
        arms=arms,
        colors={arm.name: index for index, arm in enumerate(look.spec.arms)},
        alpha=ALPHA,
        few=_FEW,
    )


def _watched(look: Look) -> QualityReport:
    """Return what the consumer has stored; nothing is read beyond that."""
    fold = QualityFold(look.journal, lambda arm: {})
    if not fold.follow():
        raise NotFoundError(_NOTHING)
    return fold.report(look.source.deployment, ALPHA, fold.answered())


def _charts(look: Look) -> list[tuple[Any, dict[str, Any]]]:
    """Return each measure that is known, and its values by window and arm."""
    page = look.page
    windows = page.timeline.quality
    found = []
    for name in measures_of(quality for window in windows for quality in window.arms):
        lines = [
            [_value(window.arms[at], name.field) for window in windows]
            for at in range(len(page.report.arms))
        ]
        data = {
            "t": [(window.start_ms + window.end_ms) / 2000 for window in windows],
            "arms": [arm.name for arm in page.report.arms],
            "values": lines,
            # Which of them few labels tell.
            "few": [
                [at for at, window in enumerate(windows) if window.arms[arm].n < _FEW]
                for arm in range(len(page.report.arms))
            ],
        }
        found.append((name, data))
    return found


def _value(quality: object, field: str) -> float | None:
    value = getattr(quality, field)
    return None if value is None else finite(value)
