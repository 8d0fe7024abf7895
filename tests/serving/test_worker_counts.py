"""What `/metrics` says while one of several workers, or their supervisor, does not answer."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlops.errors import RemoteError
from mlops.serving.counting import Counts
from mlops.serving.live_page.hub import Hub
from tests import warm_start
from tests.serving.models import ROWS, records
from tests.serving.server import Json, Server, make_launch, running, served
from tests.waiting import wait_until

_ROW = records(ROWS[:1])


@pytest.fixture
def pair(models: dict[str, Path], tmp_path: Path) -> Iterator[Server]:
    with running(replace(make_launch(tmp_path, served(models)), workers=2), tmp_path) as server:
        yield server


@contextlib.contextmanager
def _stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _requests(server: Server) -> dict[int, int]:
    workers: Json = server.admin("GET", "/status").json["workers"]
    return {each["pid"]: each["requests"] for each in workers}


def test_counts_of_a_worker_that_is_busy_are_not_lost(pair: Server) -> None:
    def both_answered() -> bool:
        pair.hang_up()  # the next connection may go to the other one
        assert pair.predict(_ROW).status == 200
        return all(_requests(pair).values())

    wait_until(both_answered)
    before = _requests(pair)
    assert pair.predict(_ROW).status == 200
    other = next(pid for pid, count in _requests(pair).items() if count == before[pid])
    counted = pair.metrics()
    with _stopped(other):
        for _ in range(2):
            now = pair.metrics()
            fallen = {
                key: (value, now.get(key))
                for key, value in counted.items()
                if key[0].endswith(("_total", "_count", "_bucket", "_sum"))
                and now.get(key, -1) < value
            }
            assert not fallen
            # What the one that answers has counted since is there at once.
            assert pair.predict(_ROW).status == 200
            counted = now
    wait_until(lambda: sum(_requests(pair).values()) == sum(before.values()) + 3)


def test_without_a_sum_a_scrape_fails(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counters that are missing for a while do no harm; those that fall count twice."""
    warm_start.set_in_servers(monkeypatch, {"mlops.serving.worker._COUNTS_S": 0.2})
    launch = replace(make_launch(tmp_path, served(models)), workers=2)
    with running(launch, tmp_path) as server:
        wait_until(lambda: server.get("/metrics").status == 200)
        with _stopped(server.process.pid):
            reply = server.get("/metrics")
            assert (reply.status, b"did not answer" in reply.body) == (503, True)
            assert server.predict(_ROW).status == 200
        wait_until(lambda: server.get("/metrics").status == 200)


def test_the_live_page_says_that_there_is_no_sum() -> None:
    async def counts() -> Counts:
        raise RemoteError("The supervisor did not answer.")

    class Silent:
        async def ask(self, what: str, **terms: Any) -> dict[str, Any]:
            return {"points": [], "html": ""}

        def release_memory(self) -> None:
            pass

    async def run() -> bytes:
        hub = Hub(counts, Silent(), lambda: {"revision": 1, "faults": ["a"]})  # type: ignore[arg-type]
        seen = b""
        async with contextlib.aclosing(hub.broadcast.view()) as events:
            while b"event: now" not in seen:
                seen += await asyncio.wait_for(anext(events), 60)
        return seen

    assert b'"arms":{},"revision":1,"faults":["a","The supervisor did not answer."]' in asyncio.run(
        run()
    )
