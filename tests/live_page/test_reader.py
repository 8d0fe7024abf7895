"""The process that reads the journal for the live page: it comes and goes, and answers."""

from __future__ import annotations

import asyncio
import datetime as dt
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mlops.errors import NotFoundError, RemoteError
from mlops.journal.sql import SqlJournal
from mlops.live_page import __main__ as process
from mlops.serving.live_page import reader as module
from mlops.serving.live_page.hub import PARTS as ASKED
from mlops.serving.live_page.reader import Reader
from tests.monitoring.journals import Stage, fill, numbers


def test_it_answers_again_after_it_was_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlops.live_page.sections import PARTS

    assert set(ASKED) == set(PARTS)
    url = f"sqlite:///{tmp_path / 'journal.db'}"
    journal = SqlJournal(url)
    fill(journal, ["a", "b"], [Stage([0.5, 0.5], 200)], numbers([0, 0]))
    journal.close()
    about = {
        "deployment": "wine",
        "journal_url": url,
        "key": bytes(range(32)).hex(),
        "alpha": 0.05,
        "baseline": "",
        "consumers": [],
        "state_file": str(tmp_path / "state.json"),
        "hidden": [],
    }

    async def run() -> None:
        reader = Reader(about)
        reader.release_memory()
        assert reader._child.pid is None
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
        child = reader._heard
        assert child is not None
        reader.release_memory()
        assert reader._child.pid == child.pid
        # The kernel ends it in the middle of a question.
        waiting = asyncio.create_task(reader.ask("part", name="quality", look=2))
        await asyncio.sleep(0)
        assert reader._asked
        os.kill(child.pid, signal.SIGKILL)
        with pytest.raises(RemoteError, match="has ended"):
            await waiting
        monkeypatch.setattr(module, "_LARGE_BYTES", 0)
        reader._child._idle_s = 0.05
        assert (await reader.ask("history", every_s=5, points=3))["points"]
        second = reader._heard
        assert second is not None
        assert second.pid != child.pid
        reader.release_memory()
        assert reader._child.pid is None
        await second.wait()

    asyncio.run(run())


def test_parts_without_statistics_do_not_wait_for_them(tmp_path: Path) -> None:
    """Importing these takes seconds, and a busy machine needs many times as long."""
    url = f"sqlite:///{tmp_path / 'journal.db'}"
    journal = SqlJournal(url)
    fill(journal, ["a", "b"], [Stage([0.5, 0.5], 50)], numbers([0, 0]))
    journal.close()
    script = (
        "import sys\n"
        "from mlops.journal.sql import SqlJournal\n"
        "from mlops.live_page.sections import part\n"
        "from mlops.live_page.source import Source\n"
        f"journal = SqlJournal({url!r})\n"
        "source = Source('wine', journal, bytes(32), 0.05, '', (), '', lambda *_: [])\n"
        "for name in ('consumers', 'revisions', 'shares'):\n"
        "    assert 'could not be' not in part(source, name, 1)['html']\n"
        "assert 'scipy' not in sys.modules\n"
        "assert 'minus a' in part(source, 'verdict', 1)['html']\n"
        "assert 'scipy' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_it_steps_back_after_a_first_look(monkeypatch: pytest.MonkeyPatch) -> None:
    set_to: set[tuple[int, int]] = set()
    monkeypatch.setattr(os, "setpriority", lambda _, thread, nice: set_to.add((thread, nice)))
    spent = iter([0.0, 1.0, process._HURRY_S + 1])
    monkeypatch.setattr(time, "process_time", lambda: next(spent))
    monkeypatch.setattr(process, "_LOOK_AGAIN_S", 0.0)
    process._step_back()
    assert (threading.get_native_id(), 10) in set_to
    assert next(spent, None) is None


def _wrong_kind(experiment: str, rows: Any) -> Any:
    return [[dt.datetime(2026, 3, 1, tzinfo=dt.UTC)]]


def _broken(experiment: str, rows: Any) -> Any:
    raise ZeroDivisionError


@pytest.mark.parametrize("ask", [_wrong_kind, _broken])
def test_arms_that_cannot_be_asked_are_an_answer(ask: Any) -> None:
    said: list[bytes] = []
    child: Any = SimpleNamespace(stdin=SimpleNamespace(write=said.append))
    question = {"number": -1, "experiment": "e", "rows": [[1]]}
    asyncio.run(Reader({}, ask)._predict(child, question))
    (answer,) = map(json.loads, said)
    assert answer["number"] == -1
    assert "could not be asked" in answer["error"]["message"]


def test_a_report_does_not_wait_for_arms_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_TIMEOUT_S", 0.01)
    line = process._Line(io.StringIO())
    with pytest.raises(RemoteError, match="does not say"):
        line.ask("e", [[1]])
    # An answer that comes later is no question.
    assert line.took({"number": -1, "arms": []})


def test_a_process_that_says_too_much_is_ended_and_fails_its_own_questions() -> None:
    async def run() -> None:
        reader = Reader({})
        program = "print('x' * 200_000, flush=True); import time; time.sleep(600)"
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE, limit=1_000
        )
        loop = asyncio.get_running_loop()
        mine, other = loop.create_future(), loop.create_future()
        reader._asked = {1: (child, mine), 2: (object(), other)}
        async with asyncio.timeout(20):
            await reader._listen(child)
        assert child.returncode == -signal.SIGKILL
        assert isinstance(mine.exception(), RemoteError)
        assert not other.done()

    asyncio.run(run())
