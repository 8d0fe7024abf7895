"""The history of an experiment: what the page of the report draws beyond the report itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlops.charts import nice_width_ms
from mlops.journal.base import Journal
from mlops.journal.records import RevisionEvent, TrafficSlice
from mlops.monitoring.comparing import Look, difference, look
from mlops.monitoring.evidence import Evidence
from mlops.monitoring.quality import Window, over_time
from mlops.rewards import reward_called
from mlops.stats.difference import bonferroni

#: About how many looks a curve has: most evenly spread, the rest where it moves fastest.
_LOOKS, _EARLY_LOOKS = 120, 40
_SLICES = 72
_TRUTHS_PER_WINDOW, _WINDOWS = 100, 12


@dataclass(frozen=True, slots=True)
class Course:
    """How the comparison of one arm with the baseline developed.

    Attributes:
        arm: Name of the arm.
        baseline: Name of the baseline.
        index: Position of the arm among the arms.
        alpha: Its share of the error probability.
        looks: Many looks, oldest first; the last is the newest.
        opened: Units after which the burn-in was over; None if it is not.
        decided: Units from which on the interval left 0 out, to this day; None if it holds 0.
    """

    arm: str
    baseline: str
    index: int
    alpha: float
    looks: tuple[Look, ...]
    opened: int | None
    decided: int | None


@dataclass(frozen=True, slots=True)
class Change:
    """A revision of the experiment went live.

    Attributes:
        revision: Its number.
        time_ms: When first, milliseconds since 1970 in UTC.
        weights: Declared share of each arm, in [0, 1].
    """

    revision: int
    time_ms: int
    weights: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Timeline:
    """The experiment over time.

    Attributes:
        courses: One for each comparison, in the report's order.
        traffic: Decisions by stretch of time, revision and arm.
        width_ms: Width of such a stretch in milliseconds.
        changes: Revisions in the order in which they went live.
        promised: Share of each arm by the weights of its revisions, for the requests they got; the
            newest weights without any.
        quality: Quality in more windows than the report has, if there are truths enough.
    """

    courses: tuple[Course, ...]
    traffic: tuple[TrafficSlice, ...]
    width_ms: int
    changes: tuple[Change, ...]
    promised: tuple[float, ...]
    quality: tuple[Window, ...]


def read_timeline(journal: Journal, evidence: Evidence, alpha: float) -> Timeline:
    """Compute the history of the experiment behind the evidence.

    Args:
        journal: Where the evidence is from.
        evidence: All of one experiment.
        alpha: Probability of ever naming a false winner, in (0, 1).
    """
    arms = range(len(evidence.spec.arms))
    busy = [t for t in evidence.traffic if t.drawn]
    first_ms = min((t.first_ms for t in busy), default=0)
    last_ms = max((t.last_ms for t in busy), default=0)
    width_ms = nice_width_ms(last_ms - first_ms, _SLICES)
    measures = reward_called(evidence.spec.reward).measures
    windows = min(_WINDOWS, max(1, len(evidence.truths) // (_TRUTHS_PER_WINDOW * len(arms))))
    return Timeline(
        courses=tuple(_course(evidence, arm, alpha) for arm in arms if arm != evidence.base),
        traffic=tuple(journal.traffic_over_time(evidence.revisions, width_ms)),
        width_ms=width_ms,
        changes=_changes(journal.revision_events(), evidence),
        promised=_promised(evidence),
        quality=over_time(evidence.truths, evidence.terms, measures, windows),
    )


def _course(evidence: Evidence, arm: int, alpha: float) -> Course:
    arms, n = evidence.spec.arms, evidence.arms.size
    share = bonferroni(alpha, len(arms) - 1)
    found = difference(evidence, arm, share)
    opened = None if found.started is None else found.started + 1
    picked = _picked(n) if opened is None else sorted({*_picked(n), opened - 1})
    undecided = np.flatnonzero(~found.excludes())
    since = int(undecided[-1]) + 2 if undecided.size else 1
    return Course(
        arm=arms[arm].name,
        baseline=arms[evidence.base].name,
        index=arm,
        alpha=share,
        looks=tuple(look(evidence, found, index) for index in picked),
        opened=opened,
        decided=since if since <= n else None,
    )


def _picked(n: int) -> list[int]:
    """Positions of many looks: evenly spread, and more of the early ones; the last is n - 1."""
    if not n:
        return []
    even = np.linspace(0, n - 1, min(n, _LOOKS))
    early = np.geomspace(1, n, min(n, _EARLY_LOOKS)) - 1
    return sorted({round(float(index)) for index in (*even, *early)})


def _promised(evidence: Evidence) -> tuple[float, ...]:
    requests = evidence.asked.all.sum(axis=1)
    if not requests.sum():
        return tuple(evidence.weights[-1].tolist())
    return tuple((requests @ evidence.weights / requests.sum()).tolist())


def _changes(events: Sequence[RevisionEvent], evidence: Evidence) -> tuple[Change, ...]:
    """When each revision of the experiment first went live."""
    times: dict[int, int] = {}
    for event in events:
        if event.event in ("live", "started"):
            times.setdefault(event.revision, event.time_ms)
    return tuple(
        Change(number, times[number], tuple(float(weight) for weight in weights))
        for (number, epoch), weights in zip(evidence.epochs, evidence.weights, strict=True)
        if number in times and not epoch
    )
