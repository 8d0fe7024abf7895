"""One stream of values that is watched for drift: a feature of an arm, or what the arm answers."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mlops.monitoring.course import Course
from mlops.monitoring.drift_reference import Reference, profile_of_requests
from mlops.stats.exchangeability import Exchangeability
from mlops.stats.profiles import MAX_TEXT, FeatureProfile

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
        path: Largest e-value in stretches of about as many values, 64 at most.
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
        waiting: Values of the block to come, counted by bin; None before the first.
        course: The e-value over time.
        rows: Values that were compared.
        missing: How many of them were missing.
        strange: How many of them were of another kind than the reference's.
        unseen: Categories that the reference does not have.
        why_not: Why it cannot be compared; empty if it can.
        season_ms: Length of a season in milliseconds, whose values are taken together and in random
            order once it is over; 0 for none.
        season: Number of the season under way since 1970; -1 before the first value.
        whole: Whether it is watched from its beginning.
        pool: Values of the season under way, counted by bin.
    """

    reference: Reference | None
    against: Against
    first: list[Any] = field(default_factory=list)
    test: Exchangeability | None = None
    waiting: NDArray[np.float64] | None = None
    course: Course = field(default_factory=Course)
    rows: int = 0
    missing: int = 0
    strange: int = 0
    unseen: Counter[str] = field(default_factory=Counter)
    why_not: str = ""
    season_ms: int = 0
    season: int = -1
    whole: bool = False
    pool: NDArray[np.float64] | None = None

    def take(self, cells: Sequence[Any], times_ms: NDArray[np.int64]) -> None:
        """Add values in their order."""
        if not self.season_ms or not len(cells):
            self._take(cells, times_ms)
            return
        # Several writers overlap at the ends of seasons; these only advance.
        seasons = np.maximum.accumulate(np.maximum(times_ms // self.season_ms, self.season))
        starts = [0, *(np.flatnonzero(np.diff(seasons)) + 1).tolist(), len(cells)]
        for start, end in itertools.pairwise(starts):
            if seasons[start] > self.season:
                self._close(int(times_ms[start]))
                self.whole, self.season = self.season >= 0, int(seasons[start])
            if self.whole:
                self._collect(cells[start:end])

    def _collect(self, cells: Sequence[Any]) -> None:
        """Add values of the current season."""
        if self.reference is not None:
            place = self._place(cells)
            new = np.bincount(place, minlength=len(self.reference.bins.gaps))
            self.pool = new.astype(np.float64) if self.pool is None else new + self.pool
        elif not self.why_not:
            # A random sample of whole seasons is the reference: of all values those with the
            # smallest random numbers, which do not depend on the batches.
            keys = _ties(self.rows, len(cells)).tolist()
            self.rows += len(cells)
            self.first += zip(keys, map(_short, cells), strict=True)
            self.first = sorted(self.first, key=lambda item: float(item[0]))[:WARM_UP]

    def _close(self, time_ms: int) -> None:
        """Compare a completed season."""
        if self.reference is None:
            if len(self.first) == WARM_UP:
                self._begin(profile_of_requests([cell for _, cell in self.first]))
                self.first, self.rows = [], 0
        elif self.pool is not None:
            self._bet_shuffled(self.pool, time_ms)
            self.pool = None

    def _bet_shuffled(self, pool: NDArray[np.float64], time_ms: int) -> None:
        """Bet on values in an order that is drawn at random."""
        test, waiting = self._testing()
        left = pool.astype(np.int64)
        while (lacking := test.size - int(waiting.sum())) <= left.sum():
            generator = np.random.default_rng([1, test.blocks])
            drawn = generator.multivariate_hypergeometric(left, lacking)
            self.course.add(time_ms, test.take(waiting + drawn))
            waiting = np.zeros(len(left))
            left -= drawn
        self.waiting = waiting + left

    def _take(self, cells: Sequence[Any], times_ms: NDArray[np.int64]) -> None:
        if self.reference is None and not self.why_not:
            used = WARM_UP - len(self.first)
            self.first.extend(map(_short, cells[:used]))
            cells, times_ms = cells[used:], times_ms[used:]
            if len(self.first) == WARM_UP:
                self._begin(profile_of_requests(self.first))
                self.first = []
        if self.reference is None or not len(cells):
            return
        self._bet(self._place(cells), times_ms)

    def _place(self, cells: Sequence[Any]) -> NDArray[np.int64]:
        """Return the bin of each value, and count it."""
        assert self.reference is not None
        codes, strange = self.reference.codes(cells)
        self.strange += strange
        self.missing += int(np.isinf(codes).sum()) - strange
        if len(self.unseen) < _MOST_NAMED:
            self.unseen.update(self.reference.unseen(cells))
        place = self.reference.bins.place(codes, _ties(self.rows, len(codes)))
        self.rows += len(cells)
        return place

    def _testing(self) -> tuple[Exchangeability, NDArray[np.float64]]:
        """Return the test and its pending counts, created if need be."""
        assert self.reference is not None
        gaps = self.reference.bins.gaps
        if self.test is None or self.waiting is None:
            self.test, self.waiting = Exchangeability(gaps), np.zeros(len(gaps))
        return self.test, self.waiting

    def _begin(self, profile: FeatureProfile) -> None:
        try:
            self.reference = Reference(profile)
        except ValueError as error:
            self.why_not = str(error)

    def _bet(self, place: NDArray[np.int64], times_ms: NDArray[np.int64]) -> None:
        test, waiting = self._testing()
        start, kinds = 0, len(waiting)
        while start + (lacking := test.size - int(waiting.sum())) <= len(place):
            end = start + lacking
            counts = waiting + np.bincount(place[start:end], minlength=kinds)
            self.course.add(int(times_ms[end - 1]), test.take(counts))
            waiting = np.zeros(kinds)
            start = end
        self.waiting = waiting + np.bincount(place[start:], minlength=kinds)

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
        since = self.course.since(threshold)
        return Stream(
            arm=arm,
            feature=feature,
            kind=self.reference.kind if self.reference else "",
            against=self.against,
            rows=self.rows if self.reference else 0,
            e_value=self.course.largest,
            alarm=since is not None,
            since_ms=since,
            psi=self.psi(),
            missing=self.missing / self.rows if self.rows and self.reference else float("nan"),
            missing_before=self.reference.missing if self.reference else float("nan"),
            unseen=tuple(self.unseen.most_common(_NAMED)),
            strange=self.strange,
            why_not=self.why_not or self._waits(),
            path=tuple(self.course.peaks),
        )

    def _waits(self) -> str:
        if self.reference is not None:
            return ""
        if self.season_ms:
            return f"its reference is drawn from the first whole seasons with {WARM_UP:,} values"
        return f"its reference is the first {WARM_UP:,} values, of which {len(self.first):,} came"

    def document(self) -> dict[str, Any]:
        """Return its state, as JSON data."""
        return {
            "reference": self.reference.document() if self.reference else None,
            "against": self.against,
            "first": self.first,
            "test": self.test.document() if self.test else None,
            "waiting": None if self.waiting is None else self.waiting.tolist(),
            "course": self.course.document(),
            "rows": self.rows,
            "missing": self.missing,
            "strange": self.strange,
            "unseen": dict(self.unseen),
            "why_not": self.why_not,
            "season_ms": self.season_ms,
            "season": self.season,
            "whole": self.whole,
            "pool": None if self.pool is None else self.pool.tolist(),
        }


def _short(cell: object) -> Any:  # noqa: ANN401 - JSON data
    """Return as much of a cell as its profile reads: what is longer than `MAX_TEXT` is prose."""
    if cell is None or isinstance(cell, bool | int | float):
        return cell
    return str(cell)[: MAX_TEXT + 1]


def _ties(taken: int, count: int) -> NDArray[np.float64]:
    """Return what breaks ties of the next values; it does not depend on the batches."""
    generator = np.random.PCG64(0)
    generator.advance(taken)
    return np.random.Generator(generator).random(count)


def restored_stream(document: Mapping[str, Any]) -> WatchedStream:
    """Return a stream that continues from the state in `document`."""
    known = document["reference"]
    reference = Reference.restored(known) if known else None
    test = document["test"]
    return WatchedStream(
        reference=reference,
        against=document["against"],
        first=list(document["first"]),
        test=Exchangeability.restored(reference.bins.gaps, test) if reference and test else None,
        waiting=None if document["waiting"] is None else np.array(document["waiting"]),
        course=Course.restored(document["course"]),
        rows=document["rows"],
        missing=document["missing"],
        strange=document["strange"],
        unseen=Counter(document["unseen"]),
        why_not=document["why_not"],
        season_ms=document["season_ms"],
        season=document["season"],
        whole=document["whole"],
        pool=None if document["pool"] is None else np.array(document["pool"]),
    )


def watch_feature(profile: FeatureProfile | None, season_ms: int = 0) -> WatchedStream:
    """Start watching a feature, against its profile if that can be compared with.

    Args:
        profile: Of its training data; None to compare it with its first values.
        season_ms: See `WatchedStream`.
    """
    against: Against = "first requests" if profile is None else "training"
    watched = WatchedStream(None, against, season_ms=season_ms)
    if profile is None:
        return watched
    try:
        watched.reference = Reference(profile)
    except ValueError:
        watched.against = "first requests"
    return watched
