"""Folds rewards into the state of the live revision's policy, and publishes it as policy epochs.

The state is a fold of the journal in its order: an epoch holds, beside the probabilities, what the
policy remembers and the offset up to which rewards are in it. The next process, after a crash or
on another machine, resumes at the newest epoch; an epoch is stored once, however often it comes. So
of two processes that learn at once, as after a lease that one did not see end, one publishes, and
the other goes on from what that one has published.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from mlops.consumers.base import Batch, Consumed, Context
from mlops.consumers.credits import CreditReader, Learner
from mlops.errors import ConflictError, InvalidInputError, MlopsError
from mlops.journal.base import Journal
from mlops.journal.consumer_records import Offset
from mlops.journal.records import PolicyEpoch, RevisionEvent
from mlops.journal.terms import is_spec, live_event, terms_of
from mlops.policies.base import Contextual, Paced, Policy, State
from mlops.policies.drawing import VECTORS, is_distribution
from mlops.policies.making import make_policy, read_policy, write_policy
from mlops.spec.deployment import DeploymentSpec, from_dict

_LOG = logging.getLogger(__name__)
#: Parameters of an epoch that are not the policy's.
_OFFSET, _VOIDED = "offset", "voided"
_LOOK_EVERY_MS = 1_000
# Smaller moves are published together: each epoch is a row for every reader of the journal.
_LEAST_MOVE, _PUBLISH_EVERY_MS = 0.005, 600_000


class PolicyState:
    """Learns for the live revision, if its policy does.

    Args:
        context: Its journal is read and written.
        clock: Milliseconds since 1970 in UTC.
    """

    # It has offsets of its own, in the epochs, and reads only what a policy learns from.
    start: ClassVar[Literal["beginning", "end"]] = "end"
    looks_only: ClassVar[bool] = True

    def __init__(
        self, context: Context, clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    ) -> None:
        self._journal = context.journal
        self._clock = clock
        self._fold: _Fold | None = None
        # Numbers of administrative rows and of voided outcomes that the fold includes; None where
        # it has to be made again.
        self._known: tuple[int, int] | None = None
        self._look_at = 0
        # It begins with what the journal held, and its offset with what comes from now on.
        self.taken_outcomes: int | None = None

    def consume(self, batch: Batch) -> Consumed:
        """See `Consumer.consume`."""
        now_ms = self._clock()
        if now_ms >= self._look_at or self._known is None:
            self._look_at = now_ms + _LOOK_EVERY_MS
            self._follow()
        if self._fold is None:
            return Consumed(0)
        # Where the journal fails, what was read until then is read again, by another fold.
        known, self._known = self._known, None
        try:
            earned = self._fold.step(now_ms)
        except ConflictError as error:
            # Of a process that had the lease before; its epochs are in force, and go on from there.
            _LOG.warning("%s", error.message)
            self._fold = None
            return Consumed(0)
        self._known = known
        self.taken_outcomes = self._fold.reader.offset.outcomes
        return Consumed(earned)

    def _follow(self) -> None:
        """Learn for what is live now; nothing to do while the journal stays as it is."""
        events, voided = self._journal.revision_events(), self._journal.count_voids()
        fold = self._fold
        # Of a process that had the lease in between: this one goes on from there.
        ahead = fold and self._journal.newer_epoch(fold.revision, fold.epoch)
        if self._known == (len(events), voided) and not ahead:
            return
        live = live_event(events)
        same = live and fold and fold.revision == live.revision and not ahead
        if not (same and self._known and self._known[1] == voided):
            self._fold = _begin(self._journal, events, voided, live) if live else None
            self.taken_outcomes = self._fold.reader.offset.outcomes if self._fold else None
        self._known = len(events), voided

    def close(self) -> None:
        """See `Consumer.close`."""


@dataclass(slots=True)
class _Fold:
    """The state of one revision's policy.

    Attributes:
        voided: How many outcomes were void when what it knows was folded.
        revision: The revision.
        journal: Where epochs are published.
        policy: Its policy.
        state: What is known now.
        reader: Reads what has been earned since.
        published: State of the newest epoch.
        vectors: What requests are drawn by in it, where the policy looks at them, and the number
            of the epoch that has the first of these.
        published_ms: When that was published.
        epoch: Its number.
        due: Whether the state is published without waiting for a batch: it is that of the revision
            before, or without what was voided.
    """

    voided: int
    revision: int
    journal: Journal
    policy: Policy
    state: State
    reader: CreditReader
    published: State
    vectors: tuple[Sequence[tuple[float, ...]], int]
    published_ms: int
    epoch: int
    due: bool

    def step(self, now_ms: int) -> int:
        """Take in what has come, publish it if it changes enough, and return how much came."""
        earned = [] if _is_frozen(self.policy) else self.reader.read(now_ms)
        if earned:
            self.state = self.policy.update(self.state, earned)
        self.publish(now_ms)
        return len(earned)

    def publish(self, now_ms: int) -> None:
        """Publish the state, if it moves traffic enough or was not for long."""
        late = now_ms - self.published_ms >= _PUBLISH_EVERY_MS
        if self._waits() or not self._moves(late=late):
            return
        shares = tuple(self.policy.probabilities({}, self.state))
        if not is_distribution(shares):
            raise InvalidInputError(f"The policy gives {list(shares)}, which are no probabilities.")
        vectors = self._published_vectors(now_ms)
        offset = self.reader.offset
        parameters = {
            **self.state.parameters,
            _OFFSET: [offset.decisions, offset.outcomes],
            _VOIDED: self.voided,
            VECTORS: self.vectors[1],
        }
        if not self.vectors[0]:
            del parameters[VECTORS]
        number = self.epoch + len(vectors) + 1
        # In one commit: a reader of the state also sees the vectors that it draws by.
        newest = PolicyEpoch(self.revision, number, now_ms, shares, parameters)
        self.journal.record([*vectors, newest])
        self.epoch, self.published_ms, self.due = number, now_ms, False
        self.published = replace(self.state, probabilities=shares)

    def _waits(self) -> bool:
        """Whether a batch is not full."""
        if self.due or not isinstance(self.policy, Paced):
            return False
        return self.policy.waits(self.published, self.state)

    def _moves(self, *, late: bool) -> bool:
        if isinstance(self.policy, Contextual):
            return self.policy.moved(self.published, self.state)
        shares, before = self.policy.probabilities({}, self.state), self.published.probabilities
        move = max(abs(new - old) for new, old in zip(shares, before, strict=True))
        # Also where it is no number.
        return not move < _LEAST_MOVE or (late and move > 0)

    def _published_vectors(self, now_ms: int) -> list[PolicyEpoch]:
        """Return the vectors that the state draws by, if they are other ones than until now."""
        if not isinstance(self.policy, Contextual):
            return []
        vectors = self.policy.vectors(self.state)
        if vectors == self.vectors[0]:
            return []
        first = self.epoch + 1
        self.vectors = vectors, first
        return [
            PolicyEpoch(self.revision, first + at, now_ms, vector, {"of": first})
            for at, vector in enumerate(vectors)
        ]


def _begin(
    journal: Journal, events: Sequence[RevisionEvent], voided: int, live: RevisionEvent
) -> _Fold | None:
    """Return the fold of the live revision; None if its policy does not learn."""
    assert live.spec is not None
    revision, spec = live.revision, from_dict(live.spec)
    policy = make_policy(spec.policy, [arm.weight for arm in spec.arms])
    if not policy.learns or len(spec.arms) < 2:
        return None
    specs = {e.revision: from_dict(e.spec) for e in events if e.spec and is_spec(e)}
    arms = {
        (number, position): now
        for number, its in specs.items()
        if _same_reward(its, spec) and _reset(its) == _reset(spec)
        for position, now in enumerate(_positions(its, spec))
        if now is not None
    }
    features = policy.features if isinstance(policy, Contextual) else ()
    learner = Learner(spec, arms, terms_of(events, spec), features)
    epochs = journal.epochs([revision])
    newest = max(epochs, key=lambda each: each.epoch, default=None)
    told: int | None = None
    if newest is None or not newest.epoch:
        state, offset, told = _inherited(journal, specs, voided, revision, spec, policy)
        due = told is not None
    elif _is_whole(newest, voided) or _is_frozen(policy):
        state, offset = _state(newest)
        told, due = _voided(newest), False
    else:
        state, offset = State(newest.epoch, tuple(arm.weight for arm in spec.arms)), Offset()
        due = True
    published = State(0, tuple(arm.weight for arm in spec.arms))
    vectors: tuple[Sequence[tuple[float, ...]], int] = ([], 0)
    # An earlier version could publish what are no numbers.
    if newest is not None and is_distribution(newest.probabilities):
        whole = _is_whole(newest, voided) or not features
        published = _state(newest)[0] if whole else State(0, newest.probabilities)
        first = int((newest.parameters or {}).get(VECTORS, 0))
        if first and isinstance(policy, Contextual):
            vectors = policy.vectors(_state(newest)[0]), first
    return _Fold(
        # Of a frozen policy what was voided since is taken out once it learns again.
        voided=voided if told is None else told,
        revision=revision,
        journal=journal,
        policy=policy,
        state=state,
        reader=CreditReader(journal, learner, offset),
        published=published,
        vectors=vectors,
        published_ms=0,
        epoch=newest.epoch if newest else 0,
        due=due,
    )


def _inherited(
    journal: Journal,
    specs: Mapping[int, DeploymentSpec],
    voided: int,
    revision: int,
    spec: DeploymentSpec,
    policy: Policy,
) -> tuple[State, Offset, int | None]:
    """Return what the newest revision with the same memory knew of the arms that are still there.

    It had all of them that any revision before had: of one that was away in between the journal
    knows more. And how many outcomes were void when it did; None where all that is in the journal
    is to be folded again. A frozen policy keeps what there was, and -1 has it folded again later.
    """
    fresh = State(0, tuple(arm.weight for arm in spec.arms)), Offset(), None
    earlier = [
        n
        for n, its in specs.items()
        if n < revision and _same_reward(its, spec) and _reset(its) == _reset(spec)
    ]
    carry = getattr(policy, "carry", None)
    if carry is None:
        return fresh
    of_it = {number: _positions(spec, specs[number]) for number in earlier}
    known = [any(each is not None for each in its) for its in zip(*of_it.values(), strict=True)]
    for number in sorted(earlier, reverse=True):
        before = specs[number]
        newest = max(journal.epochs([number]), key=lambda each: each.epoch)
        same = _memory(before) == _memory(spec)
        usable = (same and _is_whole(newest, voided)) or _is_frozen(policy)
        has_all = [each is not None for each in of_it[number]] == known
        if not (newest.epoch and usable and has_all):
            continue
        state, offset = _state(newest)
        try:
            carried: State = carry(state, of_it[number])
        except (MlopsError, KeyError, TypeError, ValueError):
            continue
        told = _voided(newest) if same else -1
        return State(0, carried.probabilities, carried.parameters), offset, told
    return fresh


def _is_frozen(policy: Policy) -> bool:
    return isinstance(policy, Paced) and policy.frozen


def _is_whole(epoch: PolicyEpoch, voided: int) -> bool:
    """Whether nothing was voided since, which cannot be taken out of a sum: all is folded again."""
    return _voided(epoch) == voided


def _voided(epoch: PolicyEpoch) -> int:
    told: int = (epoch.parameters or {}).get(_VOIDED, 0)
    return told


def _state(epoch: PolicyEpoch) -> tuple[State, Offset]:
    parameters: dict[str, Any] = dict(epoch.parameters or {})
    parameters.pop(_VOIDED, None)
    parameters.pop(VECTORS, None)
    offset = Offset(*parameters.pop(_OFFSET, (0, 0)))
    return State(epoch.epoch, epoch.probabilities, parameters), offset


def _same_reward(one: DeploymentSpec, other: DeploymentSpec) -> bool:
    return (one.reward, one.costs, one.decides_by, one.attribution) == (
        other.reward, other.costs, other.decides_by, other.attribution,
    )  # fmt: skip


def _memory(spec: DeploymentSpec) -> str:
    """Return what a revision's policy remembers, and how; its text if it does not say."""
    with contextlib.suppress(MlopsError):
        policy = make_policy(spec.policy, [arm.weight for arm in spec.arms])
        if memory := getattr(policy, "memory", ""):
            return str(memory)
    name, options = read_policy(spec.policy)
    return write_policy(name, {o: v for o, v in options.items() if o not in ("freeze", "batch")})


def _reset(spec: DeploymentSpec) -> Any:  # noqa: ANN401 - an option's value
    return read_policy(spec.policy)[1].get("reset", 0)


def _positions(of: DeploymentSpec, among: DeploymentSpec) -> list[int | None]:
    """Return the position of each arm of one spec in another, None where it is not there."""
    known = {(arm.name, *arm.model.identity): at for at, arm in enumerate(among.arms)}
    return [known.get((arm.name, *arm.model.identity)) for arm in of.arms]
