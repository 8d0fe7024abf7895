"""Whether a test has run long enough to be acted on, and whether its effect lasts."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mlops.monitoring.asked import Rhythm
from mlops.monitoring.evidence import Evidence
from mlops.monitoring.gates import Gate
from mlops.spec.analysis import AUTO
from mlops.stats.sequence import ConfidenceSequence
from mlops.stats.time_effect import EffectOverTime, cycle, effect_over_time

_DAY_MS = 86_400_000
_WEEK_DAYS = 7.0
# Fewest units of a block of time: its mean must be nearly normal.
_BLOCK = 100
# Hours before traffic is considered to have no rhythm, and requests in each: with 5 an
# hour a rhythm that moves traffic by half of its mean explains more than half of the counts.
_RHYTHM_HOURS, _PER_HOUR = 48, 5.0


def duration_gate(evidence: Evidence) -> Gate | None:
    """Require whole cycles of traffic: users have a week.

    A test of less than a day is about that day, and says so. One that runs on for days must see a
    whole week, since Monday is not Sunday; unless two days or more of dense traffic have shown no
    rhythm, as that of machines.

    Args:
        evidence: All of the experiment.
    """
    min_days = evidence.spec.analysis.min_days
    if not evidence.times_ms.size:
        return None
    # Units not judged yet are no evidence.
    seen = evidence.asked.judged
    if seen.span_ms is None:
        seen = Rhythm.of(evidence.times_ms)
    assert seen.span_ms is not None
    days = float(seen.span_ms[1] - seen.span_ms[0]) / _DAY_MS
    if min_days == AUTO:
        if days <= 1:
            text = f"The requests span {_span(days)}: other hours and days may differ."
            return Gate("duration", True, None, text)
        if days < _WEEK_DAYS and _rhythm(seen.hourly) == "none":
            text = f"The requests span {_span(days)}; traffic has no daily or weekly pattern."
            return Gate("duration", True, None, text)
        min_days = _WEEK_DAYS
    if days >= min_days:
        return Gate("duration", True, None, f"The requests span {_span(days)}.")
    return Gate(
        "duration",
        False,
        None,
        f"The requests span {_span(days)}, less than {_span(min_days)}: weekdays and weekends may "
        "differ.",
        "Let it run for whole weeks, or set `[report] min_days`.",
    )


def _rhythm(hourly: NDArray[np.int64]) -> Literal["day", "week", "none"] | None:
    """The rhythm of traffic; None where too little of it was seen to say that it has none."""
    # The last hour is not over.
    hourly = hourly[:-1]
    found = cycle(hourly)
    if found is None and hourly.size >= _RHYTHM_HOURS and hourly.mean() >= _PER_HOUR:
        return "none"
    return found


def effect_gate(evidence: Evidence, found: ConfidenceSequence, arm: str = "") -> Gate | None:
    """Test whether the effect persists: a new model may profit from novelty only.

    Args:
        evidence: All of the experiment.
        found: The comparison that decides.
        arm: Name of its arm, where several decide.
    """
    over_time = _over_time(evidence, found)
    decided = bool(found.excludes()[-1:].any())
    if over_time is None or not (over_time.changes or (over_time.fades and decided)):
        return None
    of = f" of `{arm}`" if arm else ""
    text = (
        f"The difference{of} changes over time: {over_time.early:+.3g} in the first half, "
        f"{over_time.late:+.3g} in the second."
    )
    if not over_time.fades:
        return Gate("effect over time", True, over_time.p_value, text)
    hint = "Let it run until the difference settles, or begin a new test now that it is known."
    return Gate("effect over time", False, over_time.p_value, text, hint)


def _over_time(evidence: Evidence, found: ConfidenceSequence) -> EffectOverTime | None:
    """Test the effect over days, or over longer blocks where days have few units."""
    n = evidence.times_ms.size
    if not n or not found.ready[-1]:
        return None
    # The estimate is S over its mass, which is not known where it is 0.
    mass = found.total / np.where(found.estimate == 0, np.nan, found.estimate)
    ends = _block_ends(evidence.times_ms)
    ends = ends[np.isfinite(mass[ends])]
    # Past a horizon, or while an arm was off, days add nothing: they join the next block.
    ends = ends[np.diff(mass[ends], prepend=0.0) > 0]
    if ends.size < 2:
        return None
    blocks = [np.diff(each[ends], prepend=0.0) for each in (found.total, mass, found.variance)]
    return effect_over_time(blocks[0], blocks[1], blocks[2])


def _block_ends(times_ms: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions of the last unit of each day, joined where days have few units."""
    days = (times_ms - times_ms[0]) // _DAY_MS
    last = np.flatnonzero(np.diff(days, append=days[-1] + 1))
    ends: list[int] = []
    for end in last.tolist():
        if end - (ends[-1] if ends else -1) >= _BLOCK:
            ends.append(end)
    return np.array(ends, dtype=np.int64)


def _span(days: float) -> str:
    """Write a time: 40 minutes, 5.2 hours, 3.5 days.

    >>> _span(0.0), _span(0.02), _span(0.25), _span(7.0), _span(1.0)
    ('less than a minute', '29 minutes', '6 hours', '7 days', '1 day')
    """
    if days < 1 / 24:
        minutes = round(days * 1440)
        if not minutes:
            return "less than a minute"
        return f"{minutes} minute{'s' if minutes != 1 else ''}"
    if days < 1:
        return f"{days * 24:.3g} hours"
    return f"{days:.3g} day{'s' if round(days, 2) != 1 else ''}"
