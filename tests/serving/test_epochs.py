"""Following policy epochs in a journal that goes away."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlops.errors import RemoteError
from mlops.journal.outage import OutageLog
from mlops.serving.epochs import follow_epochs
from mlops.serving.revision import load_revision
from tests.serving.server import served
from tests.waiting import until


class _Away:
    """A journal that cannot be read so many times."""

    def __init__(self, times: int, loop: asyncio.AbstractEventLoop) -> None:
        self.left, self.loop = times, loop
        self.back = asyncio.Event()

    def newer_epoch(self, _revision: int, _epoch: int) -> None:
        if self.left > 0:
            self.left -= 1
            raise RemoteError("It is away.")
        self.loop.call_soon_threadsafe(self.back.set)


def test_it_is_logged_once_and_asked_less_often(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    plain = served(models)
    spec = replace(plain.revision.spec, policy="epsilon-greedy epsilon=0.1")
    live = load_revision(replace(plain, revision=replace(plain.revision, spec=spec)))
    assert live.policy.learns
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def noted(pause_s: float) -> None:
        pauses.append(pause_s)
        await sleep(0)

    def said() -> list[logging.LogRecord]:
        return [each for each in caplog.records if "journal: " in each.getMessage()]

    async def follow() -> None:
        journal: Any = _Away(6, asyncio.get_running_loop())
        with monkeypatch.context() as patched:
            patched.setattr(asyncio, "sleep", noted)
            task = asyncio.create_task(
                follow_epochs(journal, lambda: live, lambda _: None, OutageLog())
            )
            await asyncio.wait_for(journal.back.wait(), 60)
            # It is back in a thread; the task hears of it after that.
            await until(lambda: any(each.levelname == "INFO" for each in said()))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(follow())
    assert pauses[:6] == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]
    assert [each.levelname for each in said()] == ["WARNING", "INFO"]
