"""Units that are requests, counted while they are read.

`mlops.monitoring.units` takes every request into memory, because a sticky unit or a feedback window
needs those before it. Where neither is declared a request is a unit of its own: those without
feedback need only be counted, and the others have outcomes. The result is the same, to
the last digit; what differs is that 20 million requests take no gigabytes.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlops.journal.base import Journal
from mlops.journal.columns import OutcomeColumns
from mlops.monitoring.asked import AskedCounts, Rhythm, ends_of
from mlops.monitoring.epochs import InForce
from mlops.monitoring.experiment import Experiment, begin_ms
from mlops.monitoring.outcomes import OutcomeTally
from mlops.rewards.guardrails import OF_REQUESTS
from mlops.spec.analysis import HISTORY
from mlops.spec.deployment import DeploymentSpec
from mlops.stats.sample_ratio import largest_by_stratum

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_FAILED = 400
_AT_ONCE = 1 << 18
_TYPES = {"q": np.int64, "d": np.float64, "h": np.int16, "i": np.int32}
# Of each outcome with a reward: its request, or minus the number of one whose decision is lost.
_OUTCOMES = {
    "requests": "q", "rows": "i", "times": "q", "arms": "h", "rewards": "d", "request_times": "q",
    "request_arms": "h", "request_propensities": "d", "strata": "i",
}  # fmt: skip


class StickyError(Exception):
    """A request has a unit after all, as of a revision that was sticky."""


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests of an experiment as its units; n of them have a reward, in the order they count in.

    Attributes:
        asked: All that were drawn, counted.
        arms: Arm of each with a reward, (n,).
        rewards: Its reward, (n,).
        propensities: Probability with which its arm was drawn, (n,).
        strata: Row of the weights by which it was drawn, (n,).
        times_ms: When its first outcome arrived, (n,), milliseconds since 1970 in UTC.
        nonces: Its identity, (n,).
        returning: Outcomes left out because another arm has the request.
        unknown: Outcomes left out because their request is not known.
        before: Requests from before `since_ms`.
        since_ms: Where evidence begins, milliseconds since 1970 in UTC.
    """

    asked: AskedCounts
    arms: Ints
    rewards: Floats
    propensities: Floats
    strata: Ints
    times_ms: Ints
    nonces: NDArray[np.bytes_]
    returning: int
    unknown: int
    before: int
    since_ms: int

    @property
    def keys(self) -> NDArray[np.bytes_]:
        """What each unit is, as in `units.Units.keys`, (n,)."""
        keys = np.empty((self.nonces.size, 13), dtype=np.uint8)
        keys[:, 0] = ord("n")
        keys[:, 1:] = np.ascontiguousarray(self.nonces).view(np.uint8).reshape(-1, 12)
        return keys.view("S13").reshape(-1)


def are_requests(experiment: Experiment, spec: DeploymentSpec) -> bool:
    """Whether units are requests that can be counted as they are read."""
    rules, analysis = spec.attribution, spec.analysis
    return not (
        any(its.sticky_by for its in experiment.current)
        or rules.window_s
        or rules.failed is not None
        or rules.max_per_unit
        or rules.max_per_key
        or analysis.per
        or analysis.adjust == HISTORY
        or any(name in OF_REQUESTS for name, _ in analysis.guardrails)
    )


def count_requests(
    journal: Journal,
    experiment: Experiment,
    forces: InForce,
    tally: OutcomeTally,
    *,
    whole: bool,
) -> Requests:
    """Fold the journal of an experiment for which `are_requests` holds.

    Raises:
        StickyError: A request has a sticky unit.
    """
    answers = _Answers(tally, forces, experiment.revisions, experiment.spec.attribution.repeated)
    for outcomes in journal.outcome_columns(experiment.revisions):
        answers.take(outcomes)
    drawn = _Drawn(forces)
    for requests in journal.request_columns(experiment.revisions):
        if requests.sticky.any():
            raise StickyError
        drawn.take(requests.times_ms, requests.revisions, requests.epochs, requests.arms,
                   requests.statuses)  # fmt: skip
    return _together(answers, drawn, forces, whole=whole)


class _Drawn:
    """Every request: its time, and its row of the weights and arm as one number."""

    def __init__(self, forces: InForce) -> None:
        self._forces = forces
        self._arms = forces.weights.shape[1]
        self._times = array("q")
        self._codes = array("i")

    def take(self, times: Ints, revisions: Ints, epochs: Ints, arms: Ints, statuses: Ints) -> None:
        codes = self._forces.rows(revisions, epochs) * self._arms + arms
        self._times.frombytes(times.tobytes())
        self._codes.frombytes((codes * 2 + (statuses >= _FAILED)).astype(np.int32).tobytes())

    def forget(self) -> None:
        """Release the columns."""
        self._times, self._codes = array("q"), array("i")

    def in_order(self) -> tuple[Ints, NDArray[np.int32]]:
        """Times and codes, twice the row and arm and one more for a failure, by time."""
        times = np.frombuffer(self._times, dtype=np.int64)
        codes = np.frombuffer(self._codes, dtype=np.int32)
        if bool((times[1:] >= times[:-1]).all()):
            return times, codes
        order = np.argsort(times, kind="stable")
        return times[order], codes[order]


@dataclass(slots=True)
class _Lost:
    """Requests whose decision was shed, by their nonce, in the order of their first outcomes."""

    numbers: dict[bytes, int] = field(default_factory=dict)
    times: list[int] = field(default_factory=list)
    arms: list[int] = field(default_factory=list)
    propensities: list[float] = field(default_factory=list)
    revisions: list[int] = field(default_factory=list)


class _Answers:
    def __init__(
        self, tally: OutcomeTally, forces: InForce, revisions: Sequence[int], repeated: str
    ) -> None:
        self.tally, self.forces, self.revisions = tally, forces, np.array(revisions)
        self.repeated = repeated
        self.columns = {name: array(kind) for name, kind in _OUTCOMES.items()}
        self.nonces = bytearray()
        self.lost = _Lost()
        # Positions of outcomes whose nonce no drawn request has.
        self.strays: list[tuple[int, bytes]] = []

    def take(self, seen: OutcomeColumns) -> None:
        if seen.sticky.any():
            raise StickyError
        rewards = self.tally.rewards_of(seen)
        listed = (seen.requests > 0) & (seen.request_propensities > 0)
        listed &= np.isin(seen.request_revisions, self.revisions)
        for at in np.flatnonzero(~listed & ~seen.matched).tolist():
            self._lose(seen, at)
        kept = np.flatnonzero(~np.isnan(rewards))
        start = len(self.columns["requests"])
        here = listed[kept]
        strays = np.flatnonzero(~here)
        self.strays += [(start + at, bytes(seen.nonces[kept[at]])) for at in strays.tolist()]
        self.nonces += b"".join([seen.nonces[at] for at in kept.tolist()])
        strata = self.forces.rows(seen.request_revisions, seen.request_epochs)
        values = {
            "requests": np.where(here, seen.requests[kept], 0),
            "rows": seen.rows[kept],
            "times": seen.times_ms[kept],
            "arms": seen.arms[kept],
            "rewards": rewards[kept],
            "request_times": seen.request_times_ms[kept],
            "request_arms": seen.request_arms[kept],
            "request_propensities": seen.request_propensities[kept],
            "strata": strata[kept],
        }
        for name, column in self.columns.items():
            column.frombytes(values[name].astype(_TYPES[column.typecode]).tobytes())

    def _lose(self, seen: OutcomeColumns, at: int) -> None:
        """Take a request whose decision is missing from its outcome; the first one counts."""
        nonce, lost = bytes(seen.nonces[at]), self.lost
        if nonce in lost.numbers:
            return
        lost.numbers[nonce] = len(lost.numbers) + 1
        lost.times.append(int(seen.times_ms[at]))
        lost.arms.append(int(seen.arms[at]))
        lost.propensities.append(float(seen.propensities[at]))
        lost.revisions.append(int(seen.revisions[at]))

    def settled(self) -> dict[str, NDArray[Any]]:
        """The columns, with what is known of lost requests filled in."""
        columns = {
            name: np.frombuffer(column, dtype=_TYPES[column.typecode])
            for name, column in self.columns.items()
        }
        lost = self.lost
        if not self.strays or not lost.numbers:
            return columns
        columns = {name: column.copy() for name, column in columns.items()}
        rows = self.forces.rows_of_lost(
            np.array(lost.revisions), np.array(lost.arms), np.array(lost.propensities)
        )
        for at, nonce in self.strays:
            number = lost.numbers.get(nonce)
            if number is not None:
                columns["requests"][at] = -number
                columns["request_times"][at] = lost.times[number - 1]
                columns["request_arms"][at] = lost.arms[number - 1]
                columns["request_propensities"][at] = lost.propensities[number - 1]
                columns["strata"][at] = rows[number - 1]
        return columns


def _together(answers: _Answers, drawn: _Drawn, forces: InForce, *, whole: bool) -> Requests:
    lost_ms = np.array(answers.lost.times, dtype=np.int64)
    asked, since_ms, before = _counted(drawn, lost_ms, forces, whole=whole)
    columns = answers.settled()
    known = columns["requests"] != 0
    own = known & (columns["arms"] == columns["request_arms"])
    units = _units(columns, own, answers.repeated)
    # Of millions of outcomes each column counts.
    columns.clear()
    answers.columns.clear()
    taken = units["request_times"] >= since_ms
    shape = forces.weights.shape
    told = taken & (units["requests"] > 0)
    answered = _table(units["strata"][told] * shape[1] + units["request_arms"][told], shape)
    order = _in_order(units, taken)
    picked = {name: units.pop(name)[order] for name in tuple(units)}
    nonces = np.frombuffer(answers.nonces, dtype="S12")[picked.pop("first")]
    return Requests(
        # Failures have no reward of their own here.
        asked=replace(asked, answered=answered, told=answered),
        arms=picked["request_arms"].astype(np.int64),
        rewards=picked["rewards"],
        propensities=picked["request_propensities"],
        strata=picked["strata"].astype(np.int64),
        times_ms=picked["known_ms"],
        nonces=nonces,
        returning=int((known & ~own).sum()),
        unknown=int((~known).sum()),
        before=before,
        since_ms=since_ms,
    )


def _counted(
    drawn: _Drawn, lost_ms: Ints, forces: InForce, *, whole: bool
) -> tuple[AskedCounts, int, int]:
    """All that were drawn, none of them answered; where evidence begins; how many came before."""
    times, codes = drawn.in_order()
    drawn.forget()
    since_ms = 0 if whole else _begin(times, lost_ms)
    first = int(np.searchsorted(times, since_ms))
    before = first + int((lost_ms < since_ms).sum())
    return _asked(times[first:], codes[first:], forces), since_ms, before


def _begin(times: Ints, lost_ms: Ints) -> int:
    if lost_ms.size:
        times = np.sort(np.concatenate([times, lost_ms]), kind="stable")
    return begin_ms(times)


def _units(
    columns: dict[str, NDArray[Any]], own: NDArray[np.bool_], repeated: str
) -> dict[str, NDArray[Any]]:
    """One line for each request that has an outcome; their rewards as `units.fold` has them."""
    at = np.flatnonzero(own)
    requests, first, unit = np.unique(
        columns["requests"][at], return_index=True, return_inverse=True
    )
    kept = _standing(unit, columns["rows"][at], repeated)
    counts = np.bincount(unit[kept], minlength=requests.size)
    totals = np.bincount(unit[kept], weights=columns["rewards"][at][kept], minlength=requests.size)
    found = {
        name: columns[name][at][first]
        for name in ("request_times", "request_arms", "request_propensities", "strata")
    }
    return found | {
        "requests": requests,
        "first": at[first],
        "known_ms": columns["times"][at][first],
        "rewards": totals / (1 if repeated == "sum" else np.maximum(counts, 1)),
    }


def _standing(unit: Ints, rows: Ints, repeated: str) -> Ints:
    """Positions of the outcomes that count for their row, in order of arrival."""
    n = unit.size
    if repeated == "sum" or not n:
        return np.arange(n)
    low = int(rows.min())
    keys = unit * (int(rows.max()) - low + 1) + (rows - low)
    if repeated == "last":
        _, index = np.unique(keys[::-1], return_index=True)
        return np.sort(n - 1 - index)
    _, index = np.unique(keys, return_index=True)
    return np.sort(index)


def _in_order(units: dict[str, NDArray[Any]], taken: NDArray[np.bool_]) -> Ints:
    """Positions of the units that are taken: as rewards became known, then as arms were drawn."""
    at = np.flatnonzero(taken)
    requests = units["requests"][at]
    keys = (np.abs(requests), requests < 0, units["request_times"][at], units["known_ms"][at])
    return at[np.lexsort(keys)]


def _table(codes: NDArray[np.integer], shape: tuple[int, ...]) -> Ints:
    counts = np.bincount(codes, minlength=shape[0] * shape[1]).astype(np.int64)
    return counts.reshape(shape)


def _asked(times: Ints, codes: NDArray[np.int32], forces: InForce) -> AskedCounts:
    shape = forces.weights.shape
    drawn, failed = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    for start in range(0, codes.size, _AT_ONCE):
        some = codes[start : start + _AT_ONCE]
        drawn += _table(some >> 1, shape)
        failed += _table(some[some & 1 > 0] >> 1, shape)
    largest, largest_of = largest_by_stratum(_pieces(codes, shape[1]), forces.weights)
    return AskedCounts(
        all=drawn,
        failed=failed,
        closed=drawn,
        answered=np.zeros(shape, dtype=np.int64),
        told=np.zeros(shape, dtype=np.int64),
        largest_evidence=largest,
        largest_of_rows=largest_of,
        span_ms=ends_of(times),
        judged=Rhythm.of(times),
    )


def _pieces(codes: NDArray[np.int32], arms: int) -> Iterator[tuple[Ints, Ints]]:
    for start in range(0, codes.size, _AT_ONCE):
        strata, arm = np.divmod((codes[start : start + _AT_ONCE] >> 1).astype(np.int64), arms)
        yield arm, strata
