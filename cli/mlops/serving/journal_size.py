"""Telling whoever runs the server that its journal has grown too large."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from mlops.errors import RemoteError
from mlops.journal.room import too_large

_LOG = logging.getLogger(__name__)
_EVERY_S = 60.0


class JournalSize:
    """Looks at the journal's size now and then; says it once each time it becomes too large.

    Args:
        size_bytes: Looks at the journal; called in threads.
        max_mb: Megabytes that it may take; 0 for any.
        name: Name of the deployment.

    Attributes:
        warning: What to tell; empty while all is well.
    """

    def __init__(self, size_bytes: Callable[[], int], max_mb: int, name: str) -> None:
        self._size_bytes = size_bytes
        self._max_mb = max_mb
        self._name = name
        self.warning = ""

    async def run(self) -> None:
        """Look until cancelled; at nothing if any size will do."""
        while self._max_mb:
            await asyncio.to_thread(self.look)
            await asyncio.sleep(_EVERY_S)

    def look(self) -> None:
        """Look once."""
        try:
            size = self._size_bytes()
        except RemoteError:
            return  # that it cannot be read is told where it is written
        said, self.warning = self.warning, too_large(size, self._max_mb, self._name)
        if self.warning and not said:
            _LOG.warning("%s", self.warning)
