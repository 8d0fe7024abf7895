"""Which revisions are one experiment, and where its evidence begins.

Revisions with the same arms, reward and attribution are one experiment. Evidence starts over after
the experiment was ended, by giving all traffic to one of its arms for longer than a day, and after
a long time without requests: what was true half a year ago, or before everybody got one model, need
not be true now. A promotion that is reverted within a day does not end it.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlops.errors import NotFoundError
from mlops.journal.records import RevisionEvent
from mlops.journal.terms import is_spec
from mlops.spec.deployment import Arm, DeploymentSpec, from_dict

#: Longest time without requests that evidence spans, days.
MAX_GAP_DAYS = 30.0
#: Longest time with all traffic on one of the arms that does not end the experiment, days.
MAX_END_DAYS = 1.0
_DAY_MS = 86_400_000
_AT_ONCE = 1 << 20


@dataclass(frozen=True, slots=True)
class Finished:
    """What is live after an experiment: one arm alone.

    Attributes:
        revision: The live revision.
        arm: Its arm.
        model: The model of that, human-readable.
        since_ms: When it first went live, milliseconds since 1970 in UTC.
        ended_with: Arm of the experiment that got all traffic at its end, whatever was deployed
            later; empty where another model got it.
    """

    revision: int
    arm: str
    model: str
    since_ms: int
    ended_with: str = ""


@dataclass(frozen=True, slots=True)
class Experiment:
    """The newest experiment of a journal.

    Attributes:
        spec: Spec of its newest revision.
        revisions: Numbers of its revisions since it was last ended, oldest first.
        earlier: Numbers of its revisions before that.
        specs: Every spec in the journal by revision.
        ended_ms: When each revision was replaced by another, milliseconds since 1970 in UTC.
        notes: What readers must know: that it is over, and what was written into the journal.
        finished: What is live instead; None while the experiment continues.
    """

    spec: DeploymentSpec
    revisions: tuple[int, ...]
    earlier: tuple[int, ...]
    specs: Mapping[int, DeploymentSpec]
    ended_ms: Mapping[int, int]
    notes: tuple[str, ...]
    finished: Finished | None = None

    @property
    def current(self) -> list[DeploymentSpec]:
        """Specs of its revisions since it was last ended."""
        return [self.specs[number] for number in self.revisions]


def newest_experiment(events: Sequence[RevisionEvent], *, whole: bool = False) -> Experiment:
    """Find the newest experiment.

    Where a single arm is live, that is the newest experiment before it that compared any: after
    a promotion the reasons can still be read.

    Args:
        events: Administrative rows of the journal, oldest first.
        whole: Take evidence from before the experiment was ended, too.

    Raises:
        NotFoundError: Nothing was ever deployed with this journal.
    """
    specs = {e.revision: from_dict(e.spec) for e in events if e.spec and is_spec(e)}
    if not specs:
        raise NotFoundError("The journal is empty.", hint="`mlops deploy --ab modelA modelB`")
    # Not the highest number: a server killed in the middle of a swap has recorded a revision
    # that never answered, and comes back with the one before.
    live = [event.revision for event in events if is_spec(event)]
    compared = [number for number in live if len(specs[number].arms) > 1]
    newest = live[-1] if len(specs[live[-1]].arms) > 1 or not compared else compared[-1]
    finished = None if newest == live[-1] else _finished(events, newest, specs)
    over = _over(finished) if finished else ()
    spec = specs[newest]
    same = tuple(sorted(n for n, its in specs.items() if its.experiment == spec.experiment))
    since = 0 if whole else _last_end(events, newest, specs)
    revisions = tuple(number for number in same if number >= since)
    earlier = tuple(number for number in same if number < since)
    return Experiment(
        spec, revisions, earlier, specs, _ends(events), over + _notes(events, revisions), finished
    )


def begin_ms(decided_ms: NDArray[np.int64], max_gap_days: float = MAX_GAP_DAYS) -> int:
    """Return the time of the first request after the last long gap; 0 without one.

    Args:
        decided_ms: Times of requests, (n,), ascending, milliseconds since 1970 in UTC.
        max_gap_days: Longest time without requests that is no gap.
    """
    # Only the last gap matters, which saves memory for all of them.
    for end in range(decided_ms.size, 0, -_AT_ONCE):
        start = max(end - _AT_ONCE - 1, 0)
        gaps = np.flatnonzero(np.diff(decided_ms[start:end]) > max_gap_days * _DAY_MS)
        if gaps.size:
            return int(decided_ms[start + gaps[-1] + 1])
    return 0


def _last_end(
    events: Sequence[RevisionEvent], newest: int, specs: Mapping[int, DeploymentSpec]
) -> int:
    """First revision after the experiment last ended with one of its arms."""
    arms = {(arm.name, *arm.model.identity) for arm in specs[newest].arms}
    live = [event for event in events if is_spec(event)]
    at = max(index for index, event in enumerate(live) if event.revision == newest)
    next_ms = live[at].time_ms
    for index in range(at - 1, -1, -1):
        own = {(arm.name, *arm.model.identity) for arm in specs[live[index].revision].arms}
        if len(own) > 1:
            next_ms = live[index].time_ms
        elif own < arms and next_ms - live[index].time_ms > MAX_END_DAYS * _DAY_MS:
            return min(event.revision for event in live[index + 1 : at + 1])
    return 0


def _ends(events: Sequence[RevisionEvent]) -> dict[int, int]:
    ends = {}
    live = [event for event in events if is_spec(event)]
    for before, after in itertools.pairwise(live):
        if after.revision != before.revision:
            ends[before.revision] = after.time_ms
    return ends


def _finished(
    events: Sequence[RevisionEvent], newest: int, specs: Mapping[int, DeploymentSpec]
) -> Finished:
    live = [event for event in events if is_spec(event)]
    number = live[-1].revision
    since_ms = min(event.time_ms for event in live if event.revision == number)
    # What came after it compares nothing, or it would be the newest experiment.
    at = max(index for index, event in enumerate(live) if event.revision == newest)
    ended_with = _same_arm(specs[newest], specs[live[at + 1].revision].arms[0])
    arm = specs[number].arms[0]
    return Finished(number, arm.name, arm.model.label, since_ms, ended_with)


def _same_arm(spec: DeploymentSpec, alone: Arm) -> str:
    """Name of the arm that has a model, above all one that is also called as it is there."""
    same = [arm.name for arm in spec.arms if arm.model.identity == alone.model.identity]
    return alone.name if alone.name in same else next(iter(same), "")


def _over(finished: Finished) -> tuple[str, ...]:
    text = (
        f"This experiment is over: revision {finished.revision}, live now, serves "
        f"`{finished.arm}` ({finished.model}) alone."
    )
    return (text,)


def _notes(events: Sequence[RevisionEvent], revisions: Sequence[int]) -> tuple[str, ...]:
    texts = [
        str(event.spec["text"])
        for event in events
        if event.event == "note" and event.spec is not None and event.revision in revisions
    ]
    return tuple(dict.fromkeys(texts))
