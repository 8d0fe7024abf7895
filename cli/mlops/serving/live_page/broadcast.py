"""One text a second for everyone who looks (Server-Sent Events).

Specification: https://html.spec.whatwg.org/multipage/server-sent-events.html. Nothing is queued
for a viewer who reads slowly: it gets what is newest when it is ready for more.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Sequence
from typing import Any

from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from mlops.serving.live_page.assets import NO_STORE

_LOG = logging.getLogger(__name__)
#: Viewers of one process at a time.
MOST_VIEWERS = 32
# Work that failed begins again after it.
_PAUSE_S = 5.0
_STOPPED = "Figures on this page are not renewed for now; the server's log says why."
# A browser tries again after this many milliseconds.
_HELLO = b"retry: 2000\n\n"


class Broadcast:
    """Works while there are viewers, and sends all of them the same bytes. On one event loop.

    Args:
        works: Run while there are viewers, and begin again after an error.
        snapshot: Returns what a viewer gets first, and again after `resend`.

    Attributes:
        html: The newest text of each part, to be put into a page when it is first sent.
    """

    def __init__(
        self,
        works: Sequence[Callable[[], Coroutine[Any, Any, None]]],
        snapshot: Callable[[], bytes] = bytes,
    ) -> None:
        self._works, self._snapshot = works, snapshot
        self._viewers = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._turn = asyncio.Event()
        self._is_closed = False
        self._now = b""
        self._parts: dict[str, tuple[int, bytes]] = {}
        self._changes = self._resent = self._failed = 0
        self.html: dict[str, str] = {}

    @property
    def is_full(self) -> bool:
        """Whether there may be no more viewers."""
        return self._viewers >= MOST_VIEWERS

    async def view(self, hidden: Collection[str] = ()) -> AsyncGenerator[bytes, None]:
        """Yield events to one viewer until the server stops; the caller closes it.

        Args:
            hidden: Parts that are not for this viewer.
        """
        self._viewers += 1
        if self._viewers == 1:
            self._begin()
        try:
            yield _HELLO + self._snapshot()
            seen = self._resent
            fresh = 0
            while not self._is_closed:
                turn = self._turn
                new = [
                    text
                    for name, (number, text) in self._parts.items()
                    if number > fresh and name not in hidden
                ]
                past = self._snapshot() if self._resent > seen else b""
                fresh, seen = self._changes, self._resent
                yield b"".join((past, self._now, *new))
                await turn.wait()
        finally:
            self._viewers -= 1
            if not self._viewers:
                self._end()

    def tell(self, data: dict[str, Any]) -> None:
        """Send what is true now."""
        if self._failed:
            data = {**data, "faults": [*data.get("faults", ()), _STOPPED]}
        self._now = event("now", data)
        turn, self._turn = self._turn, asyncio.Event()
        turn.set()

    def put(self, parts: dict[str, str]) -> None:
        """Send the parts that have changed, with what is told next."""
        for name, text in parts.items():
            if self.html.get(name) != text:
                self.html[name] = text
                self._changes += 1
                self._parts[name] = self._changes, event("part", {"id": name, "html": text})

    def resend(self) -> None:
        """Send the snapshot again, with what is told next."""
        self._resent += 1

    def close(self) -> None:
        """End all streams."""
        self._is_closed = True
        self._turn.set()
        self._end()

    def _begin(self) -> None:
        self._tasks = [asyncio.create_task(self._keep_up(each)) for each in self._works]

    async def _keep_up(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while True:
            try:
                return await work()
            except Exception:  # noqa: BLE001 - the other work goes on, and viewers are told
                _LOG.exception("the live page: `%s` failed", work.__qualname__)
                self._failed += 1
                self.tell({})
                try:
                    await asyncio.sleep(_PAUSE_S)
                finally:
                    self._failed -= 1

    def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._tasks = []
        # A later viewer must not see for a moment what was true long ago.
        self._parts, self.html, self._now = {}, {}, b""


def event(name: str, data: dict[str, Any]) -> bytes:
    """Write one event."""
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


def stream(
    broadcast: Broadcast, hidden: Collection[str] = (), still: Callable[[], bool] = lambda: True
) -> Response:
    """Answer with the events, unless there are viewers enough.

    Args:
        broadcast: Has the events.
        hidden: Parts that are not for this viewer.
        still: Whether the viewer may go on viewing; asked before each event.
    """
    return _Stream(broadcast, hidden, still)


class _Stream(Response):
    """Events until the browser or the server ends."""

    def __init__(
        self, broadcast: Broadcast, hidden: Collection[str], still: Callable[[], bool]
    ) -> None:
        super().__init__()
        self._broadcast, self._hidden, self._still = broadcast, hidden, still

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events, as ASGI asks."""
        if self._broadcast.is_full:
            await _CROWDED(scope, receive, send)
            return
        events = self._broadcast.view(self._hidden)
        # It counts from here on: nothing was waited for since there was room.
        hello = await anext(events)
        try:
            await self._stream(hello, events, receive, send)
        finally:
            await events.aclose()

    async def _stream(
        self, hello: bytes, events: AsyncGenerator[bytes, None], receive: Receive, send: Send
    ) -> None:
        headers = {
            **NO_STORE,
            "content-type": "text/event-stream; charset=utf-8",
            # NGINX would collect them.
            "x-accel-buffering": "no",
        }
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": raw})
        await send({"type": "http.response.body", "body": hello, "more_body": True})
        # Whoever leaves is noticed at once, also while there is nothing to send.
        work = (self._send_all(events, send), _until_gone(receive))
        tasks = [asyncio.create_task(each) for each in work]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _send_all(self, events: AsyncGenerator[bytes, None], send: Send) -> None:
        async for text in events:
            if not self._still():
                break
            await send({"type": "http.response.body", "body": text, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


_CROWDED = PlainTextResponse(
    "As many look at this page already as one server sends it to.",
    503,
    {**NO_STORE, "retry-after": "10"},
)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
