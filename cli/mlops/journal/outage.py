"""A journal that is away: what callers may know of it, and how often the log says so.

The message of a database or a store names its address, which is for the log and for commands on
this machine, not for everybody who may send a request.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from mlops.errors import PUBLIC, MlopsError, RemoteError
from mlops.journal.base import JournalFullError

_LOG = logging.getLogger(__name__)
#: What callers are told.
AWAY = "The journal cannot be used now; try again later."
FULL = "The journal's disk is full; try again later."
# Between two lines about what single requests met.
_QUIET_S = 60.0


def for_callers(error: MlopsError) -> str:
    """Return what a caller may know of an error: no address of a database or a store.

    >>> for_callers(RemoteError("The journal at `postgresql://10.0.0.7/db` cannot be opened."))
    'The journal cannot be used now; try again later.'
    """
    if isinstance(error, RemoteError) and error.reason != PUBLIC:
        return FULL if isinstance(error, JournalFullError) else AWAY
    return f"{error.message} {error.hint or ''}".strip()


class OutageLog:
    """Logs once that the journal is away, and once that it is back, whoever of a process meets it.

    Its methods may be called from any thread.

    Args:
        clock: Seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._without: set[str] = set()
        self._quiet_until = float("-inf")

    def away(self, who: str, error: MlopsError) -> None:
        """Note that a part of this process, which tries again, cannot use the journal.

        Args:
            who: Its name; it calls `back` later.
            error: Why.
        """
        with self._lock:
            is_first = not self._without
            self._without.add(who)
        if is_first:
            _LOG.warning("journal: %s", error.message)

    def back(self, who: str) -> None:
        """Note that it can use the journal again, or has ended."""
        if who not in self._without:
            return
        with self._lock:
            self._without.discard(who)
            is_last = not self._without
        if is_last:
            _LOG.info("journal: it can be used again")

    def met(self, error: MlopsError) -> None:
        """Note what a single request met, which does not try again by itself."""
        with self._lock:
            now = self._clock()
            is_new = not self._without and now >= self._quiet_until
            self._quiet_until = now + _QUIET_S if is_new else self._quiet_until
        if is_new:
            _LOG.warning("journal: %s", error.message)
