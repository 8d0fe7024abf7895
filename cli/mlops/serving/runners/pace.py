"""Whether a model that was quick at warm-up still is."""

from __future__ import annotations

import logging

_LOG = logging.getLogger(__name__)
#: A call on the event loop that takes longer, in seconds, delays every request.
SLOW_S = 0.05
# One may be the collector's or the machine's fault.
_SLOW_CALLS = 2


class Pace:
    """Counts slow calls in a row; what was slow twice belongs in threads.

    Args:
        arm: Named in the log.

    Attributes:
        is_slow: Whether it is; for good.
        slow_calls: How many of the last calls were slow, in a row.
    """

    def __init__(self, arm: str) -> None:
        self.is_slow = False
        self.slow_calls = 0
        self._arm = arm

    def note(self, elapsed_s: float) -> None:
        """Count one call."""
        self.slow_calls = self.slow_calls + 1 if elapsed_s > SLOW_S else 0
        if self.slow_calls >= _SLOW_CALLS and not self.is_slow:
            self.is_slow = True
            _LOG.warning(
                "%s: took %.2f s where it was quick at start; it runs in threads from now on",
                self._arm,
                elapsed_s,
            )
