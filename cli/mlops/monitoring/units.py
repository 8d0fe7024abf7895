"""From journal rows to units of analysis.

The unit is the request, or the sticky unit where the deployment has one: rows of one request and
requests of one user are not independent, and counting them as if they were makes intervals too
narrow. A unit counts once, in the revision and arm of its first request; what it does under later
revisions is left out, because there its arm was not drawn again (units that return are not like
those that come again, and a change of weights would mix the two).

With a feedback window a unit is judged when the window of its first request has closed, and units
are in the order of their first requests. Without one they are in the order in which feedback
arrived.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mlops.journal.records import DrawnRequest, Observation
from mlops.spec.attribution import Attribution

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: The reward of an outcome, or None where it has none.
RewardOf = Callable[[Observation], float | None]

_FAILED, _BROKEN = 400, 500


@dataclass(frozen=True, slots=True)
class Units:
    """Units of one experiment, in the order of their first requests; m in all.

    Attributes:
        keys: What the unit is, (m,): `u` and the keyed hash of a sticky unit, else `n` and a nonce.
        nonces: Of the first request, (m,).
        arms: Arm of the first request, (m,).
        revisions: Its revision, (m,).
        propensities: Probability with which the arm was drawn, (m,).
        epochs: Policy epoch by which it was drawn, (m,); -1 where it is not known.
        decided_ms: When, (m,), milliseconds since 1970 in UTC.
        closed: Whether the feedback window has closed, (m,); always, where there is none.
        failed: Whether every request of the unit failed, (m,).
        latency_ms: Mean latency of its requests under its first revision and arm, (m,).
        first_latency_ms: Latency of its first request, which later ones do not change, (m,).
        errors: Share of these answered with 5xx, (m,).
        refusals: Share of these answered with 4xx, (m,).
        requests: Requests under its first revision and arm, (m,).
        rewards: Reward of each unit, (m,); NaN where it has none.
        known_ms: When its first outcome that counts arrived, or its failure was known, (m,); -1
            without either.
        outcomes: Outcomes that count, (m,).
        listed: Whether the unit's request is in the journal, (m,); not if its decision was shed.
        returning: Outcomes left out because another revision or arm had the unit first.
        too_late: Outcomes left out because their window had closed.
        unknown: Outcomes left out because their request, and so their unit, is not known.
        requests_ms: Times of all requests, also those of units that return, ascending.
        by_arrival: Whether units count in the order in which their rewards became known, instead
            of that of their first requests.
    """

    keys: NDArray[np.bytes_]
    nonces: NDArray[np.bytes_]
    arms: Ints
    revisions: Ints
    epochs: Ints
    propensities: Floats
    decided_ms: Ints
    closed: Bools
    failed: Bools
    latency_ms: Floats
    first_latency_ms: Floats
    errors: Floats
    refusals: Floats
    requests: Ints
    rewards: Floats
    known_ms: Ints
    outcomes: Ints
    listed: Bools
    returning: int
    too_late: int
    unknown: int
    requests_ms: Ints
    by_arrival: bool

    @property
    def judged(self) -> Ints:
        """Positions of units with a reward, in the order in which they count."""
        judged = np.flatnonzero(~np.isnan(self.rewards))
        if not self.by_arrival:
            return judged
        return judged[np.argsort(self.known_ms[judged], kind="stable")]


@dataclass(slots=True)
class _Requests:
    """Columns of the requests that were drawn, as they are read."""

    keys: bytearray = field(default_factory=bytearray)
    nonces: bytearray = field(default_factory=bytearray)
    times: array[int] = field(default_factory=lambda: array("q"))
    revisions: array[int] = field(default_factory=lambda: array("q"))
    arms: array[int] = field(default_factory=lambda: array("q"))
    propensities: array[float] = field(default_factory=lambda: array("d"))
    statuses: array[int] = field(default_factory=lambda: array("h"))
    latencies: array[int] = field(default_factory=lambda: array("q"))
    epochs: array[int] = field(default_factory=lambda: array("q"))

    def add(self, request: DrawnRequest) -> None:
        # A tag keeps units apart from requests without one, whose nonce might look the same.
        self.keys += b"n" + request.nonce if request.unit is None else key_of(request.unit)
        self.nonces += request.nonce
        self.times.append(request.time_ms)
        self.revisions.append(request.revision)
        self.arms.append(request.arm)
        self.propensities.append(request.propensity)
        self.statuses.append(request.status)
        self.latencies.append(request.latency_us)
        self.epochs.append(request.epoch)


@dataclass(slots=True)
class _Outcomes:
    """Columns of the outcomes that have a reward, as they are read."""

    nonces: bytearray = field(default_factory=bytearray)
    rows: array[int] = field(default_factory=lambda: array("q"))
    times: array[int] = field(default_factory=lambda: array("q"))
    revisions: array[int] = field(default_factory=lambda: array("q"))
    arms: array[int] = field(default_factory=lambda: array("q"))
    rewards: array[float] = field(default_factory=lambda: array("d"))

    def add(self, outcome: Observation, reward: float) -> None:
        self.nonces += outcome.nonce
        self.rows.append(outcome.row)
        self.times.append(outcome.time_ms)
        self.revisions.append(outcome.revision)
        self.arms.append(outcome.arm)
        self.rewards.append(reward)


def fold(
    requests: Iterable[DrawnRequest],
    outcomes: Iterable[Observation],
    attribution: Attribution,
    reward_of: RewardOf,
    *,
    sticky: bool,
    now_ms: int,
    summed: bool = False,
) -> Units:
    """Fold requests and outcomes into units.

    Args:
        requests: All that were drawn for the experiment, in the order of the draws.
        outcomes: In order of arrival; none of a forced request.
        attribution: Which of them count.
        reward_of: Gives an outcome's reward.
        sticky: Whether the deployment keeps units on their arm. Feedback about a request that is
            not in the journal then has no unit, and is left out; otherwise it is a unit.
        now_ms: When the look is taken, milliseconds since 1970 in UTC.
        summed: Whether a unit's reward is the sum of its outcomes whatever `attribution` says.
    """
    asked, answers = _Requests(), _Outcomes()
    for request in requests:
        asked.add(request)
    without_decision: dict[bytes, Observation] = {}
    for outcome in outcomes:
        reward = reward_of(outcome)
        if outcome.decided_ms is None and not sticky:
            without_decision.setdefault(outcome.nonce, outcome)
        if reward is not None:
            answers.add(outcome, reward)
    listed_requests = len(asked.times)
    if without_decision:
        # A retry that another arm answered has a decision, though not one of its own.
        listed = {bytes(asked.nonces[at : at + 12]) for at in range(0, len(asked.nonces), 12)}
        for nonce, outcome in without_decision.items():
            if nonce not in listed:
                asked.add(_as_request(nonce, outcome))
    return _Folding(asked, answers, attribution, now_ms, listed_requests, summed).units()


def _as_request(nonce: bytes, outcome: Observation) -> DrawnRequest:
    """The request of feedback whose decision was lost under load; it was made no later."""
    return DrawnRequest(
        nonce,
        outcome.time_ms,
        outcome.revision,
        outcome.arm,
        outcome.propensity,
        200,
        None,
        epoch=-1,
    )


def key_of(unit: bytes) -> bytes:
    """Key of a sticky unit in `Units.keys`."""
    return b"u" + unit.ljust(12)


def _nonces(data: bytearray) -> NDArray[np.bytes_]:
    return np.frombuffer(bytes(data), dtype="S12")


class _Folding:
    def __init__(
        self,
        asked: _Requests,
        answers: _Outcomes,
        attribution: Attribution,
        now_ms: int,
        listed: int,
        summed: bool,
    ) -> None:
        self.attribution, self.now_ms = attribution, now_ms
        self.summed = summed or attribution.repeated == "sum"
        self.window_ms = round(attribution.window_s * 1000)
        times = np.array(asked.times, dtype=np.int64)
        order = np.argsort(times, kind="stable")
        keys = self.keys = np.frombuffer(bytes(asked.keys), dtype="S13")[order]
        self.listed = order < listed
        self.nonces = _nonces(asked.nonces)[order]
        self.times = times[order]
        self.revisions = np.array(asked.revisions, dtype=np.int64)[order]
        self.epochs = np.array(asked.epochs, dtype=np.int64)[order]
        self.arms = np.array(asked.arms, dtype=np.int64)[order]
        self.propensities = np.array(asked.propensities, dtype=np.float64)[order]
        self.statuses = np.array(asked.statuses, dtype=np.int64)[order]
        self.latencies = np.array(asked.latencies, dtype=np.int64)[order]
        _, first, unit = np.unique(keys, return_index=True, return_inverse=True)
        # Units in the order of their first requests.
        rank = np.empty(first.size, dtype=np.int64)
        rank[np.argsort(first, kind="stable")] = np.arange(first.size)
        self.first = np.sort(first)
        self.unit = rank[unit] if unit.size else unit.astype(np.int64)
        self.answers = answers

    def units(self) -> Units:
        first, m = self.first, self.first.size
        closed = self.times[first] + self.window_ms <= self.now_ms
        if not self.window_ms:
            closed = np.ones(m, dtype=bool)
        unit, row_rewards, known_ms, left_out = self._credited()
        counts = np.bincount(unit, minlength=m).astype(np.int64)
        totals = np.bincount(unit, weights=row_rewards, minlength=m)
        parts = 1 if self.summed else np.maximum(counts, 1)
        rewards = np.where(counts > 0, totals / parts, np.nan)
        requests, latency_ms, failures, errors = self._answered()
        failed = failures == 1
        if self.attribution.failed is not None:
            told = failed & (counts == 0)
            rewards = np.where(told, self.attribution.failed, rewards)
            known_ms = np.where(told, self.times[first], known_ms)
        if isinstance(self.attribution.missing, float):
            rewards = np.where(np.isnan(rewards), self.attribution.missing, rewards)
        rewards = np.where(closed, rewards, np.nan)
        return Units(
            keys=self.keys[first],
            nonces=self.nonces[first],
            arms=self.arms[first],
            revisions=self.revisions[first],
            epochs=self.epochs[first],
            propensities=self.propensities[first],
            decided_ms=self.times[first],
            closed=closed,
            failed=failed,
            latency_ms=latency_ms,
            first_latency_ms=self.latencies[first] / 1000,
            errors=errors,
            refusals=failures - errors,
            requests=requests,
            rewards=rewards,
            known_ms=known_ms,
            outcomes=counts,
            listed=self.listed[first],
            returning=left_out[0],
            too_late=left_out[1],
            unknown=left_out[2],
            requests_ms=self.times,
            by_arrival=not self.window_ms,
        )

    def _answered(self) -> tuple[Ints, Floats, Floats, Floats]:
        """Requests, their mean latency in milliseconds, and shares that failed, and with 5xx.

        Of each unit under its first revision and arm.
        """
        own = np.flatnonzero(self._is_own(np.arange(self.unit.size)))
        unit, m = self.unit[own], self.first.size
        counts = np.bincount(unit, minlength=m)
        latency, failed, errors = (
            np.bincount(unit, weights=values, minlength=m) / counts
            for values in (
                self.latencies[own] / 1000,
                self.statuses[own] >= _FAILED,
                self.statuses[own] >= _BROKEN,
            )
        )
        return counts.astype(np.int64), latency, failed, errors

    def _is_own(self, request: Ints) -> Bools:
        """Whether requests were answered by the revision and arm that had their unit first."""
        first = self.first[self.unit[request]]
        same_arm = self.arms[request] == self.arms[first]
        return np.asarray(same_arm & (self.revisions[request] == self.revisions[first]))

    def _credited(self) -> tuple[Ints, Floats, Ints, tuple[int, int, int]]:
        """Pick the outcomes that count.

        Returns:
            Unit and reward of each; when each unit's first arrived; and how many were left out as
            of returning units, too late, or unknown.
        """
        answers = self.answers
        nonces = _nonces(answers.nonces)
        times = np.array(answers.times, dtype=np.int64)
        sorter = np.argsort(self.nonces, kind="stable")
        at = np.searchsorted(self.nonces, nonces, sorter=sorter)
        inside = at < self.nonces.size
        request = sorter[np.minimum(at, self.nonces.size - 1)] if self.nonces.size else at
        known = inside & (self.nonces[request] == nonces) if self.nonces.size else inside
        own = known.copy()
        own[known] &= self._is_own(request[known])
        own &= np.array(answers.arms, dtype=np.int64) == (
            self.arms[request] if self.nonces.size else -1
        )
        unit = self.unit[request] if self.unit.size else request
        in_time = own.copy()
        if self.window_ms:
            in_time[own] &= times[own] <= self.times[self.first[unit[own]]] + self.window_ms
        left_out = (int((known & ~own).sum()), int((own & ~in_time).sum()), int((~known).sum()))
        unit, times = unit[in_time], times[in_time]
        rewards = np.array(answers.rewards, dtype=np.float64)[in_time]
        rows = np.array(answers.rows, dtype=np.int64)[in_time]
        known_ms = np.full(self.first.size, -1, dtype=np.int64)
        # The earliest is written last.
        known_ms[unit[::-1]] = times[::-1]
        kept = self._standing(request[in_time], rows)
        return unit[kept], rewards[kept], known_ms, left_out

    def _standing(self, request: Ints, rows: Ints) -> Ints:
        """Positions of the outcomes that count for their row, in order of arrival."""
        n = request.size
        if self.attribution.repeated == "sum" or not n:
            return np.arange(n)
        if self.attribution.repeated == "last":
            pairs = np.stack([request[::-1], rows[::-1]])
            _, index = np.unique(pairs, axis=1, return_index=True)
            return np.sort(n - 1 - index)
        _, index = np.unique(np.stack([request, rows]), axis=1, return_index=True)
        return np.sort(index)
