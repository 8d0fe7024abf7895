"""Servers whose journal is in PostgreSQL: replicas that share it, and a database that goes away."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes import until
from tests.postgresql import PostgreSQL
from tests.serving.models import ROWS, records
from tests.serving.server import Server, make_launch, running, served

_NUMBERS = itertools.count()
_ROW = records(ROWS[:1])


@pytest.fixture
def servers(
    database: PostgreSQL, models: dict[str, Path], tmp_path: Path
) -> Iterator[Callable[[], Server]]:
    """Starts replicas of one deployment, which share their key and journal."""
    name = f"replicated-{next(_NUMBERS)}"
    with contextlib.ExitStack() as stack:

        def run() -> Server:
            folder = tmp_path / f"replica{next(_NUMBERS)}"
            folder.mkdir()
            launch = make_launch(folder, served(models, name=name))
            return stack.enter_context(running(replace(launch, journal_url=database.url), folder))

        yield run


def test_a_retry_that_reaches_another_replica_is_one_decision(
    servers: Callable[[], Server],
) -> None:
    first, second = servers(), servers()
    answers = [
        server.predict(_ROW, idempotency_key=f"order-{number}")
        for number in range(20)
        for server in (first, second)
    ]
    assert all(answer.status == 200 for answer in answers)
    pairs = zip(answers[::2], answers[1::2], strict=True)
    assert all(a.arm == b.arm for a, b in pairs)
    receipts = [
        server.post("/feedback", {"request_id": answer.request_id, "reward": 1}).json["counts"]
        for server, answer in zip((first, second) * 20, answers, strict=True)
    ]
    assert sum(counts.get("duplicate", 0) for counts in receipts) == 20
    first.journal().close()
    journal = second.journal()
    assert sum(traffic.drawn for traffic in journal.traffic()) == 20
    assert len(list(journal.observations())) == 20
    journal.close()


def test_a_journal_that_goes_away_and_comes_back(
    database: PostgreSQL, servers: Callable[[], Server]
) -> None:
    server = servers()
    acknowledged: list[str] = []
    statuses: list[int] = []

    def shop() -> bool:
        """One customer; whether the feedback was taken."""
        answer = server.predict(_ROW)
        assert answer.status == 200
        reply = server.post("/feedback", {"request_id": answer.request_id, "reward": 1})
        statuses.append(reply.status)
        if reply.status == 200:
            acknowledged.append(answer.request_id)
        return reply.status == 200

    assert sum(shop() for _ in range(20)) == 20
    database.stop()
    try:
        refused = [shop() for _ in range(20)]
        assert not any(refused)
        assert set(statuses[-20:]) == {503}
        waiting = server.metrics()[("mlops_journal_pending", ())]
        assert waiting >= 19
    finally:
        database.start()
    until(shop)
    journal = server.journal()
    # What waited was written, nothing was shed, and everything acknowledged is there once.
    assert sum(traffic.drawn for traffic in journal.traffic()) == len(statuses)
    assert len(list(journal.observations())) == len(acknowledged)
    assert journal.losses() == {}
    journal.close()
    assert server.stop() == 0
