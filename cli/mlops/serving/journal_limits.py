"""How much of a disk, or of a database, requests may take, so that predictions cannot fill it.

Features are nearly all that a journal holds, and their size is the caller's choice. So they are the
first to go: decisions and outcomes, which evidence needs, are still written without features. The
last of a disk is for feedback, and for the commands that free space: decisions then wait.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from mlops.errors import MlopsError
from mlops.journal.outage import OutageLog
from mlops.journal.size_limit import has_last_space, is_nearly_full

_LOG = logging.getLogger(__name__)
#: Most bytes of one request's features: a quarter of the largest body.
MAX_BYTES = 4 * 1024 * 1024
# Free space is checked this often, and whenever this much was kept since.
_EVERY_S = 1.0
_EVERY_BYTES = 16 * 1024 * 1024
# A journal's own size is asked for this often; in between what is kept is added to it.
_SIZE_EVERY_S = 30.0

_SIZE = "size"
_FREE = "Free space, or `mlops journal prune --older-than DAYS`."
# A row that has lost its features leaves a gap in its page, which takes as much space as before.
_SHRINK = (
    "`mlops journal archive` makes it smaller beside the server; `mlops journal prune` does with "
    "the server stopped, in PostgreSQL after `VACUUM FULL`."
)
_LAST = "its disk is full but for what feedback needs, requests wait to be recorded"
_NEARLY = "its disk is nearly full, features are left out"
_TOO_LARGE = "it is ten times as large as `[journal] max_mb`, features are left out"
_KEPT_AGAIN = "there is space again, features are kept"

#: Bytes of a disk in all, and free for this user.
Space = tuple[int, int]


class JournalLimits:
    """Says of each request what of it is kept, and counts those of which something is not.

    May be called from any thread; the counts may then miss a few.

    Args:
        folder: On the disk of the journal; None where that is not on this machine.
        count: Called for each request whose features are not kept.
        most_bytes: Size of the journal from which no features are kept; 0 for any size.
        space: Looks at a disk.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        folder: Path | None,
        count: Callable[[], None],
        most_bytes: int = 0,
        space: Callable[[Path], Space] = lambda folder: shutil.disk_usage(folder)[::2],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder, self._most_bytes = folder, most_bytes
        self._count = count
        self._space = space
        self._clock = clock
        self._look_at = 0.0
        self._since = self._size = 0
        self._is_full = self._is_last = self._is_large = False
        self.left_out = 0

    def admits_features(self, size: int) -> bool:
        """Say whether features of `size` bytes are kept."""
        self._look_if_due(size)
        if self._is_full or self._is_large or size > MAX_BYTES:
            self.left_out += 1
            self._count()
            return False
        self._since += size
        self.take_size(self._size + size)
        return True

    def has_space(self) -> bool:
        """Say whether requests may be written; what is left else is for feedback."""
        self._look_if_due(0)
        return not self._is_last

    def take_size(self, size: int) -> None:
        """Learn how many bytes the journal takes."""
        self._size = size
        before, self._is_large = self._is_large, 0 < self._most_bytes < size
        if self._is_large != before:
            _LOG.warning("journal: %s", _TOO_LARGE if self._is_large else _KEPT_AGAIN)

    def warnings(self, left_out: int) -> list[str]:
        """Say what the operator should look at.

        Args:
            left_out: Requests without features, of all processes.
        """
        since = f"{left_out:,} request{'s' * (left_out != 1)} since the start"
        told = ""
        if self._is_last:
            told = (
                "The journal's disk is full but for the space that feedback needs: requests are "
                f"answered, and wait in memory to be recorded. {_FREE}"
            )
        elif self._is_full:
            told = (
                "The journal's disk is nearly full: requests are written without their features "
                f"({since}); decisions and feedback go on. {_FREE}"
            )
        elif self._is_large:
            told = (
                f"The journal has more than {self._most_bytes / 1e6:,.0f} MB, ten times "
                f"`[journal] max_mb`: requests are written without their features ({since}); "
                f"decisions and feedback go on. {_SHRINK}"
            )
        elif left_out:
            told = (
                f"The features of {since} were not kept: they were larger than "
                f"{MAX_BYTES >> 20} MiB, or the journal was too large for its disk or `max_mb`."
            )
        return [told] if told else []

    def _look_if_due(self, size: int) -> None:
        if self._folder is not None and (
            self._clock() >= self._look_at or self._since + size > _EVERY_BYTES
        ):
            self._look(self._folder)

    def _look(self, folder: Path) -> None:
        self._look_at, self._since = self._clock() + _EVERY_S, 0
        try:
            total, free = self._space(folder)
        except OSError:
            # The writer of the journal reports what is wrong with it.
            return
        before = self._is_full, self._is_last
        self._is_full, self._is_last = is_nearly_full(total, free), has_last_space(total, free)
        if before != (self._is_full, self._is_last):
            _LOG.warning(
                "journal: %s",
                _LAST if self._is_last else _NEARLY if self._is_full else _KEPT_AGAIN,
            )


async def follow_size(size: Callable[[], int], limits: JournalLimits, outage: OutageLog) -> None:
    """Tell limits how large the journal is, until cancelled.

    Args:
        size: Returns it, bytes; called in a thread.
        limits: Are told.
        outage: Where this process says that the journal is away.
    """
    while True:
        try:
            limits.take_size(await asyncio.to_thread(size))
        except MlopsError as error:
            outage.away(_SIZE, error)
        else:
            outage.back(_SIZE)
        await asyncio.sleep(_SIZE_EVERY_S)
