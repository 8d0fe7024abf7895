"""The parts of the page that come from the journal, each made for itself.

Each is imported when it is asked for: parts that need no statistics do not wait for them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from mlops.errors import MlopsError, NotFoundError
from mlops.journal.outage import OutageLog, for_callers
from mlops.live_page.looking import Look
from mlops.live_page.source import Source
from mlops.live_page.templates import render
from mlops.plugins import Plugins

_LOG = logging.getLogger(__name__)
#: Each writes its part of the page.
PARTS: Plugins[Callable[[Look], str]] = Plugins(
    "part",
    {
        "consumers": "mlops.live_page.log_readers:consumers",
        "revisions": "mlops.live_page.revisions:revisions",
        "shares": "mlops.live_page.shares:shares",
        "verdict": "mlops.live_page.verdict:verdict",
        "quality": "mlops.live_page.quality:quality",
        "drift": "mlops.live_page.drift:drift",
        "outliers": "mlops.live_page.outliers:outliers",
    },
)
_NO_JOURNAL = "No journal is kept, so nothing is known here beyond the counters above."


_NOT_MADE = "This could not be made; the server's log says why."
# One look at a time is kept, for the parts that are made of it.
_outage = OutageLog()
_looks: dict[tuple[Source, int], Look] = {}


def part(source: Source, name: str, look: int) -> dict[str, Any]:
    """Return `html` of one part.

    One that cannot be made says so in its place, and the others are shown.

    Args:
        source: What is asked about.
        name: A name of `PARTS`.
        look: Number of the look that it is part of; parts of one look agree.
    """
    if source.journal is None:
        return {"html": render("empty", text=_NO_JOURNAL)}
    key = source, look
    if key not in _looks:
        _looks.clear()
        _looks[key] = Look(source, source.journal)
    try:
        return {"html": PARTS.load(name)(_looks[key])}
    except NotFoundError as error:
        return {"html": render("empty", text=f"{error.message} {error.hint or ''}")}
    except MlopsError as error:
        _outage.met(error)
        return {"html": render("part_fault", text=for_callers(error))}
    except Exception:  # noqa: BLE001 - the other parts are shown
        _LOG.exception("`%s` of the live page failed", name)
        return {"html": render("part_fault", text=_NOT_MADE)}
