"""The parts of the page that come from the journal, each made for itself."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from mlops.errors import MlopsError, NotFoundError
from mlops.journal.outage import OutageLog, for_callers
from mlops.live_page.drift import drift
from mlops.live_page.log_readers import consumers
from mlops.live_page.looking import Look
from mlops.live_page.outliers import outliers
from mlops.live_page.quality import quality
from mlops.live_page.revisions import revisions
from mlops.live_page.shares import shares
from mlops.live_page.source import Source
from mlops.live_page.templates import render
from mlops.live_page.verdict import verdict

_LOG = logging.getLogger(__name__)
PARTS: dict[str, Callable[[Look], str]] = {
    "consumers": consumers,
    "revisions": revisions,
    "shares": shares,
    "verdict": verdict,
    "quality": quality,
    "drift": drift,
    "outliers": outliers,
}
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
        return {"html": PARTS[name](_looks[key])}
    except NotFoundError as error:
        return {"html": render("empty", text=f"{error.message} {error.hint or ''}")}
    except MlopsError as error:
        _outage.met(error)
        return {"html": render("part_fault", text=for_callers(error))}
    except Exception:  # noqa: BLE001 - the other parts are shown
        _LOG.exception("`%s` of the live page failed", name)
        return {"html": render("part_fault", text=_NOT_MADE)}
