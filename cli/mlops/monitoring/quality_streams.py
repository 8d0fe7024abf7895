"""One measure of one model while truth arrives."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mlops.monitoring.course import Course
from mlops.monitoring.quality_measures import CALIBRATED, MEASURES, MeasureName
from mlops.stats.losses import LossTest

Against = Literal["validation", "first judged", "zero"]

#: Judged rows that are the reference where the run logged no figure.
FIRST = 500
_RECENT = 500.0
# Standard errors of its mean by which a reference of few rows may be off.
_ERRORS = 3.0


@dataclass(frozen=True, slots=True)
class QualityStream:
    """One measure of one arm.

    Attributes:
        arm: Name of the arm.
        measure: Name of the measure.
        against: What it is compared with: the validation figure of the model's run, what it was on
            the first rows that were judged, or 0 for the calibration.
        reference: That figure; None until it is known.
        limit: What it must not be beyond; None until it is known.
        value: What it is, over all rows that were compared; None before the first.
        recent: The same of about the last 500.
        rows: Rows that were compared.
        e_value: Largest e-value so far; 1 at the start.
        alarm: Whether it has reached J / alpha.
        since_ms: When the truth came by which it did, milliseconds since 1970 in UTC.
        why_not: Why it cannot be compared; empty if it can.
        path: Largest e-value in stretches of about as many rows, 64 at most.
    """

    arm: str
    measure: MeasureName
    against: Against
    reference: float | None
    limit: float | None
    value: float | None
    recent: float | None
    rows: int
    e_value: float
    alarm: bool
    since_ms: int | None
    why_not: str
    path: tuple[float, ...]


@dataclass(slots=True)
class WatchedMeasure:
    """A measure while it is read.

    Attributes:
        name: Its name.
        reference: What it is compared with; None until that is known.
        against: Where that comes from.
        tests: One, or one for each direction.
        first: Count, sum and sum of squares of the losses that are to be the reference.
        rows: Losses that were compared.
        total: Their sum.
        recent: Weight and weighted sum of the last ones.
        values: E-value of each test now.
        course: The mean of those over time.
    """

    name: MeasureName
    reference: float | None
    against: Against
    tests: list[LossTest] = field(default_factory=list)
    first: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    rows: int = 0
    total: float = 0.0
    recent: list[float] = field(default_factory=lambda: [0.0, 0.0])
    course: Course = field(default_factory=Course)

    def take(self, losses: NDArray[np.float64], times_ms: Sequence[int]) -> None:
        """Take losses in their order."""
        if not self.tests:
            used = int(min(FIRST - self.first[0], len(losses)))
            for loss in losses[:used].tolist():
                n, total, squares = self.first
                self.first = [n + 1, total + loss, squares + loss * loss]
            losses, times_ms = losses[used:], times_ms[used:]
            if self.first[0] >= FIRST:
                self._begin()
        if not len(losses):
            return
        self.rows += len(losses)
        # One by one: the same to the last digit however they are cut.
        for loss in losses.tolist():
            self.total += loss
            fade = 1 - 1 / _RECENT
            self.recent = [self.recent[0] * fade + 1, self.recent[1] * fade + loss]
        if len(self.tests) == 1:
            steps = [(at, value) for at, value in self.tests[0].take(losses)]
        else:
            high, low = self.tests
            both = zip(high.take(1 + losses), low.take(1 - losses), strict=True)
            steps = [(at, (one + other) / 2) for (at, one), (_, other) in both]
        for at, value in steps:
            self.course.add(times_ms[at], value)

    def _begin(self) -> None:
        """Take what came first as the reference, at the upper end of its error."""
        n, total, squares = self.first
        mean = total / n
        deviation = math.sqrt(max(squares / n - mean * mean, 0.0))
        measured = MEASURES[self.name]
        self.reference = measured.of_mean(mean)
        limit = mean + _ERRORS * deviation / math.sqrt(n)
        self.tests = [LossTest(max(limit, measured.to_mean(0.005)))]

    def stream(self, arm: str, threshold: float) -> QualityStream:
        """Return what was found."""
        of_mean = MEASURES[self.name].of_mean
        since = self.course.since(threshold)
        return QualityStream(
            arm=arm,
            measure=self.name,
            against=self.against,
            reference=self.reference,
            limit=self._limit(),
            value=of_mean(self.total / self.rows) if self.rows else None,
            recent=of_mean(self.recent[1] / self.recent[0]) if self.rows else None,
            rows=self.rows,
            e_value=self.course.largest,
            alarm=since is not None,
            since_ms=since,
            why_not=""
            if self.tests
            else f"its reference is the first {FIRST} judged rows, of which {self.first[0]:.0f} "
            "came",
            path=tuple(self.course.peaks),
        )

    def _limit(self) -> float | None:
        if not self.tests:
            return None
        if self.name == "calibration":
            return CALIBRATED
        return MEASURES[self.name].of_mean(self.tests[0].limit)

    def document(self) -> dict[str, Any]:
        """Return all that it knows, as JSON data."""
        return {
            "name": self.name,
            "reference": self.reference,
            "against": self.against,
            "tests": [test.document() for test in self.tests],
            "first": self.first,
            "rows": self.rows,
            "total": self.total,
            "recent": self.recent,
            "course": self.course.document(),
        }


def watch_measure(name: MeasureName, figure: float | None) -> WatchedMeasure:
    """Begin to watch a measure.

    Args:
        name: Its name.
        figure: What it was in validation; None if not known.
    """
    if name == "calibration":
        # Of r in [-1, 1], 1 + r and 1 - r are losses: whether r is too large, or too small.
        tests = [LossTest(1 + CALIBRATED), LossTest(1 + CALIBRATED)]
        return WatchedMeasure(name, 0.0, "zero", tests)
    if figure is None:
        return WatchedMeasure(name, None, "first judged")
    return WatchedMeasure(name, figure, "validation", [LossTest(MEASURES[name].limit(figure))])


def restored_measure(document: Mapping[str, Any]) -> WatchedMeasure:
    """Return a measure that continues from where `document` was written."""
    return WatchedMeasure(
        name=document["name"],
        reference=document["reference"],
        against=document["against"],
        tests=[LossTest.restored(each) for each in document["tests"]],
        first=list(document["first"]),
        rows=document["rows"],
        total=document["total"],
        recent=list(document["recent"]),
        course=Course.restored(document["course"]),
    )
