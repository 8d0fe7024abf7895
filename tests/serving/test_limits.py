"""What is refused for lack of memory, time or disk, in the words of each protocol."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mlops.journal.base import JournalFullError, JournalUnavailableError
from mlops.journal.outage import AWAY, FULL
from mlops.journal.writer import JournalWriter
from mlops.protocols.base import ProtocolError
from mlops.serving import request_bodies
from mlops.serving.access import Gate
from mlops.serving.app import App
from mlops.serving.browsers import Guard
from mlops.serving.dataplane import DataPlane
from mlops.serving.feedback_service import FeedbackService
from mlops.serving.metrics import Metrics
from mlops.serving.request_bodies import (
    MAX_BODY,
    SMALL_BODY,
    MemoryBudget,
    budget_within,
    memory_limit,
    read_body,
    release,
)
from tests.fakes import FakeJournal
from tests.hostile.wire import Wire, request
from tests.serving.models import ROWS, records
from tests.serving.server import Reply, Server, make_launch, served

GUARD = Guard("127.0.0.1", ())

Message = MutableMapping[str, Any]
SELDON = b'{"response": {"meta": {"puid": "order 7"}}, "reward": 1}'
OURS = b'{"client_id": "order 7", "reward": 1}'


class Door:
    """An application that takes feedback for a journal that fails when told to."""

    def __init__(self) -> None:
        self.journal = FakeJournal()
        self.writer = JournalWriter(self.journal, lambda stored: None)
        metrics = Metrics("wine", dict)
        # No request gets as far as a model.
        nobody = cast(DataPlane, SimpleNamespace(live=SimpleNamespace(in_graph=False)))
        desk = FeedbackService(nobody, metrics, {})
        self.app = App(
            nobody,
            desk,
            self.writer,
            metrics,
            self._no_page,
            Gate(),
            MemoryBudget(0),
            GUARD,
        )

    async def _no_page(self, *_: object) -> None:
        raise AssertionError("no page is asked for")

    def ask(self, path: str, body: bytes | None) -> tuple[int, dict[str, str], Any]:
        """Post a body; None never comes."""
        sent: list[Message] = []

        async def receive() -> Message:
            if body is None:
                raise TimeoutError
            return {"type": "http.request", "body": body}

        async def send(message: Message) -> None:
            sent.append(message)

        scope = {"type": "http", "path": path, "method": "POST", "headers": []}
        asyncio.run(self.app(scope, receive, send))
        headers = {k.decode(): v.decode() for k, v in sent[0]["headers"]}
        return sent[0]["status"], headers, json.loads(sent[1]["body"])


@pytest.fixture
def door() -> Iterator[Door]:
    made = Door()
    yield made
    made.writer.close()


@pytest.mark.parametrize(
    ("failure", "status", "told"),
    [
        (JournalFullError("The disk `/srv` is full.", hint="Free space."), 507, FULL),
        (JournalUnavailableError("The journal at 10.0.0.7 is out of order."), 503, AWAY),
    ],
)
def test_a_journal_that_fails_is_told_in_the_protocols_words(
    door: Door, failure: JournalUnavailableError, status: int, told: str
) -> None:
    door.journal.failure = failure
    got, headers, document = door.ask("/api/v1.0/feedback", SELDON)
    assert got == status
    assert ("retry-after" in headers) == (status == 503)
    assert document["status"]["reason"] == "MICROSERVICE_INTERNAL_ERROR"
    assert document["status"]["info"] == told
    got, _, document = door.ask("/feedback", OURS)
    assert got == status
    assert document["error"] == told


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("/api/v1.0/feedback", ("status", "info")),
        ("/api/v1.0/predictions", ("status", "info")),
        ("/invocations", ("message",)),
        ("/v2/models/wine/infer", ("error",)),
        ("/feedback", ("error",)),
    ],
)
def test_a_body_that_does_not_come_is_told_in_the_protocols_words(
    door: Door, path: str, where: tuple[str, ...]
) -> None:
    status, headers, document = door.ask(path, None)
    assert (status, headers["connection"]) == (408, "close")
    for key in where:
        document = document[key]
    assert document == "The body took too long to arrive."


def read(
    budget: MemoryBudget, *pieces: bytes, headers: dict[str, str] | None = None
) -> bytes | None:
    """Read a body that comes in these pieces; the last empty one says that the caller left."""
    waiting = list(pieces)

    async def receive() -> Message:
        piece = waiting.pop(0)
        if not piece:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": piece, "more_body": bool(waiting)}

    return asyncio.run(read_body(receive, headers or {}, budget))


def left(budget: MemoryBudget) -> int:
    """How much of the budget is free."""
    low, high = 0, 1 << 40
    while low < high:
        middle = (low + high + 1) // 2
        try:
            budget.take(middle)
        except ProtocolError:
            high = middle - 1
        else:
            budget.give_back(middle)
            low = middle
    return low


def test_room_is_taken_and_given_back_however_a_body_ends() -> None:
    budget, half = MemoryBudget(0), b"x" * (MAX_BODY // 2)
    assert left(budget) == MAX_BODY
    whole = read(budget, half, half)
    assert whole is not None
    assert left(budget) == 0
    # There is none left, and a small body needs none.
    for pieces in ((half,), (half, half), (b"x", half)):
        with pytest.raises(ProtocolError, match="at a time"):
            read(budget, *pieces)
    small = read(budget, b"x" * (SMALL_BODY - 1), b"x")
    assert small is not None
    release(small, budget)
    release(whole, budget)
    assert left(budget) == MAX_BODY
    assert read(budget, half, b"") is None
    with pytest.raises(ProtocolError, match="at most"):
        read(budget, half, half, b"x")
    with pytest.raises(ProtocolError, match="not gzip"):
        read(budget, half, headers={"content-encoding": "gzip"})
    assert left(budget) == MAX_BODY


def test_a_crowd_of_large_bodies_is_served_in_turn() -> None:
    budget, size, order = MemoryBudget(0), MAX_BODY // 3, []
    served_at_once = most = 0

    async def caller(number: int) -> None:
        nonlocal served_at_once, most

        async def receive() -> Message:
            # None is read before there is memory for all of it.
            assert left(budget) + served_at_once * size <= MAX_BODY
            return {"type": "http.request", "body": b"x" * size}

        body = await read_body(receive, {"content-length": str(size)}, budget)
        assert body is not None
        served_at_once += 1
        most = max(most, served_at_once)
        await asyncio.sleep(0.001)
        order.append(number)
        served_at_once -= 1
        release(body, budget)

    async def crowd() -> None:
        await asyncio.gather(*(caller(number) for number in range(40)))

    asyncio.run(crowd())
    assert order == list(range(40))
    assert most == 3
    assert left(budget) == MAX_BODY


def test_one_who_waits_for_room_in_vain_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_bodies, "_ROOM_WAIT_S", 0.02)
    budget = MemoryBudget(0)
    budget.take(MAX_BODY)
    with pytest.raises(ProtocolError, match="at a time"):
        read(budget, b"x" * SMALL_BODY * 2, headers={"content-length": str(SMALL_BODY * 2)})
    budget.give_back(MAX_BODY)
    assert left(budget) == MAX_BODY


def test_one_who_gives_up_as_room_comes_free_takes_none_along() -> None:
    """Forty large bodies at once were answered with 500 where two waits ended together."""

    async def scene() -> int:
        budget = MemoryBudget(0)
        budget.take(MAX_BODY)
        waiting = [asyncio.create_task(budget.enter(SMALL_BODY * 2)) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        waiting[1].cancel()
        # Before their tasks run again.
        budget.give_back(MAX_BODY)
        done = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(each) for each in done] == [asyncio.CancelledError] * 2 + [type(None)]
        return left(budget)

    assert asyncio.run(scene()) == MAX_BODY - SMALL_BODY * 2


def test_the_room_fits_the_memory_of_the_container(tmp_path: Path) -> None:
    mib = 1024 * 1024
    own = tmp_path / "self"
    assert memory_limit(tmp_path, own) is None
    (tmp_path / "memory.max").write_text("max\n")
    assert budget_within(128 * mib, memory_limit(tmp_path, own)) == 128 * mib
    (tmp_path / "memory.max").write_text(f"{1024 * mib}\n")
    assert budget_within(128 * mib, memory_limit(tmp_path, own)) == 32 * mib
    assert budget_within(20 * mib, memory_limit(tmp_path, own)) == 20 * mib
    (tmp_path / "memory.max").unlink()
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text(f"{256 * mib}\n")
    assert budget_within(128 * mib, memory_limit(tmp_path, own)) == MAX_BODY


@pytest.mark.parametrize(
    ("line", "file"),
    [
        ("0::/system.slice/wine.service", "system.slice/wine.service/memory.max"),
        ("0::/system.slice/wine.service", "system.slice/memory.max"),
        ("7:cpu,memory:/wine", "memory/wine/memory.limit_in_bytes"),
    ],
)
def test_the_limit_may_be_that_of_a_service(tmp_path: Path, line: str, file: str) -> None:
    """A server with `MemoryMax` of systemd was killed by a dozen large bodies."""
    own, limit = tmp_path / "self", tmp_path / file
    own.write_text(f"1:name=systemd:/other\n{line}\n")
    limit.parent.mkdir(parents=True)
    limit.write_text("1073741824\n")
    (tmp_path / "memory").mkdir(exist_ok=True)
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert memory_limit(tmp_path, own) == 1 << 30


def post_apart(server: Server, path: str, body: bytes) -> Reply:
    """Post over a connection of its own."""
    with Wire(server) as wire:
        return wire.send(request(path, body, b"Content-Type: application/json")).reply()


def test_large_bodies_wait_outside_and_small_ones_do_not(
    models: dict[str, Path], tmp_path: Path, start: Callable[..., Server]
) -> None:
    launch = replace(make_launch(tmp_path, served(models)), max_bodies_mib=16)
    server = start(launch)
    large = json.dumps({"dataframe_records": records(ROWS[:1]) * 130_000}).encode()
    assert SMALL_BODY < len(large) < MAX_BODY
    length = b"Content-Length: %d" % (12 * 1024 * 1024)
    with Wire(server) as holder:
        holder.send(request("/feedback", b" " * (11 * 1024 * 1024), length))
        # What a holder has sent is read while others are served.
        with ThreadPoolExecutor(2) as callers:
            asked = callers.submit(post_apart, server, "/invocations", large)
            seldon_asked = callers.submit(
                post_apart, server, "/api/v1.0/feedback", b" " * len(large)
            )
            assert server.predict(records(ROWS[:1])).status == 200
            refused, seldon = asked.result(), seldon_asked.result()
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        assert refused.json["error_code"] == "TEMPORARILY_UNAVAILABLE"
        assert seldon.status == 503
        assert "send this again" in seldon.json["status"]["info"]
    again = server.post("/invocations", large)
    assert again.status == 200
    assert len(again.json["predictions"]) == 130_000
