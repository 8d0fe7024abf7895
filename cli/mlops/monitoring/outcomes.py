"""The reward of every outcome, and what else is counted while they are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import orjson
from numpy.typing import NDArray

from mlops.journal.columns import OutcomeColumns
from mlops.journal.records import Observation, Value
from mlops.journal.rows import prediction_of
from mlops.monitoring.truths import Truth, Truths
from mlops.rewards import (
    LARGEST,
    Range,
    Reward,
    RewardFailedError,
    Terms,
    all_within_floats,
    capped,
    is_within,
    within_floats,
)
from mlops.rewards.choosing import fitting_reward

Floats = NDArray[np.float64]
# Prediction and truth by position.
_Others: TypeAlias = dict[int, tuple[Value, Value]]
_NEVER_MS = 2**62


@dataclass(frozen=True, slots=True)
class Underived:
    """Outcomes without a reward, for one reason.

    Attributes:
        reason: What prediction and truth are, or what else is in the way.
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
        terms: What it needs of each arm.
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
    truths: Truths = field(default_factory=Truths)
    outcomes: Counter[int] = field(default_factory=Counter)
    capped: int = 0
    extreme: int = 0
    late: int = 0
    _reasons: Counter[str] = field(default_factory=Counter)
    _instead: dict[str, str] = field(default_factory=dict)
    _first: dict[str, str] = field(default_factory=dict)

    def reward_of(self, seen: Observation) -> float | None:
        """Return the reward of an outcome inside the range; None if it has none."""
        self.late += seen.time_ms > self.ended.get(seen.revision, seen.time_ms)
        if seen.truth is not None and seen.prediction is not None:
            asked_ms = seen.time_ms if seen.decided_ms is None else seen.decided_ms
            self.truths.append(Truth(asked_ms, seen.arm, seen.prediction, seen.truth))
        try:
            value = self._value(seen)
        except ValueError as error:
            self._note(seen, error)
            return None
        self.outcomes[seen.arm] += 1
        self.extreme += abs(value) >= LARGEST
        self.capped += not is_within(value, self.bounds)
        return capped(value, self.bounds)

    def rewards_of(self, seen: OutcomeColumns) -> NDArray[np.float64]:
        """Return what `reward_of` does for each of n outcomes; NaN for None."""
        ended = np.array([self.ended.get(each, _NEVER_MS) for each in seen.revisions.tolist()])
        self.late += int((seen.times_ms > ended).sum())
        predictions = np.where(seen.matched, seen.predictions, np.nan)
        others = _no_numbers(seen, predictions)
        self._add_truths(seen, predictions, others)
        derived = self.reward.of_numbers(predictions, seen.truths)
        values = all_within_floats(seen.rewards)
        if derived is not None:
            values = np.where(np.isnan(seen.rewards), derived, values)
        for at in np.flatnonzero(np.isnan(values)).tolist():
            one = _observation(seen, at, others, predictions)
            try:
                values[at] = self._value(one)
            except ValueError as error:
                self._note(one, error)
        known = ~np.isnan(values)
        self.outcomes.update(seen.arms[known].tolist())
        self.extreme += int((np.abs(values[known]) >= LARGEST).sum())
        if self.bounds is None:
            return values
        low, high = self.bounds
        self.capped += int(((values < low) | (values > high)).sum())
        return np.where(values < low, low, np.where(values > high, high, values))

    def _add_truths(self, seen: OutcomeColumns, predictions: Floats, others: _Others) -> None:
        both = ~np.isnan(predictions) & ~np.isnan(seen.truths)
        kept = {at: pair for at, pair in others.items() if None not in pair}
        both[list(others)] = False
        both[list(kept)] = True
        where = np.flatnonzero(both)
        positions = dict(zip(where.tolist(), range(where.size), strict=True)) if kept else {}
        self.truths.extend(
            np.where(seen.matched, seen.request_times_ms, seen.times_ms)[where],
            seen.arms[where],
            predictions[where],
            seen.truths[where],
            {positions[at]: pair for at, pair in kept.items()},
        )

    def underived(self) -> tuple[Underived, ...]:
        """Outcomes without a reward, the most frequent reason first."""
        return tuple(
            Underived(reason + self._first.get(reason, ""), count, self._instead[reason])
            for reason, count in self._reasons.most_common()
        )

    def _value(self, seen: Observation) -> float:
        if seen.reward is not None:
            return within_floats(seen.reward)
        if seen.prediction is None:
            raise ValueError("their prediction is not in the journal")
        return self.reward(seen.prediction, seen.truth, self.terms[seen.arm])

    def _note(self, seen: Observation, error: ValueError) -> None:
        reason = str(error)
        if isinstance(error, RewardFailedError) and reason not in self._reasons:
            cause = f"`{error.__cause__}`, " if error.__cause__ else ""
            self._first[reason] = f" (first: {cause}nonce `{seen.nonce.hex()}` in the journal)"
            self._instead[reason] = ""
        elif reason not in self._reasons:
            terms = self.terms[seen.arm]
            self._instead[reason] = fitting_reward(seen.prediction, seen.truth, terms)
        self._reasons[reason] += 1


def _no_numbers(seen: OutcomeColumns, predictions: Floats) -> _Others:
    """Prediction and truth, by position, of outcomes where one of them is not a plain number."""
    found: _Others = {}
    pairs = zip(seen.truth_texts, seen.prediction_texts, strict=True)
    matched = seen.matched
    for at, (truth_text, prediction_text) in enumerate(pairs):
        if truth_text is not None or (prediction_text is not None and matched[at]):
            number = _known(predictions[at])
            text = prediction_text if matched[at] else None
            truth = orjson.loads(truth_text) if truth_text is not None else _known(seen.truths[at])
            found[at] = prediction_of(number, text, int(seen.rows[at])), truth
    return found


def _known(number: float) -> float | None:
    return None if number != number else float(number)


def _observation(
    seen: OutcomeColumns, at: int, others: _Others, predictions: Floats
) -> Observation:
    prediction, truth = others.get(at) or (_known(predictions[at]), _known(seen.truths[at]))
    return Observation(
        seq=0,
        nonce=bytes(seen.nonces[at]),
        row=int(seen.rows[at]),
        time_ms=int(seen.times_ms[at]),
        revision=int(seen.revisions[at]),
        arm=int(seen.arms[at]),
        propensity=float(seen.propensities[at]),
        reward=_known(seen.rewards[at]),
        truth=truth,
        prediction=prediction,
        unit=None,
        decided_ms=None,
    )
