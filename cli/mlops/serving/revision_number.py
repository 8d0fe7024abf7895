"""Which number a rendered revision has in the journal that it is served with.

The ledger numbers what `mlops` itself brings live. Who renders files and has another program apply
them has no ledger: each rendering is numbered as if it were the first. So servers agree on the
number through the journal, where decisions of two revisions must not be mixed.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from mlops.errors import RemoteError
from mlops.journal.base import Journal
from mlops.journal.null import open_journal
from mlops.journal.records import RevisionEvent
from mlops.journal.terms import is_spec
from mlops.journal.url import journal_url
from mlops.spec.deployment import DeploymentSpec, Revision, from_dict, to_dict
from mlops.spec.model import ModelVersion
from mlops.spec.server import Launch

_LOG = logging.getLogger(__name__)
# As the state of a consumer, which older versions keep as it is.
_CONSUMER = "revision numbers"
# Numbers beyond those of the events that may have been settled meanwhile.
_AHEAD = 64


def numbered(launch: Launch, now_ms: int, *, in_ledger: bool = True) -> Launch:
    """Return how to start with the number that the revision has in the journal.

    It keeps the number that was rendered where the journal cannot be read: predictions go on, and
    `Past` looks again once it is back.

    Args:
        launch: How to start, with the number that was rendered.
        now_ms: Now, milliseconds since 1970 in UTC.
        in_ledger: As of `agree`.
    """
    revision = launch.served.revision
    try:
        journal = open_journal(journal_url(launch.journal_url, launch.name))
        try:
            number = agree(journal, revision, now_ms, in_ledger=in_ledger)
        finally:
            journal.close()
    except RemoteError as error:
        _LOG.warning(
            "%s Whether revision %d is another there is not known.", error, revision.number
        )
        return launch
    if number != revision.number:
        _LOG.info(
            "the journal has another revision %d: this one is revision %d", revision.number, number
        )
    own = replace(revision, number=number)
    return replace(launch, served=replace(launch.served, revision=own))


def agree(journal: Journal, revision: Revision, now_ms: int, *, in_ledger: bool = True) -> int:
    """Return a number that no other revision of the journal has; record whose it is.

    It is the one that was rendered where the journal does not have that. Else, for content that the
    journal has, it is the number of that, as long as it is the newest or a server has it or is
    about to: replicas agree, also those of the earlier revision during a rolling update. What comes
    back after another revision, and new content, get the next number. Of servers that ask at once,
    those with equal content get the same answer.

    Args:
        journal: That the server writes.
        revision: With the number that was rendered.
        now_ms: Now, milliseconds since 1970 in UTC.
        in_ledger: Whether the number is from the ledger, which gives a number once.

    Raises:
        RemoteError: The journal cannot be read or written.
    """
    first, name, own = revision.number, revision.spec.name, content_of(revision.spec)
    events = journal.revision_events()
    known = {
        each.revision: content_of(from_dict(each.spec))
        for each in events
        if each.spec is not None and is_spec(each)
    }
    # A server that starts has settled its number, and is no event yet.
    parts = {_part(name, number): number for number in range(1, max(known, default=first) + _AHEAD)}
    settled = journal.remembered(_CONSUMER, parts)
    served = set(known)
    known |= {parts[part]: content_of(from_dict(document)) for part, document in settled.items()}
    # What was settled and is in no event yet is of a server that starts.
    running = _running(events) | (known.keys() - served)
    number = _choose(known, running, first, own, in_ledger=in_ledger)
    while True:
        document = journal.settle(_CONSUMER, _part(name, number), to_dict(revision.spec), now_ms)
        if content_of(from_dict(document)) == own:
            return number
        number = max(number, *known) + 1 if known else number + 1


def _choose(
    known: Mapping[int, DeploymentSpec],
    running: Collection[int],
    first: int,
    own: DeploymentSpec,
    *,
    in_ledger: bool,
) -> int:
    if first not in known or (in_ledger and known[first] == own):
        return first
    newest = max(known)
    same = max((number for number, content in known.items() if content == own), default=0)
    return same if same and (same == newest or same in running) else newest + 1


def _running(events: Sequence[RevisionEvent]) -> set[int]:
    """Return the revisions of servers that have not recorded that they stopped."""
    last = {each.server: each for each in events if is_spec(each) or each.event == "stopped"}
    return {each.revision for each in last.values() if each.event != "stopped"}


def content_of(spec: DeploymentSpec) -> DeploymentSpec:
    """Return a spec without what does not change how requests are answered or judged."""
    arms = tuple(replace(each, model=_bare(each.model)) for each in spec.arms)
    shadows = tuple(replace(each, model=_bare(each.model)) for each in spec.shadows)
    return replace(spec, arms=arms, shadows=shadows)


def _bare(model: ModelVersion) -> ModelVersion:
    return replace(model.unpinned, ref="", chosen_by="", run_id="")


def _part(name: str, number: int) -> str:
    return f"{name}/{number}"
