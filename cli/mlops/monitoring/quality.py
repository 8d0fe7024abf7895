"""Quality from truth: how far predictions are off, in all and over time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mlops.monitoring.evidence import Truth
from mlops.rewards.exact import exact

#: Windows of a report, unless more are asked for.
WINDOWS = 8


@dataclass(frozen=True, slots=True)
class Quality:
    """How good one arm's predictions were against the truth.

    Attributes:
        n: Truths that met a prediction.
        rmse: Root mean squared error in units of the truth; None if the truths are no numbers.
        mae: Mean absolute error; None likewise.
        accuracy: Share of predictions equal to the truth; None if the truths are numbers.
    """

    n: int
    rmse: float | None
    mae: float | None
    accuracy: float | None


@dataclass(frozen=True, slots=True)
class Window:
    """Quality of each arm during one stretch of time.

    Attributes:
        start_ms: First truth in it, milliseconds since 1970 in UTC.
        end_ms: Last truth in it.
        arms: One entry per arm.
    """

    start_ms: int
    end_ms: int
    arms: tuple[Quality, ...]


def measure(truths: Sequence[Truth], arm: int) -> Quality:
    """Measure one arm."""
    errors, correct, n = [], 0, 0
    for seen in truths:
        if seen.arm != arm:
            continue
        n += 1
        correct += exact(seen.prediction, seen.truth) == 1
        if _is_number(seen.prediction) and _is_number(seen.truth):
            errors.append(float(seen.prediction) - float(seen.truth))  # type: ignore[arg-type]  # numbers
    if not n:
        return Quality(0, None, None, None)
    if len(errors) * 2 < n:
        return Quality(n, None, None, correct / n)
    # A stray word among numbers cannot be withdrawn, and must not hide the rest.
    n = len(errors)
    mean_square = sum(error * error for error in errors) / n
    return Quality(n, math.sqrt(mean_square), sum(map(abs, errors)) / n, None)


def over_time(truths: Sequence[Truth], arms: int, windows: int = WINDOWS) -> tuple[Window, ...]:
    """Split the truths into so many stretches of equal count and measure each."""
    size = math.ceil(len(truths) / windows)
    found = []
    for start in range(0, len(truths), size or 1):
        part = truths[start : start + size]
        qualities = tuple(measure(part, arm) for arm in range(arms))
        found.append(Window(part[0].time_ms, part[-1].time_ms, qualities))
    return tuple(found)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
