"""Servers that share a journal, most in PostgreSQL: replicas, and a database that goes away."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mlops.journal.null import NullJournal
from mlops.journal.outage import AWAY
from mlops.journal.records import RevisionEvent
from mlops.journal.writer import JournalWriter
from mlops.serving import past as past_module
from mlops.serving.past import Past
from mlops.spec.attribution import Attribution
from mlops.spec.deployment import Revision, to_dict
from mlops.spec.request_id import read
from mlops.spec.server import Served
from tests.postgresql import PostgreSQL
from tests.serving.models import ROWS, records
from tests.serving.server import KEY, Reply, Server, make_launch, running, served
from tests.waiting import wait_until

_NUMBERS = itertools.count()
_ROW = records(ROWS[:1])


@pytest.fixture
def servers(
    database: PostgreSQL, models: dict[str, Path], tmp_path: Path
) -> Iterator[Callable[..., Server]]:
    """Starts replicas of one deployment, which share their key and journal."""
    name = f"replicated-{next(_NUMBERS)}"
    with contextlib.ExitStack() as stack:

        def run(policy: str = "weighted", workers: int = 1) -> Server:
            folder = tmp_path / f"replica{next(_NUMBERS)}"
            folder.mkdir()
            revision = served(models, name=name, reward="given").revision
            spec = replace(revision.spec, policy=policy)
            launch = replace(
                make_launch(folder, replace(served(models), revision=replace(revision, spec=spec))),
                journal_url=database.url,
                workers=workers,
            )
            return stack.enter_context(running(launch, folder))

        yield run


def test_a_retry_that_reaches_another_replica_is_one_decision(
    servers: Callable[..., Server],
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
    database: PostgreSQL, servers: Callable[..., Server]
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
        for path in ("/report", "/report.json", "/verdict.json"):
            unread = server.get(path)
            assert (unread.status, unread.headers["retry-after"]) == (503, "10")
            assert unread.body.decode() == AWAY
        request_id = server.predict(_ROW).request_id
        for reply in (
            server.post("/feedback", {"request_id": request_id, "reward": 1}),
            server.post(
                "/api/v1.0/feedback", {"response": {"meta": {"puid": request_id}}, "reward": 1}
            ),
        ):
            assert (reply.status, AWAY in reply.body.decode()) == (503, True)
        page = server.get("/ui/requests").body.decode()
        assert AWAY in page
        # Where it is, is for the log and for commands on this machine.
        assert "connection to server" not in page
        assert "connection to server" in "".join(server.admin("GET", "/status").json["warnings"])
        assert server.log.count(" WARNING journal: ") == 1
        statuses.append(503)
        # The last one is counted a moment after its answer.
        wait_until(lambda: server.metrics()[("mlops_journal_pending", ())] >= 20, 60)
    finally:
        database.start()
    wait_until(shop)
    journal = server.journal()
    # What waited was written, nothing was shed, and everything acknowledged is there once.
    assert sum(traffic.drawn for traffic in journal.traffic()) == len(statuses)
    assert len(list(journal.observations())) == len(acknowledged)
    assert journal.losses() == {}
    journal.close()
    assert server.stop() == 0


def test_decisions_outlive_a_server_that_dies_while_the_journal_is_away(
    database: PostgreSQL, servers: Callable[..., Server]
) -> None:
    server = servers()
    before = [server.predict(_ROW) for _ in range(5)]
    server.journal().close()
    spool = server.folder / f"{server.launch.name}.spool"
    database.stop()
    try:
        away = [server.predict(_ROW) for _ in range(30)]
        assert {answer.status for answer in away} == {200}
        refused = server.post("/feedback", {"request_id": away[0].request_id, "reward": 1})
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")

        def lines() -> int:
            return sum(path.read_bytes().count(b"\n") for path in spool.glob("*"))

        wait_until(lambda: lines() == 30)
        server.kill()
    finally:
        database.start()
    with running(server.launch, server.folder) as other:
        journal = other.journal()
        wait_until(lambda: journal.totals()["requests"] == 35)
        wait_until(lambda: not list(spool.glob("*")))
        drawn = {request.nonce for request in journal.drawn_requests([1])}
        assert len(drawn) == 35
        reply = other.post("/feedback", {"request_id": before[0].request_id, "reward": 1})
        assert reply.status == 200
        journal.close()


@pytest.mark.usefixtures("eager_consumers")
def test_replicas_and_their_workers_learn_as_one(servers: Callable[..., Server]) -> None:
    """Each outcome counts once, wherever it came in; all draw by what follows within a second."""
    # It publishes with every reward.
    policy = "linear-greedy features=alcohol floor=0.2 warm_up=5"
    two = servers(policy, 2), servers(policy)
    names = [arm.name for arm in two[0].launch.served.revision.spec.arms]
    best = names[0]

    def ask(n: int) -> Iterator[tuple[Server, str, str]]:
        for number in range(n):
            asked, told = two[number % 2], two[number // 2 % 2]
            # A connection of its own reaches any worker.
            asked.hang_up()
            answer = asked.predict(_ROW)
            yield told, answer.request_id, answer.arm

    def tell(n: int) -> int:
        for told, request_id, arm in ask(n):
            for _ in range(2):  # a retry
                sent = {"request_id": request_id, "reward": float(arm == best)}
                assert told.post("/feedback", sent).status == 200
        return time.time_ns() // 1_000_000

    tell(40)
    journal = two[0].journal()

    def seen() -> int:
        newest = journal.epochs([1])[-1]
        return sum((newest.parameters or {}).get("seen", ()))

    wait_until(lambda: seen() == 40)
    # Learning has begun: what comes from now on is in force soon, everywhere.
    told_ms = tell(10)
    wait_until(lambda: seen() == 50)
    # The journal is read once a second.
    assert journal.epochs([1])[-1].time_ms - told_ms < 5_000
    asked = 50

    def in_force() -> bool:
        nonlocal asked
        ids = [request_id for _, request_id, _ in ask(24)]
        asked += len(ids)
        wait_until(lambda: journal.totals()["requests"] == asked)
        epochs = {each.nonce: each.epoch for each in journal.drawn_requests([1])}
        known = {each.epoch: each.probabilities for each in journal.epochs([1])}
        return {known[epochs[read(KEY, each).nonce]] for each in ids} == {(0.8, 0.2)}

    wait_until(in_force)
    drawn = Counter(arm for _, _, arm in ask(100))
    assert abs(drawn[best] - 80) < 5.5 * math.sqrt(100 * 0.8 * 0.2)
    wait_until(lambda: journal.totals()["requests"] == asked + 100)
    requests = list(journal.drawn_requests([1]))
    known = {each.epoch: each.probabilities for each in journal.epochs([1])}
    assert {known[each.epoch] for each in requests[-100:]} == {(0.8, 0.2)}
    assert all(each.propensity == known[each.epoch][each.arm] for each in requests)
    assert journal.totals()["outcomes"] == seen() == 50
    journal.close()


def test_feedback_about_a_newer_revision_of_another_replica(
    models: dict[str, Path], tmp_path: Path
) -> None:
    """While an update rolls, feedback on what the new replica answers also comes to the old one."""
    old = served(models, reward="given")
    attribution = Attribution(repeated="sum", outcome_ids=True)
    spec = replace(old.revision.spec, attribution=attribution, reward_range=(0.0, 5.0))
    new = replace(old, revision=Revision(2, spec))
    with contextlib.ExitStack() as stack:

        def run(what: Served) -> Server:
            folder = tmp_path / f"revision{what.revision.number}"
            folder.mkdir()
            launch = make_launch(folder, what)
            launch = replace(launch, journal_url=f"sqlite:///{tmp_path}/shared.db")
            return stack.enter_context(running(launch, folder))

        first, second = run(old), run(new)
        request_id = second.predict(_ROW).request_id
        second.journal().close()

        def send(reward: float, **more: str) -> Reply:
            return first.post("/feedback", {"request_id": request_id, "reward": reward, **more})

        assert send(1.0).status == 422, "without an id"
        assert send(9.0, outcome_id="far").status == 422
        for number in (1, 2):
            reply = send(1.0, outcome_id=f"{number}")
            assert (reply.status, reply.json["counts"]) == (200, {"accepted": 1})
        # An older one is late, as before.
        earlier = first.predict(_ROW).request_id
        first.journal().close()
        reply = second.post("/feedback", {"request_id": earlier, "reward": 1.0})
        assert reply.json["counts"] == {"accepted": 1, "late": 1}


def test_feedback_does_not_wait_for_a_journal_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, models: dict[str, Path]
) -> None:
    monkeypatch.setattr(past_module, "_LOOK_S", 0.05)
    gate, reads, reading = threading.Event(), list[int](), threading.Event()

    class Hanging(NullJournal):
        def revision_events(self) -> list[RevisionEvent]:
            reads.append(1)
            reading.set()
            gate.wait(60)
            return [RevisionEvent(2, 0, "live", to_dict(served(models).revision.spec))]

    journal = Hanging()
    writer = JournalWriter(journal, lambda _: None)
    past = Past(journal, writer, make_launch(tmp_path, served(models)), KEY)

    async def look() -> None:
        # Neither again for the same one, nor a second time while the first read hangs.
        for number in (2, 2, 3):
            await past.look_for([number])
        assert await asyncio.to_thread(reading.wait, 120)
        assert (past.specs, len(reads)) == ({}, 1)
        gate.set()
        await asyncio.to_thread(wait_until, lambda: past.specs)

    asyncio.run(look())
    assert past.specs.keys() == {2}
    writer.close()
