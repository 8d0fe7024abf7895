"""Two processes of a server that ask each other, here on one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest

from mlops.errors import MlopsError
from mlops.serving.channel import Channel


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
