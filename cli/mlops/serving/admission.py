"""Admission control: how many requests that arrived together a busy event loop answers.

A quick model has no queue but the sockets: what the event loop does not read, it reads in its
next turn. With more callers than it can answer, each turn grows until all are late. So a turn
has a budget. A burst may fill a long one, as nothing waits behind it. Where long turns follow each
other, there is a standing queue, and each is kept short: a caller that is refused in milliseconds
can ask another replica, or later, which is worth more than an answer that comes too late.

The rule is that of B. Maurer, "Fail at Scale", ACM Queue 13(8), 2015, after K. Nichols and
V. Jacobson, "Controlling Queue Delay", ACM Queue 10(5), 2012: one limit for a queue that was empty
lately, a lower one for a queue that was not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

#: Requests that are answered in any case, however long they take.
ALWAYS = 64
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

    def begin(self, waiting: int) -> int:
        """Begin a turn in which this many requests wait; return how many of them to answer."""
        self._began = self._clock()
        if self._began - self._long_to > BURST_S:
            self._long_from = math.inf
        if waiting <= ALWAYS or self._began - self._long_from <= BURST_S:
            return waiting
        return min(waiting, max(ALWAYS, int(self._short_s * self._answered / self._busy_s)))

    @property
    def is_over(self) -> bool:
        """Whether the turn has taken as long as any may; what still waits is to be refused."""
        return self._clock() - self._began > BURST_S

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
