"""Two processes of a server that ask each other, here on one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest

from mlops.errors import MlopsError
from mlops.serving.channel import Channel
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


def test_a_worker_that_does_not_answer_is_waited_for_once() -> None:
    """Feedback waits for decisions of other workers; of one that hangs none come."""
    responds, asked = asyncio.Event(), asyncio.Queue[None]()

    async def written() -> None:
        asked.put_nowait(None)
        await responds.wait()

    async def meet() -> None:
        ours, theirs = socket.socketpair()
        worker = WorkerProcess(1)
        worker._channel = Channel(ours, {}, "the worker")
        answers = Channel(theirs, {"written": written}, "the supervisor")
        await worker._channel.open()
        await answers.open()
        running = [asyncio.create_task(each.run()) for each in (worker._channel, answers)]
        async with asyncio.timeout(60):
            await worker.written(0.05)
            await asked.get()
            # It is still silent, and is not even asked.
            for _ in range(3):
                await worker.written(600)
            assert asked.empty()
            responds.set()
            assert worker._overdue is not None
            await worker._overdue
            await worker.written(600)
            assert asked.qsize() == 1
            # One that ends is not waited for either.
            responds.clear()
            await worker.written(0.05)
            running[1].cancel()
            await asyncio.wait(running)
            await worker.written(600)
        assert running[0].exception() is None

    asyncio.run(meet())
