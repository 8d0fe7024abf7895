"""Requests that arrive together are answered together, and each as if it were alone."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import signal
import socket
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from uvicorn.server import ServerState

from mlops.journal.null import URL, open_journal
from mlops.journal.writer import JournalWriter
from mlops.serving import event_loop
from mlops.serving.access import Gate
from mlops.serving.admission import ALWAYS, Admission
from mlops.serving.app import App, KnownHead
from mlops.serving.browsers import Guard
from mlops.serving.dataplane import DataPlane
from mlops.serving.feedback_service import FeedbackService
from mlops.serving.listening import make_server
from mlops.serving.lockstep import Lockstep, Steps, at_once
from mlops.serving.metrics import Metrics
from mlops.serving.recording import Recorder
from mlops.serving.request_bodies import MemoryBudget
from mlops.serving.revision import load_revision
from mlops.serving.shadows import Shadows
from mlops.serving.slow_clients import TimeoutHttpProtocol
from tests.hostile.wire import GOOD, Wire, request
from tests.serving.models import ROWS
from tests.serving.server import KEY, Server, served
from tests.waiting import wait_until

_COEFFICIENTS = {"a": (1.0, 2.0, 3.0), "b": (-1.0, 0.5, 10.0)}


class Callers:
    """Notes who was answered what."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.answers: dict[str, str | None] = {}

    def answer(self, name: str, body: bytes) -> Steps[str]:
        for _ in range(len(body)):
            self.steps.append(name)
            yield
        if name == "broken":
            raise ValueError("a fault of ours")
        return name * 2

    def refuse(self, name: str) -> str:
        if name == "unwelcome":
            raise ValueError("a fault of ours")
        return "refused"

    def respond(self, name: str, answer: str | None) -> None:
        if name == "gone":
            raise OSError("nobody is there")
        self.answers[name] = answer


def test_a_step_of_each_comes_before_the_next_of_any() -> None:
    callers = Callers()

    async def run() -> None:
        lockstep = Lockstep(callers.answer, callers.refuse)
        for name, steps in (
            ("a", b"123"),
            ("b", b"1"),
            ("gone", b""),
            ("broken", b"12"),
            ("c", b"12"),
        ):
            lockstep.add(callers, name, steps)
        assert not callers.steps
        await asyncio.sleep(0)
        assert callers.answers == {"a": "aa", "b": "bb", "broken": None, "c": "cc"}
        lockstep.add(callers, "later", b"1")
        lockstep.run()
        assert callers.answers["later"] == "laterlater"
        await asyncio.sleep(0)

    asyncio.run(run())
    assert " ".join(callers.steps) == "a b broken c a broken c a later"


def test_many_at_once_are_each_answered_once() -> None:
    callers = Callers()
    names = [f"n{number}" for number in range(100)]

    async def run() -> None:
        lockstep = Lockstep(callers.answer, callers.refuse)
        for name in names:
            lockstep.add(callers, name, b"12")
        await asyncio.sleep(0)

    asyncio.run(run())
    assert callers.answers == {name: name * 2 for name in names}


def test_an_overload_does_not_answer_the_same_callers_first() -> None:
    names = [f"n{number}" for number in range(200)]
    first = set()

    async def run() -> None:
        for _ in range(20):
            callers = Callers()
            lockstep = Lockstep(callers.answer, callers.refuse)
            for name in names:
                lockstep.add(callers, name, b"1")
            lockstep.run()
            assert sorted(callers.answers) == sorted(names)
            first.add(callers.steps[0])

    asyncio.run(run())
    assert len(first) > 5


def test_a_refusal_that_fails_breaks_no_other() -> None:
    callers = Callers()
    ended: list[int] = []

    class Full(Admission):
        def begin(self, waiting: int) -> int:
            return 0

        def end(self, answered: int, refused: int) -> None:
            ended.append(refused)

    async def run() -> None:
        lockstep = Lockstep(callers.answer, callers.refuse)
        lockstep._admission = Full()
        for name in ("a", "unwelcome", "b"):
            lockstep.add(callers, name, b"")
        await asyncio.sleep(0)

    asyncio.run(run())
    assert callers.answers == {"a": "refused", "unwelcome": None, "b": "refused"}
    assert ended == [3]


def test_one_alone_is_taken_through_its_steps() -> None:
    assert at_once(Callers().answer("a", b"1234")) == "aa"
    with pytest.raises(ValueError, match="ours"):
        at_once(Callers().answer("broken", b""))


def test_neighbours_get_their_own_answers(server: Server) -> None:
    """The server is stopped while sixty requests arrive, and finds them all in one turn."""
    chance = random.Random(3)
    asked: list[tuple[Wire, int, list[float], str]] = []
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(Wire(server)) for _ in range(60)]
        for wire in wires:
            # Heads that are known go the shortest way.
            for _ in range(2):
                assert wire.send(request("/invocations", GOOD)).reply().status == 200
        before = decisions(server)
        server.process.send_signal(signal.SIGSTOP)
        try:
            for number, wire in enumerate(wires):
                kind = chance.choice(["good", "good", "forced", "malformed", "mismatch", "unique"])
                row = [round(chance.uniform(0, 12), 3) for _ in ROWS[0]]
                wire.send(_asking(kind, row, number))
                asked.append((wire, number, row, kind))
        finally:
            server.process.send_signal(signal.SIGCONT)
        ids = [_check(wire, row, kind) for wire, _, row, kind in asked]
    assigned = [each for each in ids if each]
    assert len(set(assigned)) == len(assigned) > 30
    assert {kind for *_, kind in asked} == {"good", "forced", "malformed", "mismatch", "unique"}
    assert decisions(server) - before == len(assigned)


def _asking(kind: str, row: list[float], number: int) -> bytes:
    if kind == "malformed":
        return request("/invocations", b'{"instances": 1, "inputs": 2}')
    cells: list[Any] = ["text", *row[1:]] if kind == "mismatch" else row
    body = json.dumps({"instances": [cells]}).encode()
    headers = {"forced": [b"X-Mlops-Arm: b"], "unique": [b"Traceparent: 00-%d" % number]}
    return request("/invocations", body, *headers.get(kind, []))


def _check(wire: Wire, row: list[float], kind: str) -> str:
    """Check an answer; return its request id."""
    reply = wire.reply()
    if kind in ("malformed", "mismatch"):
        assert reply.status == 400
        return reply.headers.get("x-mlops-request-id", "")
    assert reply.status == 200
    assert kind != "forced" or reply.arm == "b"
    expected = sum(c * x for c, x in zip(_COEFFICIENTS[reply.arm], row, strict=True))
    assert reply.json["predictions"][0] == pytest.approx(expected)
    return reply.request_id


def decisions(server: Server) -> int:
    with contextlib.closing(server.journal()) as journal:
        return journal.totals()["requests"]


class Pipe(asyncio.Transport):
    """A connection that notes what is done to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: Any) -> None:
        assert not self.closed
        self.written.append(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


@pytest.mark.parametrize("end", ["stop", "more"])
def test_what_has_arrived_is_answered_first(models: dict[str, Path], end: str) -> None:
    """A connection that ends, or goes on, while a request waits for its turn."""
    config = make_server(_application(models)).config

    async def run() -> list[bytes]:
        pipe = Pipe()
        protocol = TimeoutHttpProtocol(config, ServerState(), {})
        protocol.connection_made(pipe)
        for _ in range(2):
            protocol.data_received(request("/invocations", GOOD))
            await asyncio.sleep(0)
        assert len(pipe.written) == 2
        protocol.data_received(request("/invocations", GOOD))
        assert len(pipe.written) == 2
        if end == "stop":
            protocol.shutdown()
            assert pipe.closed
        else:
            protocol.data_received(request("/invocations", b"{"))
            protocol.data_received(request("/invocations", GOOD))
            await asyncio.sleep(0)
        protocol.connection_lost(None)
        return [written.split(maxsplit=2)[1] for written in pipe.written[2:]]

    statuses = asyncio.run(run())
    assert statuses == ([b"200"] if end == "stop" else [b"200", b"400", b"200"])


class BusyApp(App):
    """Takes a millisecond for each request."""

    def answer(self, head: KnownHead, body: bytes) -> Steps[bytes | Coroutine[Any, Any, bytes]]:
        time.sleep(0.001)
        return (yield from super().answer(head, body))


def test_a_burst_is_answered_as_far_as_there_is_time(models: dict[str, Path]) -> None:
    app = _application(models, BusyApp)
    server = make_server(app)

    async def run() -> list[bytes]:
        listening = socket.create_server(("127.0.0.1", 0), backlog=256)
        address = listening.getsockname()
        serving = asyncio.create_task(server.serve([listening]))
        with contextlib.ExitStack() as stack:
            callers = [
                stack.enter_context(socket.create_connection(address, timeout=30))
                for _ in range(200)
            ]
            for _ in range(2):
                assert await _ask_in_turn(callers) == [b"200"] * len(callers)
            # On the loop's own thread, so that all have arrived in its next turn.
            for caller in callers:
                caller.sendall(request("/invocations", GOOD))
            said = await asyncio.to_thread(lambda: [caller.recv(65_536) for caller in callers])
            assert await _ask_in_turn(callers[-1:]) == [b"200"]
        server.should_exit = True
        await serving
        return said

    said = asyncio.run(run())
    refused = [each for each in said if each.startswith(b"HTTP/1.1 503 ")]
    assert len([each for each in said if each.startswith(b"HTTP/1.1 200 ")]) >= ALWAYS
    assert len(refused) >= 70
    assert all(b"retry-after: 1\r\n" in each for each in refused)
    assert all(b"send this again shortly" in each for each in refused)


def test_a_burst_of_connections_is_accepted_at_once(models: dict[str, Path]) -> None:
    """Each turn of a busy loop may take a twentieth of a second."""
    server = make_server(_application(models))
    turns = 0

    async def connect(callers: contextlib.ExitStack) -> None:
        nonlocal turns
        listening = socket.create_server(("127.0.0.1", 0), backlog=512)
        serving = asyncio.create_task(server.serve([listening]))
        address = listening.getsockname()
        first = callers.enter_context(socket.create_connection(address, timeout=30))
        assert await _ask_in_turn([first]) == [b"200"]
        for _ in range(399):
            callers.enter_context(socket.create_connection(address, timeout=30))
        wait_until(lambda: _backlog(listening) == 399)
        while len(server.server_state.connections) < 400:
            turns += 1
            await asyncio.sleep(0)
        server.should_exit = True
        await serving

    with contextlib.ExitStack() as callers:
        event_loop.run(connect(callers))
    assert turns < 10


def _backlog(listening: socket.socket) -> int:
    """Return how many connections wait to be accepted: `tcpi_unacked` of Linux, see tcp(7)."""
    state = listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32)
    return int.from_bytes(state[24:28], sys.byteorder)


async def _ask_in_turn(callers: list[socket.socket]) -> list[bytes]:
    def ask(caller: socket.socket) -> bytes:
        caller.sendall(request("/invocations", GOOD))
        return caller.recv(65_536).split(maxsplit=2)[1]

    return await asyncio.to_thread(lambda: [ask(caller) for caller in callers])


def _application(models: dict[str, Path], kind: type[App] = App) -> App:
    live = load_revision(served(models))
    writer = JournalWriter(open_journal(URL), lambda _: None)
    metrics = Metrics("wine", dict)
    recorder = Recorder(writer, metrics, Shadows(KEY, writer, metrics), "all")
    plane = DataPlane(live, KEY, recorder)
    desk = FeedbackService(plane, metrics, {1: live.served.revision.spec})

    async def page(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("no page was asked for")

    guard = Guard("127.0.0.1", ())
    return kind(plane, desk, writer, metrics, page, Gate(), MemoryBudget(0), guard)
