"""What happens to viewers of a live page when something fails, or they leave."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from mlops.serving.live_page import broadcast as module
from mlops.serving.live_page.broadcast import MOST_VIEWERS, Broadcast, stream

_SCOPE: dict[str, Any] = {"type": "http"}


async def _view(broadcast: Broadcast, gone: asyncio.Event, sent: list[bytes]) -> None:
    async def receive() -> dict[str, Any]:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))

    await stream(broadcast)(_SCOPE, receive, send)


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - what happens says nothing
            await asyncio.sleep(0.001)


def test_work_that_fails_begins_again_and_viewers_are_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_PAUSE_S", 0.01)
    begun: list[int] = []

    async def fails_once() -> None:
        begun.append(1)
        if len(begun) == 1:
            raise OSError("no memory to start a process")
        while True:
            broadcast.tell({"faults": [], "n": len(begun)})
            await asyncio.sleep(0.001)

    broadcast = Broadcast((fails_once,))

    async def run() -> bytes:
        sent: list[bytes] = []
        gone = asyncio.Event()
        viewing = asyncio.create_task(_view(broadcast, gone, sent))
        await _until(lambda: b'"faults":[],"n":2' in b"".join(sent))
        gone.set()
        await viewing
        return b"".join(sent)

    text = asyncio.run(run()).decode()
    told = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]
    assert "not renewed" in told[0]["faults"][0]
    assert "no memory to start a process" in caplog.text


def test_viewers_who_leave_make_room_while_nothing_is_sent() -> None:
    async def silent() -> None:
        await asyncio.Event().wait()

    broadcast = Broadcast((silent,))

    async def run() -> None:
        gone = asyncio.Event()
        sent: list[bytes] = []
        viewers = [_view(broadcast, gone, sent) for _ in range(MOST_VIEWERS)]
        viewing = asyncio.gather(*viewers)
        await _until(lambda: broadcast.is_full)
        assert stream(broadcast).status_code == 503
        gone.set()
        async with asyncio.timeout(20):
            await viewing
        assert not broadcast.is_full

    asyncio.run(run())
