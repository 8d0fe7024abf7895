"""The three plots of the report's page: their contents. Pure; `charts` draws them.

Positions of texts are in per cent of a plot, paths in units of its square, see `charts`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlops.charts import (
    SIZE,
    Scale,
    Tick,
    band,
    column,
    covering,
    line,
    span_of_time,
    time_ticks,
    x_ticks,
    y_ticks,
)
from mlops.monitoring.comparing import Look
from mlops.monitoring.quality import MeasureName, Window, measures_of
from mlops.monitoring.timeline import Change, Course, Timeline

__all__ = ["differences", "duration", "quality", "span_of_time", "traffic"]

# The first intervals after the burn-in are so wide that they would flatten all others; the scale
# is that of the looks after this share of the units since.
_SETTLED = 0.06
_SPOTS = 60
_TABLE = 6


@dataclass(frozen=True, slots=True)
class Spot:
    """A section of a plot that shows its numbers on hover.

    Attributes:
        left: Where it begins, in per cent.
        width: How wide it is, in per cent.
        at: Position of the look itself, in per cent.
        look: Its numbers.
    """

    left: float
    width: float
    at: float
    look: Look


@dataclass(frozen=True, slots=True)
class DifferencePlot:
    """The curve of one comparison.

    Attributes:
        course: What is drawn.
        x: Ticks of units.
        y: Ticks of differences.
        zero: Where no difference is, in per cent from the top.
        band: Area of the confidence sequence.
        edges: Its two outlines.
        line: The estimate.
        burn_in: Width of the burn-in in per cent; 100 if it is not over.
        decided: Where 0 left the interval for good, in per cent; None if it did not.
        last: Where the newest estimate is: per cent from the left and from the top, or None.
        end: Where the newest interval is: top and height in per cent, or None.
        spots: Sections with numbers on hover.
        table: A few looks, as numbers.
    """

    course: Course
    x: tuple[Tick, ...]
    y: tuple[Tick, ...]
    zero: float
    band: str
    edges: str
    line: str
    burn_in: float
    decided: float | None
    last: tuple[float, float] | None
    end: tuple[float, float] | None
    spots: tuple[Spot, ...]
    table: tuple[Look, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """A revision that went live while the plot's time ran.

    Attributes:
        at: When, in per cent from the left.
        change: Which.
    """

    at: float
    change: Change


@dataclass(frozen=True, slots=True)
class TrafficPlot:
    """Requests per stretch of time, arms stacked.

    Attributes:
        x: Ticks of time.
        y: Ticks of requests.
        columns: One path per arm.
        marks: Changes of revision, but for the first.
        totals: Requests of each arm.
        most: Most requests in one stretch.
        first_ms: Start of the first stretch, milliseconds since 1970 in UTC.
        last_ms: End of the last.
        width_ms: Width of a stretch in milliseconds.
    """

    x: tuple[Tick, ...]
    y: tuple[Tick, ...]
    columns: tuple[str, ...]
    marks: tuple[Mark, ...]
    totals: tuple[int, ...]
    most: int
    first_ms: int
    last_ms: int
    width_ms: int


@dataclass(frozen=True, slots=True)
class QualityLine:
    """One arm's quality over time.

    Attributes:
        line: Path through its windows.
        dots: Its windows: per cent from the left and from the top.
        values: One per window; None where the arm has no truth.
    """

    line: str
    dots: tuple[tuple[float, float], ...]
    values: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class QualityPlot:
    """Quality of every arm over time.

    Attributes:
        measure: What is drawn.
        x: Ticks of time.
        y: Ticks of the measure.
        lines: One per arm.
        windows: What the values belong to.
    """

    measure: MeasureName
    x: tuple[Tick, ...]
    y: tuple[Tick, ...]
    lines: tuple[QualityLine, ...]
    windows: tuple[Window, ...]


def differences(courses: Sequence[Course]) -> tuple[DifferencePlot, ...]:
    """Draw every comparison, all on one scale."""
    scale = covering(bound for course in courses for bound in _telling(course))
    return tuple(_difference(course, scale) for course in courses)


def traffic(timeline: Timeline, arms: int) -> TrafficPlot | None:
    """Draw the traffic; None if there was none."""
    slices, width = timeline.traffic, timeline.width_ms
    if not slices:
        return None
    counts: dict[int, list[int]] = {}
    for each in slices:
        counts.setdefault(each.start_ms, [0] * arms)[each.arm] += each.drawn
    x = Scale(min(counts), max(counts) + width)
    most = max(map(sum, counts.values()))
    y = Scale(0, 1.06 * most)
    paths = [""] * arms
    for start, row in counts.items():
        base = 0
        # A little air between neighbours.
        left, right = x.at(start + 0.06 * width), x.at(start + 0.94 * width)
        for arm, count in enumerate(row):
            low, high = SIZE - y.at(base), SIZE - y.at(base + count)
            paths[arm] += column(left, right, low, high)
            base += count
    return TrafficPlot(
        x=time_ticks(x, 7),
        y=_whole(y_ticks(y, 4), most),
        columns=tuple(paths),
        marks=_marks(timeline.changes, x),
        totals=tuple(sum(row[arm] for row in counts.values()) for arm in range(arms)),
        most=most,
        first_ms=int(x.low),
        last_ms=int(x.high),
        width_ms=width,
    )


def quality(timeline: Timeline, arms: int) -> QualityPlot | None:
    """Draw the quality; None without truths."""
    windows = timeline.quality
    if not windows:
        return None
    measures = measures_of(one for window in windows for one in window.arms)
    if not measures:
        return None
    field = measures[0].field
    values = [[getattr(window.arms[arm], field) for window in windows] for arm in range(arms)]
    middles = [(window.start_ms + window.end_ms) / 2 for window in windows]
    x = Scale(windows[0].start_ms, windows[-1].end_ms)
    known = [v for row in values for v in row if v is not None]
    y = covering(known, zero=False, margin=0.15)
    return QualityPlot(
        measure=measures[0],
        x=time_ticks(x, 7) if x.high > x.low else (),
        y=y_ticks(y, 4),
        lines=tuple(_quality_line(middles, row, x, y) for row in values),
        windows=windows,
    )


def duration(width_ms: int) -> str:
    """Say how long a stretch of time is.

    >>> duration(1000), duration(900_000), duration(86_400_000)
    ('second', '15 minutes', 'day')
    """
    for size, noun in ((86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute")):
        if width_ms % size == 0:
            count = width_ms // size
            return noun if count == 1 else f"{count} {noun}s"
    return "second" if width_ms == 1000 else f"{width_ms / 1000:g} seconds"


def _telling(course: Course) -> list[float]:
    """Numbers by which the scale of a comparison is chosen."""
    if not course.looks:
        return []
    last = course.looks[-1].n
    if course.opened is None:
        # The scale must not favour a direction.
        return [sign * k.estimate for k in course.looks if k.n >= last / 2 for sign in (1, -1)]
    settled = course.opened + _SETTLED * (last - course.opened)
    return [b for k in course.looks if k.n >= settled for b in (k.lower, k.estimate, k.upper)]


def _difference(course: Course, y: Scale) -> DifferencePlot:
    looks = course.looks
    x = Scale(0, looks[-1].n if looks else 1)
    points = [(x.at(k.n), SIZE - y.at(k.lower), SIZE - y.at(k.upper)) for k in looks if _open(k)]
    lows, highs = [(at, low) for at, low, _ in points], [(at, high) for at, _, high in points]
    last = looks[-1] if looks else None
    known = last is not None and last.estimate == last.estimate
    return DifferencePlot(
        course=course,
        x=x_ticks(x, 6),
        y=y_ticks(y, 5, signed=True),
        zero=y.up(0.0),
        band=band(points),
        edges=line(lows) + line(highs),
        # An estimate from a handful of units would only draw the eye.
        line=line(
            (x.at(k.n), SIZE - y.at(k.estimate)) for k in looks if k.n >= (course.opened or 0)
        ),
        burn_in=100.0 if course.opened is None else x.percent(course.opened),
        decided=None if course.decided is None else x.percent(course.decided),
        last=(x.percent(last.n), y.up(last.estimate)) if last and known else None,
        end=(y.up(last.upper), round(y.up(last.lower) - y.up(last.upper), 2))
        if last and _open(last)
        else None,
        spots=_spots(looks, x),
        table=_few(looks),
    )


def _open(look: Look) -> bool:
    return look.lower > float("-inf") and look.upper < float("inf")


def _spots(looks: Sequence[Look], x: Scale) -> tuple[Spot, ...]:
    """Neighbouring stretches of equal width, each with the look nearest to its middle."""
    if not looks:
        return ()
    width = 100 / _SPOTS
    spots = []
    for index in range(_SPOTS):
        middle = x.low + (index + 0.5) / _SPOTS * (x.high - x.low)
        near = min(looks, key=lambda look: abs(look.n - middle))
        spots.append(Spot(round(index * width, 3), round(width, 3), x.percent(near.n), near))
    return tuple(spots)


def _few(looks: Sequence[Look]) -> tuple[Look, ...]:
    """A few looks at even steps of units, and the newest."""
    if not looks:
        return ()
    wanted = [looks[-1].n * (step + 1) / _TABLE for step in range(_TABLE)]
    picked = {min(looks, key=lambda look: abs(look.n - n)).n for n in wanted}
    return tuple(look for look in looks if look.n in picked)


def _marks(changes: Sequence[Change], x: Scale) -> tuple[Mark, ...]:
    return tuple(
        Mark(x.percent(change.time_ms), change)
        for change in changes[1:]
        if x.low <= change.time_ms <= x.high
    )


def _whole(ticks: tuple[Tick, ...], most: int) -> tuple[Tick, ...]:
    """Leave out fractions of a request."""
    return ticks if most >= 4 else tuple(tick for tick in ticks if "." not in tick.label)


def _quality_line(
    middles: Sequence[float], values: Sequence[float | None], x: Scale, y: Scale
) -> QualityLine:
    known = [(at, v) for at, v in zip(middles, values, strict=True) if v is not None]
    return QualityLine(
        line=line((x.at(at), SIZE - y.at(v)) for at, v in known),
        dots=tuple((x.percent(at), y.up(v)) for at, v in known),
        values=tuple(values),
    )
