"""The reward of every outcome, and what else is counted while they are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mlops.journal.records import Observation, Value
from mlops.rewards import (
    LARGEST,
    Answer,
    Range,
    Reward,
    Terms,
    capped,
    is_within,
    within_floats,
)
from mlops.rewards.choosing import fitting_reward


@dataclass(frozen=True, slots=True)
class Truth:
    """One truth that met its prediction, in order of arrival."""

    time_ms: int
    arm: int
    prediction: Answer
    truth: Value


@dataclass(frozen=True, slots=True)
class Underived:
    """Outcomes without a reward, for one reason.

    Attributes:
        reason: What prediction and truth are, or what else stands in the way.
        count: How many outcomes.
        instead: A built-in reward that the first of them has; empty if none does.
    """

    reason: str
    count: int
    instead: str


@dataclass(slots=True)
class OutcomeTally:
    """Gives outcomes their reward, and counts.

    Attributes:
        reward: Of the experiment.
        terms: What it needs to know of each arm.
        bounds: Range that rewards are capped at; None for none.
        ended: When each revision was replaced, milliseconds since 1970 in UTC.
        truths: Truths that met their predictions.
        outcomes: Outcomes with a reward, by arm.
        capped: Outcomes whose reward was outside the range.
        extreme: Outcomes whose reward is `LARGEST` in size, or was larger.
        late: Outcomes that came when their revision was no longer live.
    """

    reward: Reward
    terms: Sequence[Terms]
    bounds: Range | None
    ended: Mapping[int, int]
    truths: list[Truth] = field(default_factory=list)
    outcomes: Counter[int] = field(default_factory=Counter)
    capped: int = 0
    extreme: int = 0
    late: int = 0
    _reasons: Counter[str] = field(default_factory=Counter)
    _instead: dict[str, str] = field(default_factory=dict)

    def reward_of(self, seen: Observation) -> float | None:
        """Return the reward of an outcome inside the range; None if it has none."""
        self.late += seen.time_ms > self.ended.get(seen.revision, seen.time_ms)
        if seen.truth is not None and seen.prediction is not None:
            self.truths.append(Truth(seen.time_ms, seen.arm, seen.prediction, seen.truth))
        try:
            value = self._value(seen)
        except ValueError as error:
            self._note(seen, str(error))
            return None
        self.outcomes[seen.arm] += 1
        self.extreme += abs(value) >= LARGEST
        self.capped += not is_within(value, self.bounds)
        return capped(value, self.bounds)

    def underived(self) -> tuple[Underived, ...]:
        """Outcomes without a reward, the most frequent reason first."""
        return tuple(
            Underived(reason, count, self._instead[reason])
            for reason, count in self._reasons.most_common()
        )

    def _value(self, seen: Observation) -> float:
        if seen.reward is not None:
            return within_floats(seen.reward)
        if seen.prediction is None:
            raise ValueError("their prediction is not in the journal")
        return self.reward(seen.prediction, seen.truth, self.terms[seen.arm])

    def _note(self, seen: Observation, reason: str) -> None:
        if reason not in self._reasons:
            terms = self.terms[seen.arm]
            self._instead[reason] = fitting_reward(seen.prediction, seen.truth, terms)
        self._reasons[reason] += 1
