"""What changes on the live page of a deployment."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from mlops.errors import MlopsError
from mlops.journal.outage import OutageLog, for_callers
from mlops.serving.counting import Counts
from mlops.serving.live_page.broadcast import Broadcast, event
from mlops.serving.live_page.rates import WINDOW_S, Rates, sample
from mlops.serving.live_page.reader import Reader

_EVERY_S = 1.0
#: Parts that the journal gives, the quick ones first; see `mlops.live_page.sections`.
PARTS = ("consumers", "revisions", "shares", "verdict", "quality", "drift", "outliers")
#: Points of the charts: a quarter of an hour, one for each `WINDOW_S`.
POINTS = 180
# The journal is read again this long after the last time, and after so many times the work it was;
# at once when another revision is live.
_READ_EVERY_S, _PAUSE = 5.0, 10.0


class Hub:
    """Samples the counters and has the journal read while there are viewers. On one event loop.

    Args:
        counts: Gives what all processes have counted.
        reader: Reads the journal.
        status: Returns what the head of the page says, as JSON data; `faults` are texts.
        shared: Whether other servers write to the journal too: what is counted is of this one only,
            and what is recalled of all.
        outage: Where this process says that the journal is away.

    Attributes:
        broadcast: Has the viewers.
    """

    def __init__(
        self,
        counts: Callable[[], Awaitable[Counts]],
        reader: Reader,
        status: Callable[[], dict[str, Any]],
        *,
        shared: bool = False,
        outage: OutageLog | None = None,
    ) -> None:
        self._counts, self._reader, self._status = counts, reader, status
        self._outage = outage or OutageLog()
        self._points: deque[dict[str, Any]] = deque(maxlen=POINTS)
        self._looks = 0
        self._revision = 0
        self._moved = asyncio.Event()
        self._fault, self.shared = "", shared
        self.broadcast = Broadcast((self._sample, self._recall, self._look), self._history)

    def _history(self) -> bytes:
        return event("history", {"every": WINDOW_S, "points": list(self._points)})

    async def _sample(self) -> None:
        rates = Rates()
        while True:
            now_s = time.time()
            faults: list[str] = []
            arms: dict[str, list[float | None]] = {}
            try:
                arms = rates.add(sample(await self._counts(), now_s))
            except MlopsError as error:
                faults.append(error.message)
            point = {"t": int(now_s), "arms": arms}
            is_due = not self._points or now_s - self._points[-1]["t"] >= WINDOW_S
            if is_due and any(cells[0] is not None for cells in arms.values()):
                self._points.append(point)
            status = self._status()
            if status["revision"] != self._revision:
                self._moved.set()
            status["faults"] = [*status["faults"], *faults, *([self._fault] if self._fault else [])]
            self.broadcast.tell({**point, **status})
            await asyncio.sleep(_EVERY_S)

    async def _recall(self) -> None:
        """Take the points before the first viewer from the journal, unless they are known."""
        if self._points and time.time() - self._points[-1]["t"] < 2 * WINDOW_S:
            return
        self._points.clear()
        try:
            found = (await self._reader.ask("history", every_s=WINDOW_S, points=POINTS))["points"]
        except MlopsError as error:
            self._outage.met(error)
            return
        newer = list(self._points)
        first = newer[0]["t"] if newer else float("inf")
        older = [each for each in found if each["t"] <= first - WINDOW_S / 2]
        # Lines break where figures of all servers end and those of this one begin.
        own_from = newer[0]["t"] if newer else int(time.time())
        seam: list[dict[str, Any]] = [{"t": own_from - 1, "arms": {}}] if self.shared else []
        self._points = deque([*older, *seam, *newer], maxlen=POINTS)
        self.broadcast.resend()

    async def _look(self) -> None:
        """Read the journal again and again."""
        while True:
            started, self._looks = time.monotonic(), self._looks + 1
            # What goes live while the journal is read may be missing in what was read before.
            self._revision = self._status()["revision"]
            self._moved.clear()
            try:
                for name in PARTS:
                    found = await self._reader.ask("part", name=name, look=self._looks)
                    self.broadcast.put({name: found["html"]})
                    self._fault = ""
            except MlopsError as error:
                self._outage.met(error)
                self._fault = for_callers(error)
            self._reader.release_memory()
            spent_s = time.monotonic() - started
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(_READ_EVERY_S, _PAUSE * spent_s)):
                    await self._moved.wait()
