"""Sharing one round of something slow among all who wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class Rounds:
    """Runs one round at a time; a caller that arrives during a round shares the next one.

    Lives on one event loop.

    Args:
        work: One round.
    """

    def __init__(self, work: Callable[[], Awaitable[None]]) -> None:
        self._work = work
        self._running: asyncio.Task[None] | None = None
        self._waiting: asyncio.Task[None] | None = None

    async def next(self) -> None:
        """Return after a round that began after this call."""
        if self._waiting is None:
            self._waiting = asyncio.create_task(self._round(self._running))
        # A caller that is cancelled does not affect the others.
        await asyncio.shield(self._waiting)

    async def _round(self, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        self._running, self._waiting = self._waiting, None
        await self._work()
