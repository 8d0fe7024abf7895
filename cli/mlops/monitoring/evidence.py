"""From journal rows to the observations that statistics work on.

The unit of analysis is the request, or the sticky unit where the deployment has one: rows of one
request and requests of one person are not independent, and counting them as if they were makes
intervals too narrow. A unit's reward is the mean of its outcomes; it takes its place in the order
in which units first sent any.

Revisions with the same arms and reward are one experiment. Their evidence is combined by
propensity, never pooled: pooling 90/10 with 50/50 while the base rate moves rejects equal arms.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mlops.errors import NotFoundError
from mlops.journal.base import Journal
from mlops.journal.records import Observation, RevisionEvent, Traffic, Value
from mlops.rewards import (
    Answer,
    Range,
    Reward,
    Terms,
    capped,
    is_within,
    reward_called,
    reward_range,
)
from mlops.rewards.choosing import fitting_reward
from mlops.spec.deployment import DeploymentSpec, from_dict


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


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything known about one experiment with k arms; n units have a reward.

    Attributes:
        spec: Spec of its newest revision.
        base: Position of the arm that the others are compared with.
        revisions: Numbers of its revisions, oldest first.
        weights: Promised shares of each revision, (s, k).
        traffic: Decisions per revision and arm.
        arms: Arm of each unit, (n,).
        rewards: Mean reward of each unit, (n,), inside `bounds`.
        bounds: Range of the reward, declared or its own; None if it has none.
        propensities: Probability with which its arm was drawn, (n,).
        strata: Position in `revisions` of each unit's first decision, (n,).
        times_ms: When each unit's first outcome arrived, (n,), milliseconds since 1970 in UTC.
        terms: What the reward needs to know of each arm.
        truths: Truths that met their predictions.
        outcomes: Outcomes with a reward, of each arm; units have one or more.
        underived: Outcomes whose reward could not be derived, the most frequent reason first.
        capped: Outcomes whose reward was outside the range, and counts as its nearest end.
        late: Outcomes that arrived when their revision was no longer live.
        notes: What was written into the journal for readers of the report.
        lost: Decisions shed under load, in all experiments of the deployment.
    """

    spec: DeploymentSpec
    base: int
    revisions: tuple[int, ...]
    weights: NDArray[np.float64]
    traffic: tuple[Traffic, ...]
    arms: NDArray[np.int64]
    rewards: NDArray[np.float64]
    bounds: Range | None
    propensities: NDArray[np.float64]
    strata: NDArray[np.int64]
    times_ms: NDArray[np.int64]
    terms: tuple[Terms, ...]
    truths: tuple[Truth, ...]
    outcomes: tuple[int, ...]
    underived: tuple[Underived, ...]
    capped: int
    late: int
    notes: tuple[str, ...]
    lost: int


def gather(journal: Journal, *, baseline: str = "") -> Evidence:
    """Fold the journal into the evidence of its newest experiment.

    Where a single arm is live, that is the newest experiment before it that compared any: whoever
    has promoted a winner still wants to read why.

    Args:
        journal: Where the evidence is; only read.
        baseline: Arm the others are compared with; empty for the first.

    Raises:
        NotFoundError: Nothing was ever deployed with this journal.
        InvalidInputError: There is no arm called `baseline`.
    """
    events = journal.revision_events()
    specs = {e.revision: from_dict(e.spec) for e in events if e.spec and _is_spec(e)}
    if not specs:
        raise NotFoundError("The journal is empty.", hint="`mlops deploy --ab modelA modelB`")
    # Not the highest number: a server killed in the middle of a swap has written down a revision
    # that never answered, and comes back with the one before.
    live = [event.revision for event in events if _is_spec(event)]
    compared = [number for number in live if len(specs[number].arms) > 1]
    newest = live[-1] if len(specs[live[-1]].arms) > 1 or not compared else compared[-1]
    over = () if newest == live[-1] else (_over(live[-1], specs[live[-1]]),)
    experiment = specs[newest].experiment
    revisions = tuple(sorted(n for n, spec in specs.items() if spec.experiment == experiment))
    ended = _ends(events)
    terms = _terms(events, specs[newest])
    bounds = bounds_of(specs[newest], terms)
    units = _fold(
        (o for o in journal.observations(revisions) if o.propensity > 0),
        reward_called(specs[newest].reward),
        terms,
        bounds,
        lambda o: o.time_ms > ended.get(o.revision, o.time_ms),
    )
    order = list(units.values.values())
    position = {number: index for index, number in enumerate(revisions)}
    return Evidence(
        spec=specs[newest],
        base=specs[newest].index_of(baseline) if baseline else 0,
        revisions=revisions,
        weights=np.array([[arm.weight for arm in specs[n].arms] for n in revisions]),
        traffic=tuple(t for t in journal.traffic() if t.revision in position),
        arms=np.array([u.arm for u in order], dtype=np.int64),
        rewards=np.array([u.total / u.count for u in order], dtype=np.float64),
        bounds=bounds,
        propensities=np.array([u.propensity for u in order], dtype=np.float64),
        strata=np.array([position[u.revision] for u in order], dtype=np.int64),
        times_ms=np.array([u.time_ms for u in order], dtype=np.int64),
        terms=terms,
        truths=tuple(units.truths),
        outcomes=tuple(units.outcomes[arm] for arm in range(len(specs[newest].arms))),
        underived=units.underived(),
        capped=units.capped,
        late=units.late,
        notes=over + _notes(events, revisions),
        lost=journal.losses().get("decision", 0),
    )


@dataclass(slots=True)
class _Unit:
    arm: int
    revision: int
    propensity: float
    time_ms: int
    total: float = 0.0
    count: int = 0


@dataclass(slots=True)
class _Units:
    values: dict[tuple[bytes, int], _Unit] = field(default_factory=dict)
    truths: list[Truth] = field(default_factory=list)
    outcomes: Counter[int] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    instead: dict[str, str] = field(default_factory=dict)
    capped: int = 0
    late: int = 0

    def underived(self) -> tuple[Underived, ...]:
        return tuple(
            Underived(reason, count, self.instead[reason])
            for reason, count in self.reasons.most_common()
        )


def _fold(
    observations: Iterable[Observation],
    reward: Reward,
    terms: Sequence[Terms],
    bounds: Range | None,
    is_late: Callable[[Observation], bool],
) -> _Units:
    units = _Units()
    for seen in observations:
        units.late += is_late(seen)
        if seen.truth is not None and seen.prediction is not None:
            units.truths.append(Truth(seen.time_ms, seen.arm, seen.prediction, seen.truth))
        try:
            value = _value(seen, reward, terms[seen.arm])
        except ValueError as error:
            _note_reason(units, seen, str(error), terms[seen.arm])
            continue
        # A unit that a change of weights moved to another arm is another unit there.
        key = (seen.unit or seen.nonce, seen.arm)
        unit = units.values.get(key)
        if unit is None:
            unit = _Unit(seen.arm, seen.revision, seen.propensity, seen.time_ms)
            units.values[key] = unit
        unit.total += capped(value, bounds)
        units.capped += not is_within(value, bounds)
        units.outcomes[seen.arm] += 1
        unit.count += 1
    return units


def _value(seen: Observation, reward: Reward, terms: Terms) -> float:
    """Return the reward of an outcome.

    Raises:
        ValueError: It has none; the message says why.
    """
    if seen.reward is not None:
        return seen.reward
    if seen.prediction is None:
        raise ValueError("their prediction is not in the journal")
    return reward(seen.prediction, seen.truth, terms)


def _note_reason(units: _Units, seen: Observation, reason: str, terms: Terms) -> None:
    if reason not in units.reasons:
        units.instead[reason] = fitting_reward(seen.prediction, seen.truth, terms)
    units.reasons[reason] += 1


def _terms(events: Sequence[RevisionEvent], spec: DeploymentSpec) -> tuple[Terms, ...]:
    """What the reward needs to know of each arm: its classes, as its server has found them."""
    known: dict[str, Sequence[Value]] = {}
    for event in events:
        if event.spec is not None and _is_spec(event):
            its = from_dict(event.spec)
            if its.experiment == spec.experiment:
                known.update(event.spec.get("classes") or {})
    return tuple(Terms.of(known.get(arm.name, ()), spec.costs) for arm in spec.arms)


def bounds_of(spec: DeploymentSpec, terms: Sequence[Terms]) -> Range | None:
    """Return the range of the reward, declared or its own; the widest of those of the arms."""
    ranges = [reward_range(spec.reward, spec.reward_range, each) for each in terms]
    known = [each for each in ranges if each is not None]
    if len(known) < len(ranges):
        return None
    return min(low for low, _ in known), max(high for _, high in known)


def _is_spec(event: RevisionEvent) -> bool:
    return event.event in ("live", "started") and event.spec is not None


def _ends(events: Sequence[RevisionEvent]) -> dict[int, int]:
    """When each revision was replaced by another, milliseconds since 1970 in UTC."""
    ends = {}
    live = [event for event in events if _is_spec(event)]
    for before, after in itertools.pairwise(live):
        if after.revision != before.revision:
            ends[before.revision] = after.time_ms
    return ends


def _over(number: int, spec: DeploymentSpec) -> str:
    arm = spec.arms[0]
    return (
        f"This experiment is over: revision {number}, live now, serves `{arm.name}` "
        f"({arm.model.label}) alone."
    )


def _notes(events: Sequence[RevisionEvent], revisions: Sequence[int]) -> tuple[str, ...]:
    texts = [
        str(event.spec["text"])
        for event in events
        if event.event == "note" and event.spec is not None and event.revision in revisions
    ]
    return tuple(dict.fromkeys(texts))
