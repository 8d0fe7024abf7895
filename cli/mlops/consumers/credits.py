"""Rewards of requests, in the order in which a policy learns of them.

Without a feedback window a row earns what its first outcome says, when that arrives. With one, a
request earns when its window closes, in the order of the requests: the mean of its rows, or their
sum where outcomes add up, with the rewards declared for missing feedback and failures. So a policy
learns from the same rewards that the verdict counts, and slow feedback is not mistaken for bad.

A policy that looks at the request learns of the row that a reward is for, as the journal kept it;
where a request earns as a whole, of its first row. Of a row that was not kept it learns nothing.

Another worker may store an outcome before its decision is there. The reader waits for the decision
with all that came later, for a while; after that it counts as shed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from mlops.journal.base import Journal
from mlops.journal.caps import Caps
from mlops.journal.consumer_records import Offset
from mlops.journal.records import Observation
from mlops.policies.base import Credit
from mlops.rewards import Terms, capped, reward_called, reward_range
from mlops.spec.attribution import Attribution
from mlops.spec.deployment import DeploymentSpec

_LIMIT = 5_000
_FAILED = 400
#: How exactly it is known from which outcome on a restarted reader has to read: parts of a window.
_MARKS = 1_000
#: How long the decision of an outcome may take to be stored.
_DECISION_MS = 10_000
#: A credit, with the decision and the row of its request that it is for.
_Earned: TypeAlias = tuple[Credit, bytes, int]


@dataclass(frozen=True, slots=True)
class Learner:
    """Whose rewards count, and for which arm of the live revision.

    Attributes:
        spec: Of the live revision.
        arms: (revision, position of an arm in it) to the position of the same arm now.
        terms: What the reward needs of each arm now.
        features: Those that its policy uses.
    """

    spec: DeploymentSpec
    arms: Mapping[tuple[int, int], int]
    terms: Sequence[Terms]
    features: tuple[str, ...] = ()

    def reward_of(self, seen: Observation, arm: int) -> float | None:
        """Return the reward of an outcome, inside its range; None if it has none."""
        terms = self.terms[arm]
        value = seen.reward
        if value is None:
            if seen.prediction is None:
                return None
            try:
                value = reward_called(self.spec.reward)(seen.prediction, seen.truth, terms)
            except ValueError:
                return None
        return capped(value, reward_range(self.spec.reward, self.spec.reward_range, terms))


class CreditReader:
    """Reads credits from a journal, from where it was.

    Args:
        journal: Only read.
        learner: Whose credits.
        start: Offset from an earlier reader's `offset`.
    """

    def __init__(self, journal: Journal, learner: Learner, start: Offset) -> None:
        self._journal, self._learner = journal, learner
        self._rule: Attribution = learner.spec.attribution
        self._caps = Caps(self._rule)
        # What counts against the cap of a key is counted from the beginning.
        self._at = Offset(start.decisions, 0 if self._rule.max_per_key else start.outcomes)
        self._start = start.outcomes
        self._closed = start.decisions
        # Rewards of requests whose window is open, by row, in the order of their outcomes.
        self._pending: dict[bytes, dict[int, list[float]]] = {}
        # (time, outcomes read by then), to know from where a restarted reader has to read.
        self._marks: deque[tuple[int, int]] = deque()
        self._resume_outcomes = start.outcomes
        # Time of the outcome whose decision is waited for.
        self._waiting_ms: int | None = None

    @property
    def offset(self) -> Offset:
        """From where another reader continues, with nothing lost and nothing twice."""
        if not self._rule.window_s:
            # Where a cap has all outcomes read again, those before the start are in already.
            return Offset(self._at.decisions, max(self._start, self._at.outcomes))
        return Offset(self._closed, self._resume_outcomes)

    def read(self, now_ms: int) -> list[Credit]:
        """Return the credits since.

        Args:
            now_ms: Now, milliseconds since 1970 in UTC.

        Raises:
            RemoteError: The journal cannot be read; nothing is lost.
        """
        end = self._journal.end()
        if not self._rule.window_s:
            earned = [*self._arrived(end, now_ms), *self._failures(end)]
            return self._with_features(earned)
        self._mark(now_ms)
        for seen in self._outcomes(end, now_ms):
            self._keep(seen)
        # Whatever comes after an outcome that waits is too late for older requests.
        seen_ms = now_ms if self._waiting_ms is None else min(now_ms, self._waiting_ms)
        closed_ms = seen_ms - int(self._rule.window_s * 1000)
        return self._with_features(list(self._closing(end, closed_ms)))

    def _with_features(self, earned: Sequence[_Earned]) -> list[Credit]:
        """Return the credits, with the features of their rows where a policy looks at them."""
        if not self._learner.features:
            return [credit for credit, _, _ in earned]
        kept = self._journal.rows_of(nonce for _, nonce, _ in earned)
        rows = [kept[nonce].row(max(row, 0)) if nonce in kept else None for _, nonce, row in earned]
        return [
            replace(credit, context={name: row.get(name) for name in self._learner.features})
            for (credit, _, _), row in zip(earned, rows, strict=True)
            if isinstance(row, dict)
        ]

    def _waits(self, seen: Observation, now_ms: int) -> bool:
        """Whether the decision of an outcome is needed and may still come."""
        needed = self._rule.window_s or self._learner.features or seen.reward is None
        return bool(needed) and seen.may_join(now_ms, _DECISION_MS)

    def _outcomes(self, end: Offset, now_ms: int) -> Iterator[Observation]:
        """Yield outcomes of drawn requests that are within the caps."""
        self._waiting_ms = None
        while (after := self._at.outcomes) < end.outcomes:
            some, upto = self._journal.outcomes(after, end.outcomes, _LIMIT)
            early = next((at for at, seen in enumerate(some) if self._waits(seen, now_ms)), None)
            if early is not None:
                self._waiting_ms = some[early].time_ms
                some, upto = some[:early], some[early].seq - 1
                end = Offset(end.decisions, upto)
            ours = [seen for seen in some if self._arm_of(seen) is not None]
            if self._rule.max_per_unit:
                # Sticky units take part in no policy that learns: units are requests.
                nonces = {seen.nonce for seen in ours}
                self._caps.forget_units(self._journal.count_outcomes(nonces, after))
            counted = self._caps.within(ours)
            yield from (seen for seen in counted if seen.seq > self._start)
            self._at = Offset(self._at.decisions, upto)

    def _arm_of(self, seen: Observation) -> int | None:
        """Return the arm that an outcome is credited to; None if none drew it."""
        return self._learner.arms.get((seen.revision, seen.arm)) if seen.propensity > 0 else None

    def _arrived(self, end: Offset, now_ms: int) -> Iterator[_Earned]:
        for seen in self._outcomes(end, now_ms):
            arm = self._arm_of(seen)
            if arm is None or seen.ordinal:
                continue
            reward = self._learner.reward_of(seen, arm)
            if reward is not None:
                yield Credit(arm, seen.propensity, reward), seen.nonce, seen.row

    def _failures(self, end: Offset) -> Iterator[_Earned]:
        """Yield the declared rewards of failed requests."""
        if self._rule.failed is None:
            return
        while self._at.decisions < end.decisions:
            some = self._journal.decisions(self._at.decisions, end.decisions, _LIMIT)
            if not len(some):
                break
            for row in (some.statuses >= _FAILED).nonzero()[0]:
                arm = self._learner.arms.get((int(some.revisions[row]), int(some.arms[row])))
                if arm is not None and some.propensities[row] > 0:
                    credit = Credit(arm, float(some.propensities[row]), self._rule.failed)
                    yield credit, some.nonces[int(row)], 0
            self._at = Offset(int(some.seqs[-1]), self._at.outcomes)

    def _keep(self, seen: Observation) -> None:
        arm = self._arm_of(seen)
        if arm is None or seen.decided_ms is None:
            return
        if seen.time_ms > seen.decided_ms + self._rule.window_s * 1000:
            return
        reward = self._learner.reward_of(seen, arm)
        if reward is not None:
            values = self._pending.setdefault(seen.nonce, {}).setdefault(seen.row, [])
            # Read again after a restart, the same outcome has the same place.
            del values[seen.ordinal :]
            values.append(reward)

    def _closing(self, end: Offset, closed_ms: int) -> Iterator[_Earned]:
        """Yield the credits of requests from up to `closed_ms`, in the order of the journal."""
        while self._closed < end.decisions:
            some = self._journal.decisions(self._closed, end.decisions, _LIMIT)
            for row in range(len(some)):
                if some.times_ms[row] > closed_ms:
                    self._advance(closed_ms)
                    return
                self._closed = int(some.seqs[row])
                arm = self._learner.arms.get((int(some.revisions[row]), int(some.arms[row])))
                pending = self._pending.pop(some.nonces[row], None)
                if arm is None or some.propensities[row] <= 0:
                    continue
                value = self._worth(pending, failed=bool(some.statuses[row] >= _FAILED))
                if value is not None:
                    yield Credit(arm, float(some.propensities[row]), value), some.nonces[row], 0
            if not len(some):
                break
        self._advance(closed_ms)

    def _worth(self, pending: dict[int, list[float]] | None, *, failed: bool) -> float | None:
        if pending is not None:
            each = [_folded(values, self._rule.repeated) for values in pending.values()]
            return sum(each) if self._rule.repeated == "sum" else sum(each) / len(each)
        if failed and self._rule.failed is not None:
            return self._rule.failed
        return self._rule.missing if isinstance(self._rule.missing, float) else None

    def _mark(self, now_ms: int) -> None:
        if not self._marks or now_ms - self._marks[-1][0] >= self._rule.window_s * 1000 / _MARKS:
            self._marks.append((now_ms, self._at.outcomes))

    def _advance(self, closed_ms: int) -> None:
        """Have a restarted reader skip the outcomes from before any open window."""
        while len(self._marks) > 1 and self._marks[1][0] <= closed_ms:
            self._marks.popleft()
        if self._marks and self._marks[0][0] <= closed_ms:
            self._resume_outcomes = max(self._resume_outcomes, self._marks[0][1])


def _folded(values: Sequence[float], repeated: str) -> float:
    if repeated == "sum":
        return sum(values)
    return values[-1] if repeated == "last" else values[0]
