"""Answers of shadows to copies of requests, compared with those that were served.

Descriptions, not evidence: a shadow's answer is never returned, so nothing can be said about what
users would have done with it. Where the truth is known both are measured on the same rows.

    p_c, q_c   probabilities that the shadow and the served model give to class c

How far two answers of probabilities differ is their total variation, sum_c |p_c - q_c| / 2, which
of two classes is the difference of the probability of either; whether they agree is whether the
same class is their prediction.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from mlops.journal.base import Journal
from mlops.journal.records import (
    RevisionEvent,
    ShadowPair,
    ShadowTruth,
    Value,
    dropped_copies,
)
from mlops.journal.terms import terms_of
from mlops.monitoring.evidence import Truth
from mlops.monitoring.quality import Quality, measure
from mlops.rewards import Answer, Range, Reward, Terms, capped, reward_called, reward_range
from mlops.rewards.decisions import predicted_label
from mlops.rewards.kinds import is_number, is_single, same
from mlops.rewards.probabilities import are_probabilities, is_probability, probabilities
from mlops.spec.deployment import DeploymentSpec, Shadow, from_dict

# Two servers may sum in another order, and JSON writes what they differ in.
_SAME = 1e-6
_SHADOW, _SERVED = 0, 1
# (class, probability) of every class.
_Chances: TypeAlias = list[tuple[Value, float]]


@dataclass(frozen=True, slots=True)
class ShadowReport:
    """One shadow of the live revision, over all revisions that had it.

    Attributes:
        name: Its name.
        version: Its model version.
        share: Share of the requests it gets a copy of, in (0, 1].
        requests: Copies it was asked about.
        dropped: Copies that it was too slow for, and so was never asked about.
        errors: Those it answered with a status of 500 or more.
        served_errors: The same for what was served to these requests.
        latency_ms: Mean latency of its answers in milliseconds; NaN without any.
        served_latency_ms: Mean latency of what was served to the same requests.
        rows: Rows that both answered.
        agreement: Share of those on which both said the same, in [0, 1], of probabilities the same
            class; None without any.
        difference: Mean absolute difference of numbers, or of probabilities; None if there are
            none.
        quality: Its quality, on rows whose truth is known and that both answered.
        served_quality: Quality of what was served, on the same rows.
        of_probabilities: Whether both answered probabilities.
        rewarded: Of those rows the ones on which both have a reward.
        reward: Mean reward on them, had the shadow's answers been served; None without any.
        served_reward: Mean reward of what was served, likewise derived from the truth.
    """

    name: str
    version: str
    share: float
    requests: int
    dropped: int
    errors: int
    served_errors: int
    latency_ms: float
    served_latency_ms: float
    rows: int
    agreement: float | None
    difference: float | None
    quality: Quality
    served_quality: Quality
    of_probabilities: bool = False
    rewarded: int = 0
    reward: float | None = None
    served_reward: float | None = None


def shadow_reports(journal: Journal) -> tuple[ShadowReport, ...]:
    """Report on each shadow of the revision that is live, or was last."""
    specs: dict[int, DeploymentSpec] = {}
    live: DeploymentSpec | None = None
    events = journal.revision_events()
    for event in events:
        if event.event in ("live", "started") and event.spec:
            live = specs[event.revision] = from_dict(event.spec)
    if live is None or not live.shadows:
        return ()
    where = {
        (number, index): _identity(shadow)
        for number, spec in specs.items()
        for index, shadow in enumerate(spec.shadows)
    }
    judge = _Judge.of(events, live)
    wanted = {_identity(shadow): _Sums(judge) for shadow in live.shadows}
    numbers = sorted({number for (number, _), each in where.items() if each in wanted})
    _add_pairs(journal.shadow_pairs(numbers), where, wanted)
    _add_truths(journal.shadow_truths(numbers), where, wanted)
    losses = journal.losses()
    return tuple(
        _report(
            shadow,
            wanted[_identity(shadow)],
            losses.get(dropped_copies(shadow.name, shadow.model.label), 0),
        )
        for shadow in live.shadows
    )


_Identity = tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Judge:
    """What answers mean and are worth.

    Attributes:
        reward: Of the live revision.
        terms: What it needs. A shadow does not tell its classes: they count as those of the arms.
        bounds: Range of the reward; None for none.
    """

    reward: Reward
    terms: Terms
    bounds: Range | None

    @classmethod
    def of(cls, events: Sequence[RevisionEvent], spec: DeploymentSpec) -> _Judge:
        every = terms_of(events, spec)
        terms = next((its for its in every if its.classes), every[0])
        bounds = reward_range(spec.reward, spec.reward_range, terms)
        return cls(reward_called(spec.reward), terms, bounds)

    def value(self, prediction: Answer, truth: Value) -> float | None:
        """Return the reward of an answer; None if it has none."""
        try:
            return capped(self.reward(prediction, truth, self.terms), self.bounds)
        except ValueError:
            return None

    def chances(self, answer: Answer, other: Answer) -> _Chances | None:
        """Return (class, probability) of every class in an answer; None if it has none.

        One number is a probability where the reward takes it for one, or beside another answer
        that has one per class.
        """
        if not self._has_chances(answer, other):
            return None
        try:
            return probabilities(answer, self.terms)
        except ValueError:
            return None

    def _has_chances(self, answer: Answer, other: Answer) -> bool:
        if are_probabilities(answer):
            return True
        if is_number(answer) and "brier" in self.reward.measures:
            return True
        asks = bool(self.terms.costs) or are_probabilities(other)
        return asks and is_probability(answer, self.terms)

    def label(self, answer: Answer, chances: _Chances | None) -> Value:
        """Return the class that is the prediction, by the decision rule if there is one."""
        if self.terms.costs:
            with contextlib.suppress(ValueError):
                return predicted_label(answer, self.terms)
        if chances is None:
            return answer if is_single(answer) else None
        return max(chances, key=lambda each: each[1])[0]


@dataclass(slots=True)
class _Sums:
    judge: _Judge
    requests: int = 0
    errors: int = 0
    served_errors: int = 0
    latency_us: int = 0
    answered: int = 0
    served_latency_us: int = 0
    served: int = 0
    rows: int = 0
    same: int = 0
    numbers: int = 0
    difference: float = 0.0
    likely: int = 0
    truths: list[Truth] = field(default_factory=list)
    rewarded: int = 0
    reward: float = 0.0
    served_reward: float = 0.0


def _identity(shadow: Shadow) -> _Identity:
    return shadow.name, shadow.model.source


def _add_pairs(
    pairs: Iterable[ShadowPair],
    where: dict[tuple[int, int], _Identity],
    wanted: dict[_Identity, _Sums],
) -> None:
    for pair in pairs:
        sums = wanted.get(where.get((pair.revision, pair.shadow), ("", "")))
        if sums is None:
            continue
        sums.requests += 1
        sums.errors += pair.status >= 500
        if pair.status < 500:
            sums.latency_us += pair.latency_us
            sums.answered += 1
        if pair.served_status is not None and pair.served_latency_us is not None:
            sums.served_errors += pair.served_status >= 500
            sums.served_latency_us += pair.served_latency_us
            sums.served += 1
        ours, theirs = pair.predictions, pair.served_predictions
        if ours is not None and theirs is not None and len(ours) == len(theirs):
            for one, other in zip(ours, theirs, strict=True):
                _compare(sums, one, other)


def _compare(sums: _Sums, one: Answer, other: Answer) -> None:
    sums.rows += 1
    judge = sums.judge
    ours, theirs = judge.chances(one, other), judge.chances(other, one)
    if ours is not None and theirs is not None and len(ours) == len(theirs):
        sums.likely += 1
        sums.numbers += 1
        sums.difference += _apart(ours, theirs)
        sums.same += same(judge.label(one, ours), judge.label(other, theirs))
        return
    if is_number(one) and is_number(other):
        difference = abs(float(one) - float(other))
        sums.numbers += 1
        sums.difference += difference
        if ours is None and theirs is None:
            sums.same += difference <= _SAME * max(1.0, abs(float(other)))
            return
    if (ours is None) != (theirs is None):
        # One of them answers the class itself.
        mine, its = judge.label(one, ours), judge.label(other, theirs)
        sums.same += mine is not None and same(mine, its)
    elif is_single(one) and is_single(other):
        sums.same += same(one, other)
    else:
        sums.same += one == other


def _apart(ours: _Chances, theirs: _Chances) -> float:
    named = [[q for each, q in theirs if same(each, name)] for name, _ in ours]
    if all(len(found) == 1 for found in named):
        return sum(abs(p - q) for (_, p), (q,) in zip(ours, named, strict=True)) / 2
    return sum(abs(p - q) for (_, p), (_, q) in zip(ours, theirs, strict=True)) / 2


def _add_truths(
    truths: Iterable[ShadowTruth],
    where: dict[tuple[int, int], _Identity],
    wanted: dict[_Identity, _Sums],
) -> None:
    for seen in truths:
        sums = wanted.get(where.get((seen.revision, seen.shadow), ("", "")))
        if sums is not None and seen.prediction is not None and seen.served is not None:
            sums.truths.append(Truth(0, _SHADOW, seen.prediction, seen.truth))
            sums.truths.append(Truth(0, _SERVED, seen.served, seen.truth))
            ours = sums.judge.value(seen.prediction, seen.truth)
            theirs = sums.judge.value(seen.served, seen.truth)
            if ours is not None and theirs is not None:
                sums.rewarded += 1
                sums.reward += ours
                sums.served_reward += theirs


def _report(shadow: Shadow, sums: _Sums, dropped: int) -> ShadowReport:
    measures, terms = sums.judge.reward.measures, sums.judge.terms
    n = sums.rewarded
    return ShadowReport(
        name=shadow.name,
        version=shadow.model.label,
        share=shadow.share,
        requests=sums.requests,
        dropped=dropped,
        errors=sums.errors,
        served_errors=sums.served_errors,
        latency_ms=sums.latency_us / sums.answered / 1000 if sums.answered else math.nan,
        served_latency_ms=sums.served_latency_us / sums.served / 1000 if sums.served else math.nan,
        rows=sums.rows,
        agreement=sums.same / sums.rows if sums.rows else None,
        difference=sums.difference / sums.numbers if sums.numbers else None,
        quality=measure(sums.truths, _SHADOW, measures, terms),
        served_quality=measure(sums.truths, _SERVED, measures, terms),
        of_probabilities=sums.likely * 2 > sums.rows,
        rewarded=n,
        reward=sums.reward / n if n else None,
        served_reward=sums.served_reward / n if n else None,
    )
