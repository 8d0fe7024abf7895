"""Whether requests still look like the training data, at every look: a fold of the journal.

Each feature of each arm, and what the arm answers, is a stream of values with a test of its own:
`mlops.stats.exchangeability`. All share one error guarantee: with J streams a stream alarms when
its e-value reaches J / alpha, so that P(any ever alarms without drift) is at most alpha.

Values are taken in the order of the journal, so that one look at the end and a thousand looks on
the way see the same. Of a sticky unit only the first row of each day counts: a person who comes a
hundred times is not a hundred people. Requests that a tester sent to an arm are left out.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mlops.journal.base import Journal
from mlops.journal.feature_tables import FeatureTable
from mlops.journal.streaming import Decisions
from mlops.journal.terms import is_spec, live_event
from mlops.monitoring.drift_reference import Reference
from mlops.spec.deployment import DeploymentSpec, from_dict
from mlops.stats.exchangeability import Exchangeability
from mlops.stats.profiles import FeatureProfile, profile_feature

Against = Literal["training", "first requests"]

#: Name of the stream of an arm's answers.
PREDICTION = "prediction"
#: Values at the start that are the reference where the training data has none.
WARM_UP = 1_000
_DAY_MS = 86_400_000
_FAILED = 400
_AT_ONCE = 50_000
_MOST_NAMED = 1_000
_NAMED = 5
_NO_ROW, _EVERY_ROW, _FIRST_ROW = 0, 1, 2
#: Arm, feature, positions of the requests in their batch (m,), and the m values.
_Part: TypeAlias = tuple[str, str, NDArray[np.int64], list[Any]]


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


@dataclass(frozen=True, slots=True)
class DriftReport:
    """What was found.

    Attributes:
        name: Name of the deployment.
        revision: The live one.
        alpha: P(any alarm, ever, without drift) is at most this.
        threshold: J / alpha.
        requests: Requests that were looked at.
        left_out: Rows left out because their unit had one on that day.
        without_features: Requests of which the journal has no features.
        streams: By arm, in the order of the model's features, the answers last.
    """

    name: str
    revision: int
    alpha: float
    threshold: float
    requests: int
    left_out: int
    without_features: int
    streams: tuple[Stream, ...]

    @property
    def drifted(self) -> tuple[Stream, ...]:
        """Return the streams that alarm."""
        return tuple(each for each in self.streams if each.alarm)


@dataclass(slots=True)
class _Watched:
    """A stream while it is read."""

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


def watch(
    journal: Journal,
    name: str,
    features: Callable[[DeploymentSpec], Mapping[str, Mapping[str, FeatureProfile | None]]],
    alpha: float,
    on_progress: Callable[[int], None] = lambda _: None,
) -> DriftReport | None:
    """Look for drift in all that a journal holds of the arms that are live.

    Args:
        journal: Of one deployment.
        name: Its name.
        features: Gives, for the live revision, the features to watch: name of the arm to name of
            the feature to the profile of its training data, None where there is none.
        alpha: P(any alarm, ever, without drift).
        on_progress: Called with the number of requests read.

    Returns:
        None where nothing was ever deployed.
    """
    events = journal.revision_events()
    live = live_event(events)
    if live is None:
        return None
    specs = {e.revision: from_dict(e.spec) for e in events if e.spec and is_spec(e)}
    fold = _Fold(specs, live.revision, features(specs[live.revision]))
    after, end = 0, journal.end().decisions
    while True:
        decisions = journal.decisions(after, end, _AT_ONCE)
        if not len(decisions):
            break
        fold.take(decisions)
        after = int(decisions.seqs[-1])
        on_progress(fold.requests)
    return fold.report(name, alpha)


class _Fold:
    """All streams of one deployment while its journal is read."""

    def __init__(
        self,
        specs: Mapping[int, DeploymentSpec],
        live: int,
        features: Mapping[str, Mapping[str, FeatureProfile | None]],
    ) -> None:
        self._live, self._spec = live, specs[live]
        # The same model under another name, or in an earlier revision, gave the same answers.
        models = {arm.model.identity: arm.name for arm in reversed(self._spec.arms)}
        self._arms = {
            (revision, position): models[arm.model.identity]
            for revision, spec in specs.items()
            for position, arm in enumerate(spec.arms)
            if arm.model.identity in models
        }
        self._arms |= {(live, at): arm.name for at, arm in enumerate(self._spec.arms)}
        self._streams: dict[str, dict[str, _Watched]] = {
            arm.name: {
                feature: _known(profile) for feature, profile in features.get(arm.name, {}).items()
            }
            for arm in self._spec.arms
        }
        self._answers = {arm.name: _Watched(None, "first requests") for arm in self._spec.arms}
        self._seen: set[bytes] = set()
        self._day = 0
        self.requests = 0
        self._left_out = 0
        self._without = 0

    def take(self, decisions: Decisions) -> None:
        """Take decisions in their order."""
        arms = self._arms_of(decisions)
        counts = self._countable(decisions, arms)
        ours = arms != ""
        self.requests += int(ours.sum())
        found: dict[tuple[str, str], list[_Part]] = {}
        for table in decisions.features():
            for part in self._parts(table, counts, arms):
                found.setdefault(part[:2], []).append(part)
            ours[table.requests] = False
        self._without += int(ours.sum())
        for (arm, name), parts in found.items():
            # Requests with other columns stand in other tables.
            at = np.concatenate([part[2] for part in parts])
            cells = list(itertools.chain.from_iterable(part[3] for part in parts))
            if len(parts) > 1:
                order = np.argsort(at, kind="stable")
                at, cells = at[order], [cells[index] for index in order]
            self._streams[arm][name].take(cells, decisions.times_ms[at])
        for arm, watched in self._answers.items():
            cells, times = [], []
            for position in np.flatnonzero((counts > 0) & (arms == arm)):
                answers = decisions.predictions_of(int(position)) or []
                plain = [cell for cell in answers if isinstance(cell, bool | int | float | str)]
                plain = plain[:1] if counts[position] == _FIRST_ROW else plain
                cells += plain
                times += [int(decisions.times_ms[position])] * len(plain)
            watched.take(cells, np.array(times, dtype=np.int64))

    def _parts(
        self, table: FeatureTable, counts: NDArray[np.int64], arms: NDArray[np.str_]
    ) -> Iterator[_Part]:
        """Yield the values of a table that count, for each stream."""
        if table.names is None:
            return
        first = np.ones(len(table.requests), dtype=bool)
        first[1:] = table.requests[1:] != table.requests[:-1]
        kept = counts[table.requests]
        use = (kept == _EVERY_ROW) | ((kept == _FIRST_ROW) & first)
        for arm, streams in self._streams.items():
            rows = np.flatnonzero(use & (arms[table.requests] == arm))
            if not len(rows):
                continue
            for name in streams.keys() & set(table.names):
                cells = table.column(name)
                yield arm, name, table.requests[rows], [cells[row] for row in rows.tolist()]

    def _arms_of(self, decisions: Decisions) -> NDArray[np.str_]:
        """Return the live arm of each request; empty for none, a failure, or a tester's."""
        pairs = zip(decisions.revisions.tolist(), decisions.arms.tolist(), strict=True)
        names = np.array([self._arms.get(pair, "") for pair in pairs])
        used = (decisions.propensities > 0) & (decisions.statuses < _FAILED)
        return np.where(used, names, np.str_(""))

    def _countable(self, decisions: Decisions, arms: NDArray[np.str_]) -> NDArray[np.int64]:
        """Return for each request which of its rows count."""
        found: NDArray[np.int64] = (arms != "").astype(np.int64)
        for position in np.flatnonzero(found).tolist():
            unit = decisions.units[position]
            if unit is None:
                continue
            day = int(decisions.times_ms[position]) // _DAY_MS
            # Several writers are in each other's days around midnight; the day only moves on.
            if day > self._day:
                self._day = day
                self._seen.clear()
            self._left_out += int(decisions.n_rows[position]) - (unit not in self._seen)
            found[position] = _NO_ROW if unit in self._seen else _FIRST_ROW
            self._seen.add(unit)
        return found

    def report(self, name: str, alpha: float) -> DriftReport:
        """Return what was found."""
        watched = list(self._all())
        threshold = max(len(watched), 1) / alpha
        return DriftReport(
            name=name,
            revision=self._live,
            alpha=alpha,
            threshold=threshold,
            requests=self.requests,
            left_out=self._left_out,
            without_features=self._without,
            streams=tuple(each.stream(arm, feature, threshold) for arm, feature, each in watched),
        )

    def _all(self) -> Iterator[tuple[str, str, _Watched]]:
        for arm, streams in self._streams.items():
            for feature, watched in streams.items():
                yield arm, feature, watched
            yield arm, PREDICTION, self._answers[arm]


def _known(profile: FeatureProfile | None) -> _Watched:
    watched = _Watched(None, "first requests" if profile is None else "training")
    if profile is None:
        return watched
    try:
        watched.reference = Reference(profile)
    except ValueError:
        watched.against = "first requests"
    return watched
