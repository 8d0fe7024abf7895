"""The parts of the page that come from the journal, each made for itself."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from mlops.errors import MlopsError, NotFoundError
from mlops.journal.sql import SqlJournal
from mlops.live_page.desk import Desk
from mlops.live_page.log_readers import consumers
from mlops.live_page.revisions import revisions
from mlops.live_page.shares import shares
from mlops.live_page.templates import render
from mlops.live_page.verdict import verdict

_LOG = logging.getLogger(__name__)
_PARTS: dict[str, Callable[[Desk, SqlJournal], str]] = {
    "verdict": verdict,
    "shares": shares,
    "consumers": consumers,
    "revisions": revisions,
}
_NO_JOURNAL = "No journal is kept, so nothing is known here beyond the counters above."


def parts(desk: Desk) -> dict[str, Any]:
    """Return `parts`: HTML by name.

    One that cannot be made says so in its place, and the others are shown.
    """
    return {"parts": {name: _part(desk, make) for name, make in _PARTS.items()}}


def _part(desk: Desk, make: Callable[[Desk, SqlJournal], str]) -> str:
    if desk.journal is None:
        return render("empty", text=_NO_JOURNAL)
    try:
        return make(desk, desk.journal)
    except NotFoundError as error:
        return render("empty", text=f"{error.message} {error.hint or ''}")
    except MlopsError as error:
        return render("part_fault", text=f"{error.message} {error.hint or ''}")
    except Exception:  # noqa: BLE001 - the other parts are shown
        _LOG.exception("a part of the live page failed")
        return render("part_fault", text="This could not be made; the server's log says why.")
