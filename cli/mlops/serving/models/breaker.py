"""A circuit breaker for a server that does not answer."""

from __future__ import annotations

import time
from collections.abc import Callable

_FAILURES = 3
_PAUSE_S = 1.0


class Breaker:
    """Refuses requests that would only wait: after several failures in a row, all but one a second.

    Lives on one event loop.

    Args:
        clock: Seconds that only grow.

    Attributes:
        reason: Why the last request failed.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.reason = ""
        self._clock = clock
        self._failures = 0
        self._next = 0.0

    def allows(self) -> bool:
        """Whether a request may be sent now; if so, it counts as the one of its second."""
        if self._failures < _FAILURES:
            return True
        now = self._clock()
        if now < self._next:
            return False
        self._next = now + _PAUSE_S
        return True

    def fail(self, reason: str) -> None:
        """A request could not connect, or got no answer in time."""
        self.reason = reason
        self._failures += 1
        if self._failures == _FAILURES:
            self._next = self._clock() + _PAUSE_S

    def close(self) -> None:
        """The server has answered: close the breaker."""
        self._failures = 0
