"""Admission control: how many requests that arrived together a busy event loop answers.

A quick model has no queue but the sockets: what the event loop does not read, it reads in its
next turn. With more callers than it can answer, each turn grows until all are late. So a turn
has a budget. A burst may fill a long one, as nothing waits behind it. Where long turns follow each
other, there is a standing queue, and each is kept short: a caller that is refused in milliseconds
can ask another replica, or later, which is worth more than an answer that comes too late.

The rule is that of B. Maurer, "Fail at Scale", ACM Queue 13(8), 2015, after K. Nichols and
V. Jacobson, "Controlling Queue Delay", ACM Queue 10(5), 2012: one limit for a queue that was empty
lately, a lower one for a queue that was not. The lower one is of the clock on the wall: where other
programs take most of the core, a turn of as many requests would take several times as long, and
a request that is refused waits for all of it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

#: Requests that are answered in any case, however long they take: alone, or in a burst.
ALWAYS = 64
# The same where there is a standing queue.
_LEAST = 8
# Requests that are begun together take about as long at most, in seconds.
_STEP_S = 0.005
#: Longest that a turn of the event loop spends on a burst of requests, in seconds.
BURST_S = 0.1
# Too short to be noticed, and still below the tenth of a second for a refusal.
_SHORT_S, _LONGEST_S = 0.01, 0.045
# Requests over which the mean time of one is estimated.
_REMEMBERED = 1_000


class Admission:
    """Says how many requests to answer in a turn. Lives on one event loop.

    Args:
        clock: Seconds since any moment.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._busy_s = 0.0
        self._answered = 0
        self._began = 0.0
        #: When the first of a row of long turns began, and when the last of them ended.
        self._long_from = self._long_to = -math.inf
        self._limit_s, self._least = BURST_S, ALWAYS

    def begin(self, waiting: int) -> int:
        """Begin a turn in which this many requests wait; return how many of them to answer."""
        self._began = self._clock()
        if self._began - self._long_to > BURST_S:
            self._long_from = math.inf
        self._limit_s, self._least = BURST_S, ALWAYS
        if waiting <= ALWAYS or self._began - self._long_from <= BURST_S:
            return waiting
        self._limit_s, self._least = _LONGEST_S, _LEAST
        return min(waiting, max(_LEAST, int(self._short_s * self._answered / self._busy_s)))

    def together(self, most: int) -> int:
        """Return how many requests to begin at once, so that the clock is looked at in between."""
        each_s = self._busy_s / self._answered if self._answered else 0.0
        return max(1, min(most, int(_STEP_S / each_s))) if each_s else most

    def is_over(self, done: int) -> bool:
        """Whether the turn has taken as long as it may; what still waits is to be refused.

        Args:
            done: Requests that it has answered.
        """
        return done >= self._least and self._clock() - self._began > self._limit_s

    def end(self, answered: int, refused: int) -> None:
        """End the turn."""
        ended = self._clock()
        took_s = ended - self._began
        self._busy_s += took_s
        self._answered += answered
        if self._answered > _REMEMBERED:
            self._busy_s, self._answered = self._busy_s / 2, self._answered // 2
        # One short turn proves nothing: a caller that was just answered may send its next one.
        if refused or took_s >= self._short_s:
            self._long_from = min(self._long_from, self._began)
            self._long_to = ended

    @property
    def _short_s(self) -> float:
        """What a turn takes at most where the next requests wait already, in seconds."""
        return min(max(_SHORT_S, ALWAYS * self._busy_s / self._answered), _LONGEST_S)
