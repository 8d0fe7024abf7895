"""The report at the server's `/report`."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mlops.errors import ConflictError, InvalidInputError, NotFoundError
from mlops.journal.base import Journal
from mlops.journal.sql import SqlJournal
from mlops.monitoring.report_json import read_report
from mlops.serving.page_process import PageApart
from mlops.serving.report import Ask, LiveReport
from tests.monitoring.journals import Stage, fill, numbers
from tests.serving.models import ROWS, records
from tests.serving.server import Server


@pytest.fixture
def journal(tmp_path: Path) -> SqlJournal:
    return SqlJournal(f"sqlite:///{tmp_path / 'journal.db'}")


def test_the_server_shows_what_it_has_just_been_told(server: Server) -> None:
    asked = server.predict(records(ROWS[:1]))
    server.post("/feedback", {"request_id": asked.request_id, "truth": 6})
    server.journal().close()
    reply = server.get("/report")
    assert reply.status == 200
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    html = reply.body.decode()
    assert html.startswith("<!doctype html>")
    assert 'data-refresh="30"' in html
    assert re.search(r"<h1>.+</h1>", html)
    assert "b minus a" in html
    # And programs too.
    reply = server.get("/report.json")
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    assert reply.headers["cache-control"] == "no-store"
    assert read_report(reply.json).name == "wine"
    assert reply.json["schema_version"] == 1


def test_the_page_is_documented(server: Server) -> None:
    document = json.loads(server.get("/openapi.json").body)
    answer = document["paths"]["/report"]["get"]["responses"]["200"]
    assert list(answer["content"]) == ["text/html"]
    answer = document["paths"]["/report.json"]["get"]["responses"]["200"]
    assert list(answer["content"]) == ["application/json"]


def test_reloads_do_not_read_the_journal_again(journal: SqlJournal) -> None:
    now = [0.0]
    read = []

    def asks(experiment: str, rows: Sequence[Any]) -> list[list[Any]]:
        raise NotImplementedError

    def write(journal: Journal, *, alpha: float, baseline: str, live: bool, ask: Ask | None) -> str:
        assert (alpha, baseline, live, ask) == (0.01, "b", True, asks)
        read.append(now[0])
        now[0] += 1.0  # it took a second
        return f"page {len(read)}"

    revision = [1]
    live = LiveReport(
        journal, 0.01, "b", asks, lambda: write, lambda: revision[0], clock=lambda: now[0]
    )

    async def look_at(time_s: float) -> str:
        now[0] = max(now[0], time_s)
        return await live()

    async def all_looks() -> list[str]:
        together = await asyncio.gather(*(live() for _ in range(5)))
        return [*together, await look_at(5.0), await look_at(10.9), await look_at(11.0)]

    # Written in one second, so kept for ten more.
    assert asyncio.run(all_looks()) == ["page 1"] * 7 + ["page 2"]
    assert read == [0.0, 11.0]
    # A page of what was live before is not served again, whatever the new one costs.
    revision[0] = 2
    assert asyncio.run(look_at(12.5)) == "page 3"
    assert asyncio.run(look_at(13.0)) == "page 3"


def test_the_page_is_the_report_of_the_journal(journal: SqlJournal) -> None:
    fill(journal, ["old", "new"], [Stage([0.5, 0.5], 300)], numbers([0, 0]))
    html = asyncio.run(LiveReport(journal, 0.05, "")())
    journal.close()
    assert "new minus old" in html
    assert "data-refresh" in html


def test_the_page_of_a_large_journal_is_written_apart(tmp_path: Path) -> None:
    """The same page, from a process that asks for predictions over its pipe."""
    url = f"sqlite:///{tmp_path / 'large.db'}"
    journal = SqlJournal(url)
    fill(journal, ["old", "new"], [Stage([0.5, 0.5], 300)], numbers([0, 0]))
    asked: list[int] = []

    def asks(experiment: str, rows: Sequence[Any]) -> list[list[Any]]:
        asked.append(len(rows))
        raise ConflictError("Another experiment is live.")

    here, apart = (
        json.loads(
            PageApart("evidence", "wine", url, few=few)(
                journal, alpha=0.05, baseline="", live=True, ask=asks
            )
        )
        for few in (1_000, 10)
    )
    for document in (here, apart):
        document.pop("generated_ms", None)
    assert apart == here
    assert len(set(asked)) <= 1
    with pytest.raises(InvalidInputError, match="beer"):
        PageApart("report", "wine", url, few=10)(
            journal, alpha=0.05, baseline="beer", live=True, ask=None
        )
    journal.close()


def test_an_empty_journal_has_no_page(journal: SqlJournal) -> None:
    with pytest.raises(NotFoundError):
        asyncio.run(LiveReport(journal, 0.05, "")())
    journal.close()
