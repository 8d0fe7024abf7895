"""Log lines about refused callers: enough to identify them, however many they are."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable

from mlops.protocols.base import ProtocolError
from mlops.protocols.http_status import http_status

_LOG = logging.getLogger(__name__)
# At most one line in so many seconds.
_EVERY_S = 10.0


class Refusals:
    """Logs refusals, a line every few seconds. Lives on the event loop.

    Args:
        clock: Seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: Counter[int] = Counter()
        self._next_s = float("-inf")

    def note(self, key_id: str, error: ProtocolError) -> None:
        """Log a refusal, or count it for the next line.

        Args:
            key_id: Id of the key; empty if unknown. Never the key.
            error: Why.
        """
        self._seen[http_status(error.kind)] += 1
        now = self._clock()
        if now < self._next_s:
            return
        counts = ", ".join(f"{count:,} with {status}" for status, count in self._seen.items())
        whose = f" (key {key_id!a})" if key_id else ""
        _LOG.warning("access: refused %s since the last line; now%s: %a", counts, whose, str(error))
        self._seen.clear()
        self._next_s = now + _EVERY_S
