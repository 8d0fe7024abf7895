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
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mlops.journal.base import Journal
from mlops.journal.feature_tables import FeatureTable
from mlops.journal.streaming import Decisions
from mlops.journal.terms import is_spec, live_event
from mlops.monitoring.drift_streams import Stream, WatchedStream, watch_feature
from mlops.spec.deployment import DeploymentSpec, from_dict
from mlops.stats.profiles import FeatureProfile

#: Name of the stream of an arm's answers.
PREDICTION = "prediction"
_DAY_MS = 86_400_000
_FAILED = 400
_AT_ONCE = 50_000
_NO_ROW, _EVERY_ROW, _FIRST_ROW = 0, 1, 2
#: Arm, feature, positions of the requests in their batch (m,), and the m values.
_Part: TypeAlias = tuple[str, str, NDArray[np.int64], list[Any]]


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
        notes: What could not be compared, as sentences.
    """

    name: str
    revision: int
    alpha: float
    threshold: float
    requests: int
    left_out: int
    without_features: int
    streams: tuple[Stream, ...]
    notes: tuple[str, ...] = ()

    @property
    def drifted(self) -> tuple[Stream, ...]:
        """Return the streams that alarm."""
        return tuple(each for each in self.streams if each.alarm)


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
        self._streams: dict[str, dict[str, WatchedStream]] = {
            arm.name: {
                feature: watch_feature(profile)
                for feature, profile in features.get(arm.name, {}).items()
            }
            for arm in self._spec.arms
        }
        self._answers = {arm.name: WatchedStream(None, "first requests") for arm in self._spec.arms}
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

    def _all(self) -> Iterator[tuple[str, str, WatchedStream]]:
        for arm, streams in self._streams.items():
            for feature, watched in streams.items():
                yield arm, feature, watched
            yield arm, PREDICTION, self._answers[arm]
