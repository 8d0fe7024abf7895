"""The process that reads the journal for the live page: it comes and goes, and answers."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from mlops.errors import NotFoundError, RemoteError
from mlops.journal.sql import SqlJournal
from mlops.serving.live_page import reader as module
from mlops.serving.live_page.hub import PARTS as ASKED
from mlops.serving.live_page.reader import Reader
from tests.monitoring.journals import Stage, fill, numbers


def test_it_answers_again_after_it_was_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlops.live_page.parts import PARTS

    assert set(ASKED) == set(PARTS)
    url = f"sqlite:///{tmp_path / 'journal.db'}"
    journal = SqlJournal(url)
    fill(journal, ["a", "b"], [Stage([0.5, 0.5], 200)], numbers([0, 0]))
    journal.close()
    (tmp_path / "key").write_bytes(bytes(range(32)))
    about = {
        "deployment": "wine",
        "journal_url": url,
        "key_file": str(tmp_path / "key"),
        "alpha": 0.05,
        "baseline": "",
        "consumers": [],
        "state_file": str(tmp_path / "state.json"),
        "hidden": [],
    }

    async def run() -> None:
        reader = Reader(about)
        reader.relieve()
        assert reader._child is None
        # Several questions at a time, and one that has no answer.
        answers: list[Any] = await asyncio.gather(
            reader.ask("requests", q="", arm="", only="", before=""),
            reader.ask("request", request_id="nonsense"),
            reader.ask("part", name="verdict", look=1),
            return_exceptions=True,
        )
        assert answers[0]["title"] == "Requests"
        assert isinstance(answers[1], NotFoundError)
        assert "b minus a" in answers[2]["html"]
        child = reader._child
        assert child is not None
        reader.relieve()
        assert reader._child is child
        # The kernel ends it in the middle of a question.
        waiting = asyncio.create_task(reader.ask("part", name="quality", look=2))
        await asyncio.sleep(0)
        assert reader._asked
        os.kill(child.pid, signal.SIGKILL)
        with pytest.raises(RemoteError, match="has ended"):
            await waiting
        monkeypatch.setattr(module, "_LARGE_BYTES", 0)
        monkeypatch.setattr(module, "_IDLE_S", 0.05)
        assert (await reader.ask("history", every_s=5, points=3))["points"]
        second = reader._child
        assert second is not None
        assert second.pid != child.pid
        reader.relieve()
        assert reader._child is None
        await second.wait()

    asyncio.run(run())
