"""What happens to viewers of a live page when something fails, or they leave."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from types import SimpleNamespace
from typing import Any

import pytest

from mlops.serving.counting import Counts
from mlops.serving.live_page import broadcast as module
from mlops.serving.live_page import hub as hub_module
from mlops.serving.live_page.broadcast import MOST_VIEWERS, Broadcast, stream
from mlops.serving.live_page.hub import Hub
from tests.waiting import until

_SCOPE: dict[str, Any] = {"type": "http"}


async def _view(broadcast: Broadcast, gone: asyncio.Event, sent: list[bytes]) -> None:
    async def receive() -> dict[str, Any]:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))

    await stream(broadcast)(_SCOPE, receive, send)


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
        await until(lambda: b'"faults":[],"n":2' in b"".join(sent))
        gone.set()
        await asyncio.wait_for(viewing, 20)
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
        # All that come at once are counted, too.
        viewers = [_view(broadcast, gone, sent) for _ in range(3 * MOST_VIEWERS)]
        viewing = asyncio.gather(*viewers)
        await until(lambda: len(sent) >= 3 * MOST_VIEWERS)
        assert broadcast.is_full
        assert sum(text.startswith(b"retry:") for text in sent) == MOST_VIEWERS
        assert sum(b"As many look" in text for text in sent) == 2 * MOST_VIEWERS
        gone.set()
        async with asyncio.timeout(20):
            await asyncio.wait_for(viewing, 20)
        assert not broadcast.is_full

    asyncio.run(run())


@pytest.mark.parametrize("shared", [False, True])
def test_lines_break_between_all_servers_and_this_one(shared: bool) -> None:
    now = int(time.time())
    older = [{"t": now - 60 + at, "arms": {"a": [3.0] * 5}} for at in range(0, 50, 5)]

    async def recalled() -> list[dict[str, Any]]:
        async def ask(what: str, **terms: Any) -> dict[str, Any]:
            return {"points": older}

        reader: Any = SimpleNamespace(ask=ask)
        hub = Hub(None, reader, dict, shared=shared)  # type: ignore[arg-type] # nothing is counted
        await hub._recall()
        return list(hub._points)

    found = asyncio.run(recalled())
    assert found[: len(older)] == older
    assert [point["arms"] for point in found[len(older) :]] == ([{}] if shared else [])


def test_the_journal_is_read_at_once_when_another_revision_is_live(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Reading a large one takes minutes, and it rests for ten times as long."""
    monkeypatch.setattr(hub_module, "_READ_EVERY_S", 3_600.0)
    monkeypatch.setattr(hub_module, "_EVERY_S", 0.01)
    live = [1]
    turns: dict[int, asyncio.Event] = {}

    async def counts() -> Counts:
        return Counts()

    class Slow:
        async def ask(self, what: str, **terms: Any) -> dict[str, Any]:
            if what == "history":
                return {"points": []}
            read = live[0]
            if terms["name"] == "verdict":
                await turns.setdefault(terms["look"], asyncio.Event()).wait()
            return {"html": f"revision {read}"}

        def release_memory(self) -> None:
            pass

    async def run() -> None:
        hub = Hub(counts, Slow(), lambda: {"revision": live[0], "faults": []})  # type: ignore[arg-type]

        def shows(name: str, number: int) -> bool:
            return hub.broadcast.html.get(name) == f"revision {number}"

        async with contextlib.aclosing(hub.broadcast.view()) as events:
            await anext(events)
            await until(lambda: 1 in turns)
            turns[1].set()
            await until(lambda: shows("outliers", 1))
            live[0] = 2
            await until(lambda: 2 in turns)
            # Another one, while the journal is read.
            live[0] = 3
            await asyncio.sleep(0.1)
            turns[2].set()
            await until(lambda: 3 in turns)
            turns[3].set()
            await until(lambda: shows("verdict", 3) and shows("outliers", 3))
            await asyncio.sleep(0.1)
            assert sorted(turns) == [1, 2, 3]

    asyncio.run(run())
