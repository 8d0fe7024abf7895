"""Two processes of a server that ask each other, here on one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Mapping

import pytest

from mlops.errors import MlopsError
from mlops.serving import workers
from mlops.serving.channel import Channel, Handler
from mlops.serving.counting import Counts, packed
from mlops.serving.workers import WorkerProcess


def test_whoever_asks_is_told_that_a_handler_failed() -> None:
    async def broken() -> None:
        raise ZeroDivisionError("by hand")

    async def well() -> int:
        return 7

    async def meet() -> None:
        one, other = socket.socketpair()
        asks = Channel(one, {}, "the worker")
        answers = Channel(other, {"broken": broken, "well": well}, "the supervisor")
        await asks.open()
        await answers.open()
        running = [asyncio.create_task(each.run()) for each in (asks, answers)]
        with pytest.raises(MlopsError, match=r"`broken` failed: ZeroDivisionError\('by hand'\)"):
            await asks.ask("broken", timeout_s=5)
        assert await asks.ask("well", timeout_s=5) == 7
        for task in running:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    asyncio.run(meet())


@contextlib.asynccontextmanager
async def _worker(
    handlers: Mapping[str, Handler],
) -> AsyncIterator[tuple[WorkerProcess, asyncio.Task[None]]]:
    """A worker that answers with these, and the task in which it does."""
    ours, theirs = socket.socketpair()
    worker = WorkerProcess(1)
    worker._channel = Channel(ours, {}, "the worker")
    answers = Channel(theirs, handlers, "the supervisor")
    await worker._channel.open()
    await answers.open()
    reading, answering = (asyncio.create_task(each.run()) for each in (worker._channel, answers))
    async with asyncio.timeout(120):
        yield worker, answering
    answering.cancel()
    await asyncio.wait([reading, answering])
    assert reading.exception() is None


def test_a_worker_that_does_not_answer_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Feedback waits for decisions of other workers; of one that hangs none come."""
    responds, asked = asyncio.Event(), asyncio.Queue[None]()

    async def written() -> None:
        asked.put_nowait(None)
        await responds.wait()

    async def meet() -> None:
        async with _worker({"written": written}) as (worker, answering):
            monkeypatch.setattr(workers, "_OVERDUE_S", 0.01)
            await worker.written(0.05)
            await asked.get()
            # It is still silent, and is not even asked.
            for _ in range(3):
                await worker.written(600)
            assert asked.empty()
            # One that responds meanwhile is asked again.
            monkeypatch.setattr(workers, "_OVERDUE_S", 600)
            waiting = asyncio.create_task(worker.written(600))
            await asyncio.sleep(0)
            assert not waiting.done()
            responds.set()
            await waiting
            assert asked.qsize() == 1
            # One that ends is not waited for either.
            responds.clear()
            await worker.written(0.05)
            answering.cancel()
            await worker.written(600)

    asyncio.run(meet())


def test_counts_that_come_late_count() -> None:
    """A worker that takes longer than a scrape waits is slow, and does not hang."""
    responds = asyncio.Event()

    async def snapshot() -> bytes:
        await responds.wait()
        return packed(Counts(endpoints={"a": True}))

    async def meet() -> None:
        async with _worker({"snapshot": snapshot}) as (worker, _):
            await worker.count(0.01)
            assert (worker.last, worker.answered_s) == (Counts(), 0.0)
            responds.set()
            while not worker.answered_s:  # noqa: ASYNC110 - bounded, by `_worker`
                await asyncio.sleep(0.01)
            assert worker.last == Counts(endpoints={"a": True})
            # Not those of a process whose place another has taken.
            responds.clear()
            await worker.count(0.01)
            worker.pid, worker.last = 1, Counts()
            responds.set()
            await asyncio.wait(worker._counting)
            assert worker.last == Counts()

    asyncio.run(meet())
