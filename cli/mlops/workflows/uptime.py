"""When each revision answered: the journal has when its server started and stopped."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from mlops.deployment.journals import open_journal
from mlops.deployment.runtime_files import is_alive, places, read_server_state
from mlops.errors import MlopsError
from mlops.journal.records import RevisionEvent
from mlops.settings import Settings

End = Literal["", "replaced", "stopped", "crashed"]


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time during which a revision answered.

    Attributes:
        start_ms: When it began, milliseconds since 1970 in UTC.
        end_ms: When it ended; None if it continues, and after a crash, whose time was not recorded.
        ended: By what; empty if it continues.
    """

    start_ms: int
    end_ms: int | None = None
    ended: End = ""


def uptime(settings: Settings, name: str) -> dict[int, list[Span]]:
    """Return when each revision of a deployment answered on this machine, oldest first.

    Empty where it never ran here, or its journal cannot be read.
    """
    where = places(settings, name)
    state = read_server_state(where)
    if state is None:
        return {}
    try:
        journal = open_journal(settings, name, state)
        try:
            events = journal.revision_events()
        finally:
            journal.close()
    except MlopsError:
        return {}
    return spans(events, alive=is_alive(where))


def spans(events: Iterable[RevisionEvent], *, alive: bool) -> dict[int, list[Span]]:
    """Turn the administrative rows of a journal into stretches of time.

    Args:
        events: Oldest first.
        alive: Whether the server runs now.
    """
    found: dict[int, list[Span]] = {}
    current = 0

    def close(end_ms: int | None, ended: End) -> None:
        if current and not found[current][-1].ended:
            found[current][-1] = replace(found[current][-1], end_ms=end_ms, ended=ended)

    for event in events:
        if event.event == "live":
            close(event.time_ms, "replaced")
        elif event.event == "started":
            # No stop was recorded before.
            close(None, "crashed")
        elif event.event == "stopped":
            close(event.time_ms, "stopped")
        if event.event in ("live", "started"):
            found.setdefault(event.revision, []).append(Span(event.time_ms))
            current = event.revision
    if not alive:
        close(None, "crashed")
    return found
