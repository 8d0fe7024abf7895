"""Two distributions of one feature drawn over each other: training data, and the newest requests.

Both are shares of their own number, so that their areas are equal. Numbers share bins of equal
width; what is beyond the range is drawn at its end. Times are numbers, seconds since 1970, written
as dates. Categories are bars side by side.
"""

from __future__ import annotations

import datetime as dt
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlops.charts import SIZE
from mlops.monitoring.figures import number
from mlops.stats.profiles import Categories, Distribution, FeatureProfile
from mlops.tables.times import seconds

_BINS = 24
_LARGEST = 1e300
_CATEGORIES = 6
_OTHER = "others"
# Beyond these shares of the newest values an axis does not stretch.
_TAIL = (0.005, 0.995)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
# Python's dates are those of the years 1 to 9999.
_FIRST_SECOND = (dt.datetime(1, 1, 1, tzinfo=dt.UTC) - _EPOCH).total_seconds()
_LAST_SECOND = (dt.datetime(9999, 12, 31, tzinfo=dt.UTC) - _EPOCH).total_seconds()
_HOUR, _MONTH = 3600.0, 30 * 86_400.0


@dataclass(frozen=True, slots=True)
class Bar:
    """One category.

    Attributes:
        name: What it is.
        before: Its share of the training data, in [0, 1].
        now: Its share of the newest requests.
    """

    name: str
    before: float
    now: float


@dataclass(frozen=True, slots=True)
class Drawn:
    """One feature.

    Attributes:
        before: Path of the training data in a square of `SIZE`, closed; empty without any.
        now: Path of the newest values, an outline.
        low: Left end of the axis.
        high: Right end.
        medians: Of both; None where there is none.
        count: Newest values that are drawn.
        bars: Categories, in place of the paths.
        are_times: Whether `low`, `high` and the medians are seconds since 1970.
    """

    before: str = ""
    now: str = ""
    low: float = 0.0
    high: float = 0.0
    medians: tuple[float | None, float | None] = (None, None)
    count: int = 0
    bars: tuple[Bar, ...] = ()
    are_times: bool = False

    def written(self, value: float | None) -> str:
        """Write a number of the axis, or a time with the digits that its length asks for."""
        if not self.are_times or value is None:
            return number(value)
        length = self.high - self.low
        form = "%Y-%m-%d" if length > _MONTH else "%Y-%m-%d %H:%M"
        if length < _HOUR:
            form = "%Y-%m-%d %H:%M:%S"
        # An axis may begin before the first time.
        time = _EPOCH + dt.timedelta(seconds=min(max(value, _FIRST_SECOND), _LAST_SECOND))
        return f"{time:{form}}"


def draw(profile: FeatureProfile | None, cells: Sequence[Any]) -> Drawn | None:
    """Draw the values of a feature over its profile; None where there is nothing to draw.

    Values of which nearly every one is another say who a request is about, and are not drawn.

    Args:
        profile: What it was in the training data; None if that is not known.
        cells: Newest values, as JSON has them.
    """
    there = [cell for cell in cells if cell is not None]
    times = _times(profile, there)
    if times is not None:
        drawn = numbers(profile.numbers if profile else None, times)
        return replace(drawn, are_times=True) if drawn else None
    if profile is not None and profile.numbers is not None:
        # A text among numbers is counted as strange; it hides nothing else.
        # Integers beyond the largest number would overflow it.
        known = (cell for cell in there if isinstance(cell, int | float))
        there = [float(cell) for cell in known if abs(cell) < _LARGEST]
    if profile is not None and profile.kind == "distinct":
        return None
    if profile is not None and profile.categories is not None:
        return _categories(profile.categories, there)
    values = _numbers(there)
    if values is None:
        return _categories(Categories({}, 0, 0), there) if profile is None and there else None
    return numbers(profile.numbers if profile else None, values)


def numbers(
    before: Distribution | None, values: NDArray[np.float64], ends: Sequence[float] = ()
) -> Drawn | None:
    """Draw numbers; see `draw`.

    Args:
        before: Numbers of the training data.
        values: (m,) finite.
        ends: Numbers that must be on the axis too.
    """
    ends = [*ends, *([before.minimum, before.maximum] if before else ())]
    if len(values):
        ends += np.quantile(values, _TAIL).tolist()
    if not ends:
        return None
    low, high = min(ends), max(ends)
    # So large are only numbers of the training data.
    if not math.isfinite(high - low):
        return None
    if low == high:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, _BINS + 1)
    old = _shares(_reference(before), edges)
    new = _shares(values, edges)
    top = max(old.max(initial=0), new.max(initial=0)) or 1.0
    median = before.percentiles[50] if before else None
    return Drawn(
        before=f"M0 {SIZE:g}{_steps(old / top)}V{SIZE:g}Z" if before else "",
        now=f"M0 {SIZE:g}{_steps(new / top)}V{SIZE:g}" if len(values) else "",
        low=low,
        high=high,
        medians=(median, float(np.median(values)) if len(values) else None),
        count=len(values),
    )


def _reference(before: Distribution | None) -> NDArray[np.float64]:
    if before is None:
        return np.array([])
    if before.sample:
        return np.array(before.sample)
    # Profiles of old versions have no sample: their percentiles are 101 of its values.
    return np.array(before.percentiles)


def _shares(values: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
    shares: NDArray[np.float64] = counts / max(1, counts.sum())
    return shares


def _steps(heights: NDArray[np.float64]) -> str:
    width = SIZE / len(heights)
    return "".join(
        f"V{SIZE * (1 - height):.0f}H{(at + 1) * width:.0f}" for at, height in enumerate(heights)
    )


def can_be_drawn(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which numbers an axis can have: the difference of two must be finite too."""
    return np.abs(values) < _LARGEST


def _numbers(cells: Sequence[Any]) -> NDArray[np.float64] | None:
    """Return the numbers that can be drawn, (m,); None where texts are among them."""
    if any(isinstance(cell, str | bool | list | dict) for cell in cells):
        return None
    try:
        found = np.array(cells, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        return None
    return found[can_be_drawn(found)]


def _times(profile: FeatureProfile | None, cells: Sequence[Any]) -> NDArray[np.float64] | None:
    """Return the times among the cells as seconds since 1970, (m,); None for another feature.

    Without a profile it is one of times if all of its cells are.
    """
    if profile is not None and profile.kind != "time":
        return None
    found = [seconds(cell) if isinstance(cell, str) else cell for cell in cells]
    if profile is None and not (
        cells and all(isinstance(c, str) for c in cells) and None not in found
    ):
        return None
    # In Python a boolean is an integer.
    known = [cell for cell in found if isinstance(cell, int | float) and not isinstance(cell, bool)]
    known = [time for time in known if _FIRST_SECOND <= time <= _LAST_SECOND]
    return np.array(known, dtype=np.float64)


def _categories(before: Categories, cells: Sequence[Any]) -> Drawn | None:
    now = Counter(str(each).lower() if isinstance(each, bool) else str(each) for each in cells)
    old: Mapping[str, int] = before.counts
    old_total, new_total = sum(old.values()) + before.other, sum(now.values())
    if not old_total and not new_total:
        return None
    order = sorted({*old, *now}, key=lambda name: (-old.get(name, 0), -now[name], name))
    # What is new and frequent must be seen.
    new = [name for name, _ in now.most_common(2) if name not in order[:_CATEGORIES]]
    named = [*order[: _CATEGORIES - len(new)], *new]
    bars = [
        Bar(name, old.get(name, 0) / max(1, old_total), now[name] / max(1, new_total))
        for name in named
    ]
    rest = Bar(_OTHER, 1 - sum(b.before for b in bars), 1 - sum(b.now for b in bars))
    if (rest.before > 1e-9 and old_total) or (rest.now > 1e-9 and new_total):
        shown = (rest.before if old_total else 0.0, rest.now if new_total else 0.0)
        bars.append(Bar(_OTHER, max(0.0, shown[0]), max(0.0, shown[1])))
    return Drawn(count=new_total, bars=tuple(bars))
