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

End = Literal["", "replaced", "stopped", "crashed", "unknown"]


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time during which a revision answered.

    Attributes:
        start_ms: When it began, milliseconds since 1970 in UTC.
        end_ms: When it ended; None if it continues, after a crash, whose time was not recorded, and
            where the end is not known.
        ended: By what; empty if it continues, and `unknown` where nothing tells: whether a server
            runs is known only at its own place.
        elsewhere: Host and folder of its server, if that is not the one of this project.
    """

    start_ms: int
    end_ms: int | None = None
    ended: End = ""
    elsewhere: str = ""


def uptime(settings: Settings, name: str) -> dict[int, list[Span]]:
    """Return when each revision of a deployment answered, oldest first.

    Empty where it never ran on this machine, or its journal cannot be read.
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
    return spans(events, place=state.launch.place, alive=is_alive(where))


def spans(events: Iterable[RevisionEvent], *, place: str, alive: bool) -> dict[int, list[Span]]:
    """Turn the administrative rows of a journal into stretches of time.

    Servers that share a journal answer at the same time. One follows another, which crashed if it
    recorded no end, only at the same place.

    Args:
        events: Oldest first.
        place: Where the server of this project is; empty if an older version started it.
        alive: Whether that runs now.
    """
    found: dict[int, list[Span]] = {}
    # Where the open stretch of each server is.
    current: dict[str, tuple[int, int]] = {}

    def close(server: str, end_ms: int | None, ended: End) -> None:
        if server in current:
            revision, index = current.pop(server)
            found[revision][index] = replace(found[revision][index], end_ms=end_ms, ended=ended)

    for event in events:
        server = event.server
        if event.event == "live":
            close(server, event.time_ms, "replaced")
        elif event.event == "started":
            # No stop was recorded before.
            close(server, None, "crashed")
            if server:
                # Older versions did not record which server it was.
                close("", None, "unknown")
        elif event.event == "stopped":
            close(server, event.time_ms, "stopped")
        if event.event in ("live", "started"):
            its = found.setdefault(event.revision, [])
            current[server] = event.revision, len(its)
            its.append(Span(event.time_ms, elsewhere="" if server in ("", place) else server))
    for server in list(current):
        if server != place:
            close(server, None, "unknown")
        elif not alive:
            close(server, None, "crashed")
    return found
