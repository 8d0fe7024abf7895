"""How often a key may call: a token bucket that all workers of a deployment share.

The bucket is kept as one number, the time at which it will be full again ("virtual scheduling",
ITU-T I.371, annex A; GCRA), so that eight bytes of shared memory are enough. Workers take
from it without a lock: two that do so in the same microsecond may count one request for both.
The limit is exceeded by no more than that.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from typing import TypeAlias

from mlops.spec.access import MAX_KEYS, Rate

#: A number for each key.
Places: TypeAlias = "memoryview[float]"

_BYTES = 8


def shared_places() -> Places:
    """Return a number for each key, in memory that processes forked from here share."""
    return memoryview(mmap.mmap(-1, MAX_KEYS * _BYTES)).cast("d")


@dataclass(frozen=True, slots=True)
class Bucket:
    """The bucket of one key.

    Attributes:
        places: Of all keys.
        place: Of this one.
        each_s: Seconds in which one request is earned.
        ahead_s: How far ahead of that they may be sent.
    """

    places: Places
    place: int
    each_s: float
    ahead_s: float

    @classmethod
    def of(cls, rate: Rate, places: Places, place: int) -> Bucket:
        """Return a bucket that holds the requests of one period."""
        each_s = rate.period_s / rate.count
        return cls(places, place, each_s, rate.period_s - each_s)

    def take(self, now_s: float) -> float:
        """Take one request; return 0, or the seconds to wait before it would be allowed.

        Args:
            now_s: Of the clock that all workers share, `time.monotonic`.
        """
        full_s = self.places[self.place]
        wait_s = full_s - self.ahead_s - now_s
        # Adding up such times may be wrong by a tenth of a microsecond.
        if wait_s > 1e-7:
            return float(wait_s)
        self.places[self.place] = max(full_s, now_s) + self.each_s
        return 0.0
