"""The history of revisions, as the journal has it."""

from __future__ import annotations

from dataclasses import dataclass

from mlops.journal.records import RevisionEvent
from mlops.journal.terms import is_spec
from mlops.live_page.looking import Look
from mlops.live_page.templates import render
from mlops.spec.deployment import from_dict
from mlops.spec.describing import describe_choice

_MOST = 20
_WORDS = {
    "live": "went live",
    "started": "server started",
    "stopped": "server stopped",
    "note": "note",
    "unwritable": "journal could not be written",
    "writable": "journal could be written again",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the history.

    Attributes:
        revision: Its number.
        time_ms: When, milliseconds since 1970 in UTC.
        what: What happened.
        arms: Name, version and share of each arm, where a revision begins.
        shadows: Names of its shadows.
        text: A note.
        choice: How an arm is chosen, where that is not by fixed shares.
    """

    revision: int
    time_ms: int
    what: str
    arms: tuple[tuple[str, str, float], ...] = ()
    shadows: tuple[str, ...] = ()
    text: str = ""
    choice: str = ""


def revisions(look: Look) -> str:
    """Write the part."""
    events = look.events
    entries = [_entry(each) for each in events[: -_MOST - 1 : -1]]
    more = len(events) - len(entries)
    return render("revisions", live=look.live.revision, entries=entries, more=more)


def _entry(event: RevisionEvent) -> Entry:
    what = _WORDS.get(event.event, event.event)
    if event.spec is None or not is_spec(event):
        text = str((event.spec or {}).get("text", ""))
        return Entry(event.revision, event.time_ms, what, text=text)
    spec = from_dict(event.spec)
    arms = tuple((arm.name, arm.model.label, arm.weight) for arm in spec.arms)
    shadows = tuple(each.name for each in spec.shadows)
    return Entry(event.revision, event.time_ms, what, arms, shadows, choice=describe_choice(spec))
