"""How much of a disk the features of requests may take, so that predictions cannot fill it.

Features are nearly all that a journal holds, and their size is the caller's choice. So they are the
first to go: decisions and outcomes, which evidence needs, are still written without features.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path

_LOG = logging.getLogger(__name__)
#: Most bytes of one request's features: a quarter of the largest body.
MAX_BYTES = 4 * 1024 * 1024
_MOST_FREE = 500_000_000
_SHARE_FREE = 0.05
# Free space is checked this often, and whenever this much was kept since.
_EVERY_S = 1.0
_EVERY_BYTES = 16 * 1024 * 1024

#: Bytes of a disk in all, and free for this user.
Space = tuple[int, int]


class FeatureLimits:
    """Says of each request whether its features are kept, and counts those that are not.

    May be called from any thread; the count may then miss a few.

    Args:
        folder: On the disk of the journal; None where that is not on this machine.
        count: Called for each request whose features are not kept.
        space: Looks at a disk.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        folder: Path | None,
        count: Callable[[], None],
        space: Callable[[Path], Space] = lambda folder: shutil.disk_usage(folder)[::2],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._count = count
        self._space = space
        self._clock = clock
        self._look_at = 0.0
        self._since = 0
        self._is_full = False
        self.left_out = 0

    def admit(self, size: int) -> bool:
        """Say whether features of `size` bytes are kept."""
        if self._folder is not None and (
            self._clock() >= self._look_at or self._since + size > _EVERY_BYTES
        ):
            self._look(self._folder)
        if self._is_full or size > MAX_BYTES:
            self.left_out += 1
            self._count()
            return False
        self._since += size
        return True

    def warnings(self, left_out: int) -> list[str]:
        """Say what the operator should look at.

        Args:
            left_out: Requests without features, of all processes.
        """
        since = f"{left_out:,} request{'s' * (left_out != 1)} since the start"
        told = ""
        if self._is_full:
            told = (
                "The journal's disk is nearly full: requests are written without their features "
                f"({since}); decisions and feedback go on. Free space, or "
                "`mlops journal prune --older-than DAYS`."
            )
        elif left_out:
            told = (
                f"The features of {since} were not kept: they were larger than "
                f"{MAX_BYTES >> 20} MiB, or the journal's disk was nearly full."
            )
        return [told] if told else []

    def _look(self, folder: Path) -> None:
        self._look_at, self._since = self._clock() + _EVERY_S, 0
        try:
            total, free = self._space(folder)
        except OSError:
            # The writer of the journal reports what is wrong with it.
            return
        before, self._is_full = self._is_full, free < min(_MOST_FREE, _SHARE_FREE * total)
        if self._is_full != before:
            _LOG.warning(
                "journal: %s", "its disk is nearly full, features are left out"
                if self._is_full
                else "there is space again, features are kept",
            )  # fmt: skip
