"""Rows that are unlike those that a model was trained on: flagged one by one, and counted.

A row is flagged when its conformal p-value is at most a level (`mlops.stats.outliers`): of rows
like those of the training about that share is. Requests that a tester sent to an arm, and those
that failed, are left out. So are rows of which the journal lacks a feature: one that was not kept
would look like a missing value, and every row like an outlier.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlops.journal.base import Journal
from mlops.journal.feature_tables import FeatureTable
from mlops.journal.streaming import Decisions
from mlops.monitoring.live_models import LiveModels, live_models
from mlops.spec.deployment import Arm
from mlops.stats.outlier_document import LEVEL, RowDetector
from mlops.stats.row_codes import encode

#: Name of the consumer that stores what was seen.
CONSUMER = "outliers"
_AT_ONCE = 5_000
_FAILED = 400
_RECENT = 1_000.0
_LOOKS_BACK = 10_000
_FEATURES = 3


@dataclass(frozen=True, slots=True)
class Flagged:
    """One row that was flagged.

    Attributes:
        nonce: Identity of its request.
        revision: Revision that answered.
        position: Position of the arm in it.
        propensity: Probability with which that was drawn.
        arm: Name of the arm.
        row: Row of the request, from 0.
        time_ms: When the arm was drawn, milliseconds since 1970 in UTC.
        p_value: Its p-value.
        features: Its most unusual features, and their values.
    """

    nonce: bytes
    revision: int
    position: int
    propensity: float
    arm: str
    row: int
    time_ms: int
    p_value: float
    features: tuple[tuple[str, Any], ...]


@dataclass(slots=True)
class Share:
    """How many rows of one arm were flagged.

    Attributes:
        rows: Rows that were looked at.
        flagged: Those that were.
        recent: Weight of the last rows, and of those among them.
        incomplete: Further rows, of which the journal lacks features.
        lacking: Names of those features.
    """

    rows: int = 0
    flagged: int = 0
    recent: tuple[float, float] = (0.0, 0.0)
    incomplete: int = 0
    lacking: set[str] = field(default_factory=set)

    def add(self, flags: NDArray[np.bool_]) -> None:
        """Count rows."""
        self.rows += len(flags)
        self.flagged += int(flags.sum())
        fade = np.exp(-(len(flags) - np.arange(len(flags))) / _RECENT)
        before = float(np.exp(-len(flags) / _RECENT))
        weight, hits = self.recent
        self.recent = weight * before + float(fade.sum()), hits * before + float(fade @ flags)

    @property
    def lately(self) -> float | None:
        """Share of about the last 1,000 rows; None before the first."""
        return self.recent[1] / self.recent[0] if self.recent[0] else None


@dataclass(frozen=True, slots=True)
class Looked:
    """Rows of a batch that one arm answered, with their p-values, (m,) each."""

    table: FeatureTable
    rows: NDArray[np.int64]
    codes: NDArray[np.float64]
    p_values: NDArray[np.float64]


def look_at_rows(
    tables: list[FeatureTable], answered: NDArray[np.bool_], detector: RowDetector, share: Share
) -> Iterator[Looked]:
    """Yield the p-values of the rows of requests.

    Args:
        tables: Of a batch of n requests.
        answered: Which of them to look at, (n,).
        detector: Of the model that answered them.
        share: Counts the rows that are left out, as features of them are lacking.
    """
    known = [coding.name for coding in detector.codings]
    for table in tables:
        if table.names is None:
            continue
        rows = np.flatnonzero(answered[table.requests])
        if not len(rows):
            continue
        if lacking := set(known).difference(table.names):
            share.incomplete += len(rows)
            share.lacking |= lacking
            continue
        columns = {}
        for name in known:
            cells = table.column(name)
            columns[name] = [cells[row] for row in rows.tolist()]
        codes = encode(columns, detector.codings)
        yield Looked(table, rows, codes, detector.p_values(codes))


class OutlierFold:
    """How many rows of the live models were flagged, up to somewhere in the journal.

    Args:
        journal: Read from, and written to by `save` only.
        detectors: Gives the detector of an arm's model; None where it has none.
    """

    def __init__(self, journal: Journal, detectors: Callable[[Arm], RowDetector | None]) -> None:
        self._journal, self._detectors = journal, detectors
        self._events = -1
        self._found: dict[str, RowDetector | None] = {}
        self.shares: dict[str, Share] = {}
        self.live: LiveModels | None = None
        self.offset = 0

    def follow(self) -> bool:
        """Watch what is live now; return whether anything is."""
        events = self._journal.revision_events()
        if len(events) != self._events:
            live = live_models(events)
            if live is None:
                return False
            arms = live.arms.values()
            self._found = {
                key: self._found[key] if key in self._found else self._detectors(arm)
                for arm, key in arms
            }
            if self.live is None:
                self._recall([key for _, key in arms])
            self.live, self._events = live, len(events)
        return True

    def _recall(self, keys: list[str]) -> None:
        known = self._journal.remembered(CONSUMER, [*keys, "offset"])
        # What was asked long before anybody watched is left to `mlops monitor outliers`.
        first = max(0, self._journal.end().decisions - _LOOKS_BACK)
        self.offset = known.get("offset", first)
        for key in keys:
            if key in known:
                rows, flagged, *recent = known[key]
                self.shares[key] = Share(rows, flagged, (recent[0], recent[1]))

    def read(self, end: int, limit: int) -> int:
        """Read on; return how many decisions that were."""
        assert self.live is not None
        decisions = self._journal.decisions(self.offset, end, min(limit, _AT_ONCE))
        if not len(decisions):
            self.offset = max(self.offset, end)
            return 0
        tables = decisions.features()
        answered = answered_by(decisions, self.live)
        for key, detector in self._found.items():
            if detector is None:
                continue
            share = self.shares.setdefault(key, Share())
            for looked in look_at_rows(tables, answered == key, detector, share):
                share.add(looked.p_values <= LEVEL)
        self.offset = int(decisions.seqs[-1])
        return len(decisions)

    def save(self, now_ms: int, others: Mapping[str, Any]) -> None:
        """Store what was seen.

        Args:
            now_ms: Now, milliseconds since 1970 in UTC.
            others: Further parts to remember with it, name to JSON data.
        """
        parts = {k: [s.rows, s.flagged, *s.recent] for k, s in self.shares.items()}
        self._journal.remember(CONSUMER, {**parts, "offset": self.offset, **others}, now_ms)


def answered_by(decisions: Decisions, live: LiveModels) -> NDArray[np.str_]:
    """Return the key of the model that answered each request; empty for none that counts."""
    pairs = zip(decisions.revisions.tolist(), decisions.arms.tolist(), strict=True)
    keys = np.array([live.keys.get(pair, "") for pair in pairs], dtype=np.str_)
    counts = (decisions.propensities > 0) & (decisions.statuses < _FAILED)
    return np.where(counts, keys, np.str_(""))


@dataclass(frozen=True, slots=True)
class Found:
    """What was flagged among the last requests.

    Attributes:
        revision: The live one.
        requests: Requests that were looked at.
        shares: Rows of each arm that has a detector.
        flagged: Those that were flagged, the most unusual first.
        unknown: Names of the arms without one.
        smallest: The smallest p-value that a row of each of the others can have.
    """

    revision: int
    requests: int
    shares: Mapping[str, Share]
    flagged: tuple[Flagged, ...]
    unknown: tuple[str, ...]
    smallest: Mapping[str, float]


def find_outliers(
    journal: Journal, detectors: Callable[[Arm], RowDetector | None], level: float, last: int
) -> Found | None:
    """Look at the last requests of the arms that are live.

    Args:
        journal: Of one deployment.
        detectors: Gives the detector of an arm's model; None where it has none.
        level: Share of undrifted rows that is flagged.
        last: About how many requests.

    Returns:
        None where nothing was ever deployed.
    """
    live = live_models(journal.revision_events())
    if live is None:
        return None
    found = {name: (key, detectors(arm)) for name, (arm, key) in live.arms.items()}
    shares = {name: Share() for name, (_, detector) in found.items() if detector is not None}
    end, requests = journal.end().decisions, 0
    after = max(0, end - last)
    flagged: list[Flagged] = []
    while after < end:
        decisions = journal.decisions(after, end, _AT_ONCE)
        if not len(decisions):
            break
        after = int(decisions.seqs[-1])
        tables, answered = decisions.features(), answered_by(decisions, live)
        requests += int((answered != "").sum())
        for name, (key, detector) in found.items():
            if detector is None:
                continue
            share = shares[name]
            for looked in look_at_rows(tables, answered == key, detector, share):
                share.add(looked.p_values <= level)
                flagged += _flagged(looked, decisions, name, detector, level)
    flagged.sort(key=lambda each: (each.p_value, -each.time_ms))
    unknown = tuple(name for name, (_, detector) in found.items() if detector is None)
    smallest = {
        name: detector.detector.smallest
        for name, (_, detector) in found.items()
        if detector is not None
    }
    return Found(live.revision, requests, shares, tuple(flagged), unknown, smallest)


def _flagged(
    looked: Looked, decisions: Decisions, arm: str, detector: RowDetector, level: float
) -> Iterator[Flagged]:
    table = looked.table
    starts = np.searchsorted(table.requests, table.requests, side="left")
    flagged = np.flatnonzero(looked.p_values <= level)
    # All together: a flagged row alone takes milliseconds.
    unusual = detector.unusual(looked.codes[flagged], _FEATURES)
    for at, names in zip(flagged.tolist(), unusual, strict=True):
        row = int(looked.rows[at])
        request = int(table.requests[row])
        every = table.names or ()
        cells = [row * len(every) + every.index(name) for name in names if name in every]
        yield Flagged(
            nonce=decisions.nonces[request],
            revision=int(decisions.revisions[request]),
            position=int(decisions.arms[request]),
            propensity=float(decisions.propensities[request]),
            arm=arm,
            row=row - int(starts[row]),
            time_ms=int(decisions.times_ms[request]),
            p_value=float(looked.p_values[at]),
            features=tuple((every[cell % len(every)], table.cells[cell]) for cell in cells),
        )
