"""The verdict in words, the arms, and the confidence sequence as it narrows."""

from __future__ import annotations

from typing import Any

from mlops.live_page.looking import Look
from mlops.live_page.templates import finite, render
from mlops.monitoring.timeline import Course
from mlops.monitoring.verdict_text import in_words, reward_in_words

_TABLE = 12


def verdict(look: Look) -> str:
    """Write the part."""
    page = look.page
    unit = "sticky unit" if page.spec.sticky_by else "request"
    return render(
        "verdict",
        report=page.report,
        words=in_words(page.report, unit),
        unit=unit,
        baseline=page.baseline,
        reward=reward_in_words(page.report.reward),
        courses=[(course, _drawn(course), _some(course)) for course in page.timeline.courses],
        colors={arm.name: index for index, arm in enumerate(page.spec.arms)},
    )


def _drawn(course: Course) -> dict[str, Any]:
    """Return what the script draws: the interval at each look, from where there is one."""
    looks = [each for each in course.looks if finite(each.lower) is not None]
    return {
        "color": course.index,
        "x": [each.n for each in looks],
        "estimate": [finite(each.estimate) for each in looks],
        "lower": [finite(each.lower) for each in looks],
        "upper": [finite(each.upper) for each in looks],
    }


def _some(course: Course) -> list[Any]:
    """Return the looks of the table beside the chart, the newest last."""
    looks = [each for each in course.looks if finite(each.lower) is not None]
    step = max(1, len(looks) // _TABLE)
    return looks[::-step][::-1]
