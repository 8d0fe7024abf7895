"""One stream of values that is watched for drift: a feature of an arm, or what the arm answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mlops.monitoring.drift_reference import Reference
from mlops.stats.exchangeability import Exchangeability
from mlops.stats.profiles import FeatureProfile, profile_feature

Against = Literal["training", "first requests"]

#: Values at the start that are the reference where the training data has none.
WARM_UP = 1_000
_MOST_NAMED = 1_000
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Stream:
    """One feature of one arm, or its answers.

    Attributes:
        arm: Name of the arm.
        feature: Name of the feature, `PREDICTION` for the answers.
        kind: Kind of its values, as in a reference profile; empty where none is known.
        against: What it is compared with.
        rows: Values that were compared.
        e_value: Largest e-value so far; 1 at the start.
        alarm: Whether it has reached J / alpha.
        since_ms: When it did first, milliseconds since 1970 in UTC; None without an alarm.
        psi: Population stability index of about the last 3,000 values; no test, a size.
        missing: Share of values that were missing.
        missing_before: That of the reference.
        unseen: Categories that the reference does not have, the most frequent first; none where the
            reference does not name all that it has.
        strange: Values of another kind than the reference's.
        why_not: Why it cannot be compared; empty if it can.
        path: E-value after each block of values.
    """

    arm: str
    feature: str
    kind: str
    against: Against
    rows: int
    e_value: float
    alarm: bool
    since_ms: int | None
    psi: float
    missing: float
    missing_before: float
    unseen: tuple[tuple[str, int], ...]
    strange: int
    why_not: str
    path: tuple[float, ...]


@dataclass(slots=True)
class WatchedStream:
    """A stream while it is read.

    Attributes:
        reference: What it is compared with; None until that is known.
        against: Where that comes from.
        first: Values that are to become the reference.
        test: Bets on its values, from the first on.
        ties: Breaks ties of values with those of the reference.
        waiting: Bins of the values of the block to come.
        times: When their requests came, milliseconds since 1970 in UTC.
        path: Time of the last value of each block, and the e-value after it.
        rows: Values that were compared.
        missing: How many of them were missing.
        strange: How many of them were of another kind than the reference's.
        unseen: Categories that the reference does not have.
        why_not: Why it cannot be compared; empty if it can.
    """

    reference: Reference | None
    against: Against
    first: list[Any] = field(default_factory=list)
    test: Exchangeability | None = None
    ties: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    waiting: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    times: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    path: list[tuple[int, float]] = field(default_factory=list)
    rows: int = 0
    missing: int = 0
    strange: int = 0
    unseen: Counter[str] = field(default_factory=Counter)
    why_not: str = ""

    def take(self, cells: Sequence[Any], times_ms: NDArray[np.int64]) -> None:
        """Take values in their order."""
        if self.reference is None and not self.why_not:
            used = WARM_UP - len(self.first)
            self.first.extend(cells[:used])
            cells, times_ms = cells[used:], times_ms[used:]
            if len(self.first) == WARM_UP:
                self._begin(profile_feature(self.first))
        if self.reference is None or not len(cells):
            return
        codes, strange = self.reference.codes(cells)
        self.strange += strange
        self.rows += len(cells)
        self.missing += int(np.isinf(codes).sum()) - strange
        if len(self.unseen) < _MOST_NAMED:
            self.unseen.update(self.reference.unseen(cells))
        bins = self.reference.bins
        place = bins.place(codes, self.ties.random(len(codes)))
        self.waiting = np.concatenate([self.waiting, place])
        self.times = np.concatenate([self.times, times_ms])
        self._bet()

    def _begin(self, profile: FeatureProfile) -> None:
        try:
            self.reference = Reference(profile)
        except ValueError as error:
            self.why_not = str(error)

    def _bet(self) -> None:
        assert self.reference is not None
        gaps = self.reference.bins.gaps
        if self.test is None:
            self.test = Exchangeability(gaps)
        start = 0
        while start + self.test.size <= len(self.waiting):
            end = start + self.test.size
            counts = np.bincount(self.waiting[start:end], minlength=len(gaps))
            value = self.test.take(counts.astype(np.float64))
            self.path.append((int(self.times[end - 1]), value))
            start = end
        self.waiting, self.times = self.waiting[start:], self.times[start:]

    def psi(self) -> float:
        """Return the population stability index of the recent past; NaN before there is one."""
        if self.test is None or self.reference is None or not self.test.recent.sum():
            return float("nan")
        gaps = self.reference.bins.gaps
        before = gaps / gaps.sum()
        # A bin that is empty now would make it infinite; half a value is the customary floor.
        now = np.maximum(self.test.recent, 0.5)
        now = now / now.sum()
        return float(((now - before) * np.log(now / before)).sum())

    def stream(self, arm: str, feature: str, threshold: float) -> Stream:
        """Return what was found."""
        since = next((time for time, value in self.path if value >= threshold), None)
        return Stream(
            arm=arm,
            feature=feature,
            kind=self.reference.kind if self.reference else "",
            against=self.against,
            rows=self.rows,
            e_value=max([1.0, *(value for _, value in self.path)]),
            alarm=since is not None,
            since_ms=since,
            psi=self.psi(),
            missing=self.missing / self.rows if self.rows else float("nan"),
            missing_before=self.reference.missing if self.reference else float("nan"),
            unseen=tuple(self.unseen.most_common(_NAMED)),
            strange=self.strange,
            why_not=self.why_not or self._waits(),
            path=tuple(value for _, value in self.path),
        )

    def _waits(self) -> str:
        if self.reference is not None:
            return ""
        return f"its reference is the first {WARM_UP:,} values, of which {len(self.first):,} came"


def watch_feature(profile: FeatureProfile | None) -> WatchedStream:
    """Begin to watch a feature, against its profile where that can be compared with."""
    watched = WatchedStream(None, "first requests" if profile is None else "training")
    if profile is None:
        return watched
    try:
        watched.reference = Reference(profile)
    except ValueError:
        watched.against = "first requests"
    return watched
