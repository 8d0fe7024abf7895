"""The course of an e-value, in bounded memory: its maximum, since when, and its curve."""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

#: Most peaks that are kept.
PEAKS = 64
# Beyond it the time is not needed: a million streams at 0.01 %.
_ENOUGH = 1e10


@dataclass(slots=True)
class Course:
    """The e-value of one test, one value after the other.

    Attributes:
        largest: Largest so far; 1 at the start.
        records: Time and value of each that was larger than all before, milliseconds since 1970 in
            UTC; none after the first beyond `_ENOUGH`.
        peaks: Largest of each `stride` values that came one after the other.
        stride: A power of two, for at most `PEAKS` of them.
        count: Values that came.
    """

    largest: float = 1.0
    records: list[tuple[int, float]] = field(default_factory=list)
    peaks: list[float] = field(default_factory=list)
    stride: int = 1
    count: int = 0

    def add(self, time_ms: int, value: float) -> None:
        """Take the next value."""
        if value > self.largest:
            if self.largest < _ENOUGH:
                self.records.append((time_ms, value))
            self.largest = value
        if self.count % self.stride == 0:
            self.peaks.append(value)
        else:
            self.peaks[-1] = max(self.peaks[-1], value)
        self.count += 1
        if len(self.peaks) == PEAKS and self.count == PEAKS * self.stride:
            self.peaks = [max(self.peaks[at : at + 2]) for at in range(0, PEAKS, 2)]
            self.stride *= 2

    def since(self, threshold: float) -> int | None:
        """Return when a threshold above 1 was reached first; None if it never was.

        >>> course = Course()
        >>> for time, value in enumerate([0.5, 30.0, 20.0, 200.0]):
        ...     course.add(time, value)
        >>> course.since(25.0), course.since(100.0), course.since(1000.0)
        (1, 3, None)
        """
        at = bisect.bisect_left(self.records, threshold, key=lambda record: record[1])
        return self.records[at][0] if at < len(self.records) else None

    def document(self) -> dict[str, Any]:
        """Return its state, as JSON data."""
        return {
            "largest": self.largest,
            "records": [list(record) for record in self.records],
            "peaks": self.peaks,
            "stride": self.stride,
            "count": self.count,
        }

    @classmethod
    def restored(cls, document: Mapping[str, Any]) -> Course:
        """Return one that continues from the state in `document`."""
        records = [(int(time), float(value)) for time, value in document["records"]]
        return cls(
            document["largest"], records, list(document["peaks"]), document["stride"],
            document["count"],
        )  # fmt: skip


def evidence(value: float, threshold: float) -> float:
    """Return the evidence as a share of the alarm threshold, in [0, 1], on a logarithmic scale.

    >>> evidence(1.0, 100.0), evidence(10.0, 100.0), evidence(1e9, 100.0)
    (0.0, 0.5, 1.0)
    """
    return min(max(math.log(max(value, 1.0)) / math.log(threshold), 0.0), 1.0)
