"""Log lines about requests that models refuse: enough to find the reason, however many."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from mlops.protocols.base import ProtocolError
from mlops.protocols.http_status import http_status

_LOG = logging.getLogger(__name__)
# Of each arm at most one line in so many seconds.
_EVERY_S = 10.0


@dataclass(slots=True)
class _Seen:
    since: int = 0
    next_s: float = float("-inf")


class RefusalLog:
    """Logs what models refuse, a line per arm every few seconds. Lives on the event loop.

    Args:
        clock: Seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._arms: dict[str, _Seen] = {}

    def note(self, arm: str, error: ProtocolError) -> None:
        """Log a refusal, or count it for the next line."""
        seen = self._arms.setdefault(arm, _Seen())
        seen.since += 1
        now = self._clock()
        if now < seen.next_s:
            return
        cause = error.__cause__
        kind = f"{type(cause).__name__}: " if cause is not None else ""
        more = f" ({seen.since:,} refused since the last line)" if seen.since > 1 else ""
        _LOG.warning(
            "arm %s refused a request (%d): %s%s%s",
            *(arm, http_status(error.kind), kind, error.message, more),
        )
        seen.since, seen.next_s = 0, now + _EVERY_S
