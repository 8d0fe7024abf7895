"""Numbers to SVG: scales, ticks and path data. Pure; nothing here knows what the numbers mean.

A chart is drawn into a square of `SIZE` units that the page stretches to whatever room there is
(`preserveAspectRatio="none"`), while its texts stand beside the square at percentages and are not
stretched. So one drawing is sharp and readable on a phone, a desk and paper, without a script.

Values that are not finite leave a gap; finite ones far outside the scale are cut to a little
beyond its edges, since browsers lose precision on huge coordinates.
"""

from __future__ import annotations

import datetime as dt
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

#: Width and height of the square that paths are drawn into.
SIZE = 1000.0
_BEYOND = 0.5
_SECOND, _MINUTE, _HOUR, _DAY = 1_000, 60_000, 3_600_000, 86_400_000
_STEPS_MS = (
    *(_SECOND * n for n in (1, 2, 5, 10, 15, 30)),
    *(_MINUTE * n for n in (1, 2, 5, 10, 15, 30)),
    *(_HOUR * n for n in (1, 2, 3, 6, 12)),
    *(_DAY * n for n in (1, 2, 7, 14)),
)
_MONTH_STEPS = (1, 2, 3, 6, 12, 24, 60, 120)

Point: TypeAlias = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Scale:
    """A stretch of numbers laid over an axis.

    Attributes:
        low: Number at its start.
        high: Number at its end; may equal `low`, then everything is in the middle.
    """

    low: float
    high: float

    def at(self, value: float) -> float:
        """Position in [0, `SIZE`], a little more or less for values beyond; NaN for NaN.

        >>> Scale(0, 4).at(1), Scale(0, 4).at(-100), Scale(3, 3).at(3)
        (250.0, -500.0, 500.0)
        """
        span = self.high - self.low
        share = (value - self.low) / span if span > 0 else 0.5
        return SIZE * min(max(share, -_BEYOND), 1 + _BEYOND) if not math.isnan(share) else share

    def percent(self, value: float) -> float:
        """Position along a horizontal axis in per cent."""
        return round(self.at(value) * 100 / SIZE, 2)

    def up(self, value: float) -> float:
        """Position along an axis that grows upwards, in per cent from the top."""
        return round(100 - self.at(value) * 100 / SIZE, 2)


@dataclass(frozen=True, slots=True)
class Tick:
    """A labelled place on an axis.

    Attributes:
        at: Where, in per cent from the left or from the top.
        label: What is there.
        minor: Whether it may be left out where there is little room.
    """

    at: float
    label: str
    minor: bool = False


def covering(values: Iterable[float], *, zero: bool = True, margin: float = 0.08) -> Scale:
    """Return a scale that shows all finite values, with some air.

    Args:
        values: Any numbers; none of them finite gives -1 to 1.
        zero: Whether 0 must be on it.
        margin: Air on either side, as a share of the span; none beside an edge at 0 that no value
            crosses.

    >>> covering([1.0, 3.0, math.inf], zero=False, margin=0.5)
    Scale(low=0.0, high=4.0)
    >>> covering([])
    Scale(low=-1.0, high=1.0)
    """
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return Scale(-1.0, 1.0)
    low, high = min(finite), max(finite)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    span = (high - low) or abs(high) or 1.0
    return Scale(low - margin * span, high + margin * span)


def nice_numbers(scale: Scale, count: int) -> list[float]:
    """Return about `count` round numbers on the scale, 1, 2 or 5 times a power of ten apart.

    >>> nice_numbers(Scale(-0.19, 0.07), 5)
    [-0.15, -0.1, -0.05, 0.0, 0.05]
    """
    span = scale.high - scale.low
    if not span > 0:
        return [scale.low]
    raw = span / max(count, 1)
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= 0.7 * raw)
    first, last = math.ceil(scale.low / step - 1e-9), math.floor(scale.high / step + 1e-9)
    digits = max(0, 1 - math.floor(math.log10(step)))
    return [round(index * step, digits) + 0.0 for index in range(first, last + 1)]


def number_labels(values: Sequence[float], *, signed: bool = False) -> list[str]:
    """Write numbers with as many digits as it takes to tell them apart.

    >>> number_labels([0.0, 0.05, 0.1], signed=True)
    ['0', '+0.05', '+0.10']
    >>> number_labels([0.0, 5000.0, 10000.0])
    ['0', '5,000', '10,000']
    """
    step = min((abs(b - a) for a, b in itertools.pairwise(values)), default=abs(sum(values)))
    largest = max(map(abs, values), default=0.0)
    if 0 < step < 1e-6 or largest >= 1e7:
        return [_minus(f"{value:{'+' if signed and value else ''}.3g}") for value in values]
    digits = max(0, -math.floor(math.log10(step) + 1e-9)) if step else 0
    if any(abs(round(v, digits) - v) > 1e-3 * step for v in values):
        digits += 1
    form = f"{'+' if signed else ''},.{digits}f"
    return [_minus(format(value, form)) if value else "0" for value in values]


def x_ticks(scale: Scale, count: int) -> tuple[Tick, ...]:
    """Return ticks of a horizontal axis of counts; fractions of one are left out."""
    values = [value for value in nice_numbers(scale, count) if value == int(value)]
    labels = number_labels(values)
    return tuple(
        Tick(scale.percent(value), label, minor=index % 2 == 1)
        for index, (value, label) in enumerate(zip(values, labels, strict=True))
    )


def y_ticks(scale: Scale, count: int, *, signed: bool = False) -> tuple[Tick, ...]:
    """Return ticks of a vertical axis."""
    values = nice_numbers(scale, count)
    labels = number_labels(values, signed=signed)
    return tuple(Tick(scale.up(v), label) for v, label in zip(values, labels, strict=True))


def nice_width_ms(span_ms: int, most: int) -> int:
    """Return the shortest round stretch of time of which `most` cover a span, in milliseconds.

    >>> nice_width_ms(3_600_000, 60), nice_width_ms(0, 60), nice_width_ms(400 * 86_400_000, 60)
    (60000, 1000, 604800000)
    """
    wanted = span_ms / most
    for step in _STEPS_MS:
        if step >= wanted:
            return step
    return math.ceil(wanted / (7 * _DAY)) * 7 * _DAY


def time_ticks(scale: Scale, count: int) -> tuple[Tick, ...]:
    """Return ticks of a time axis in UTC: round times, each as short as its neighbours allow.

    Args:
        scale: Milliseconds since 1970 in UTC.
        count: About how many.
    """
    wanted = (scale.high - scale.low) / max(count, 1)
    step = next((step for step in _STEPS_MS if step >= wanted), 0)
    if not step:
        moments = [(at, f"{_utc(at):%b %Y}") for at in _months(scale, wanted)]
    else:
        # One more below and one above are no harm: those off the scale are dropped.
        first = math.ceil(scale.low / step)
        last = math.floor(scale.high / step)
        moments = [(i * step, _clock(i * step, step)) for i in range(first, last + 1)]
    return tuple(
        Tick(scale.percent(at), label, minor=index % 2 == 1)
        for index, (at, label) in enumerate(moments)
    )


def span_of_time(first_ms: int, last_ms: int) -> str:
    """Write a stretch of time in UTC, saying nothing twice.

    >>> span_of_time(0, 5_400_000)
    '1 Jan 1970, 00:00 to 01:30 UTC'
    >>> span_of_time(0, 93_600_000)
    '1 Jan 1970, 00:00 to 2 Jan 1970, 02:00 UTC'
    """
    first, last = _utc(first_ms), _utc(last_ms)
    form = "%H:%M:%S" if last_ms - first_ms < 10 * _MINUTE else "%H:%M"
    day = "" if first.date() == last.date() else f"{_date(last)}, "
    return f"{_date(first)}, {first:{form}} to {day}{last:{form}} UTC"


def line(points: Iterable[Point]) -> str:
    """Return the path through points in units of the square; not finite ones leave a gap.

    >>> line([(0, 10), (5, math.nan), (10, 0), (20, 5)])
    'M0 10M10 0L20 5'
    """
    parts, drawing = [], False
    for x, y in points:
        if math.isfinite(x) and math.isfinite(y):
            parts.append(f"{'L' if drawing else 'M'}{_brief(x)} {_brief(y)}")
            drawing = True
        else:
            drawing = False
    return "".join(parts)


def band(points: Iterable[tuple[float, float, float]]) -> str:
    """Return the outline of the area between two curves given as (x, low, high).

    >>> band([(0, 9, 1), (5, math.inf, 0), (6, 8, 2), (10, 7, 3)])
    'M6 2L10 3L10 7L6 8Z'
    """
    parts = []
    for known, group in itertools.groupby(points, lambda p: all(map(math.isfinite, p))):
        stretch = list(group)
        if known and len(stretch) > 1:
            there = [(x, high) for x, _, high in stretch]
            back = [(x, low) for x, low, _ in reversed(stretch)]
            parts.append(line(there + back) + "Z")
    return "".join(parts)


def column(left: float, right: float, low: float, high: float) -> str:
    """Return the path of one upright bar; nothing for one without height.

    >>> column(0, 10, 100, 40)
    'M0 100V40H10V100Z'
    """
    if low == high:
        return ""
    return f"M{_brief(left)} {_brief(low)}V{_brief(high)}H{_brief(right)}V{_brief(low)}Z"


def _brief(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") or "0"


def _minus(text: str) -> str:
    """A minus as wide as a plus."""
    return text.replace("-", "\N{MINUS SIGN}")


def _utc(time_ms: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(time_ms / 1000, dt.UTC)


def _date(day: dt.datetime) -> str:
    return f"{day.day} {day:%b %Y}"


def _clock(time_ms: int, step_ms: int) -> str:
    moment = _utc(time_ms)
    if step_ms >= _DAY or (step_ms >= _HOUR and time_ms % _DAY == 0):
        return f"{moment.day} {moment:%b}"
    return f"{moment:%H:%M:%S}" if step_ms < _MINUTE else f"{moment:%H:%M}"


def _months(scale: Scale, wanted_ms: float) -> Iterator[float]:
    """First days of months that are on the scale, so many months apart."""
    months = wanted_ms / (30 * _DAY)
    step = next((step for step in _MONTH_STEPS if step >= 0.7 * months), _MONTH_STEPS[-1])
    start = _utc(scale.low)
    index = -(-(start.year * 12 + start.month - 1) // step) * step
    while True:
        at = dt.datetime(index // 12, index % 12 + 1, 1, tzinfo=dt.UTC).timestamp() * 1000
        if at > scale.high:
            return
        if at >= scale.low:
            yield at
        index += step
