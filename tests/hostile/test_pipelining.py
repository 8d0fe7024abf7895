"""Requests that come in pieces, or many at once: the short way and the long give one order."""

from __future__ import annotations

import gzip
import random
import socket
import time
from pathlib import Path

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tests.hostile.wire import GOOD, Wire, request
from tests.serving.server import Server

_MIB = 1024 * 1024


def mixed() -> list[tuple[bytes, int]]:
    """Requests of every way through the server, with their statuses."""
    chunked = b"POST /invocations HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    return [
        (request("/invocations", GOOD), 200),
        (request("/invocations", GOOD), 200),
        (request("/invocations", GOOD, b"X-Request-Id: order 7"), 200),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
        (request("/invocations", b"{"), 400),
        (request("/v2/models/beer/infer", GOOD), 404),
        (chunked + b"%x\r\n%b\r\n0\r\n\r\n" % (len(GOOD), GOOD), 200),
        (request("/invocations", gzip.compress(GOOD), b"Content-Encoding: gzip"), 200),
        (request("/feedback", b'{"client_id": "nobody", "reward": 1}'), 404),
        (request("/invocations", GOOD), 200),
    ]


def test_uvicorn_has_the_step_that_the_short_way_replaces() -> None:
    """Without it everything would go the long way, and only a benchmark would tell."""
    assert "_start_asgi_task" in vars(HttpToolsProtocol)


@pytest.mark.parametrize("seed", range(8))
def test_any_pieces_give_the_answers_in_order(server: Server, seed: int) -> None:
    chance = random.Random(seed)
    requests = chance.sample(mixed(), k=10) + chance.sample(mixed(), k=6)
    stream = b"".join(data for data, _ in requests)
    cuts = sorted(chance.sample(range(1, len(stream)), k=chance.choice([0, 3, 40])))
    with Wire(server) as wire:
        for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            wire.send(stream[start:stop])
            if chance.random() < 0.3:
                time.sleep(0.002)
        assert [wire.reply().status for _ in requests] == [status for _, status in requests]


def test_both_ways_have_the_same_headers(server: Server) -> None:
    with Wire(server) as wire:
        long = wire.send(request("/invocations", GOOD, b"Expect: 100-continue")).reply()
        if long.status == 100:
            long = wire.reply()
        short = wire.send(request("/invocations", GOOD)).reply()
        again = wire.send(request("/invocations", GOOD)).reply()
        last = wire.send(request("/invocations", GOOD, b"Connection: close")).reply()
        assert wire.closed
    assert (long.status, short.status, again.status) == (200, 200, 200), (short, again)
    assert long.headers.keys() == short.headers.keys() == again.headers.keys()
    assert last.headers.keys() - short.headers.keys() == {"connection"}
    assert len({reply.request_id for reply in (long, short, again, last)}) == 4
    old = b"POST /invocations HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(GOOD)
    with Wire(server) as wire:
        assert wire.send(old + GOOD).reply().status == 200
        assert wire.closed


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", id="pages"),
        pytest.param(request("/invocations", GOOD), id="predictions"),
    ],
)
def test_what_is_pipelined_and_never_read_costs_little(server: Server, data: bytes) -> None:
    """Twenty callers send as much as they can, and read nothing."""
    before = memory(server)
    burst = data * (256 * 1024 // len(data))
    callers = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(20)]
    sent = 0
    try:
        deadline = time.monotonic() + 2
        for caller in callers:
            caller.setblocking(False)
        while time.monotonic() < deadline:
            for caller in callers:
                try:
                    sent += caller.send(burst)
                except (BlockingIOError, ConnectionError):
                    time.sleep(0.001)
        assert sent > _MIB
        started = time.monotonic()
        assert server.predict([dict.fromkeys(("fixed acidity", "alcohol", "sulphates"), 1.0)])
        assert time.monotonic() - started < 5
        # It took 70 times the bytes before.
        assert memory(server) - before < 60 * _MIB
    finally:
        for caller in callers:
            caller.close()


def memory(server: Server) -> int:
    """Resident bytes of the server."""
    pages = Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]
    return int(pages) * 4096


@pytest.mark.parametrize("forced", [b"a", b"b"])
def test_a_head_is_not_taken_for_the_one_behind_it(server: Server, forced: bytes) -> None:
    """What is remembered of a head is of all connections: it chose the arm for other callers."""
    usual = request("/invocations", GOOD, b"X-Sent: with " + forced)
    chosen = request("/invocations", GOOD, b"X-Mlops-Arm: " + forced)
    arm = server.call("POST", "/invocations", GOOD).arm  # it is drawn by a field of the row
    with Wire(server) as wire:
        wire.send(usual + chosen)
        assert (wire.reply().arm, wire.reply().arm) == (arm, forced.decode())
    with Wire(server) as wire:
        assert [wire.send(usual).reply().arm for _ in range(2)] == [arm, arm]


@pytest.mark.parametrize("before", [b"\r\n\r\n", b"\r\n"])
def test_blank_lines_are_no_head_that_is_known(server: Server, before: bytes) -> None:
    """After them and a body, a caller went on with the key of another caller."""
    with Wire(server) as wire:
        assert wire.send(before + request("/invocations", GOOD)).reply().status == 200
    with Wire(server) as wire:
        assert wire.send(before + GOOD).reply().status == 400


def test_no_score_is_unrecorded_where_there_are_no_keys(server: Server) -> None:
    assert server.post("/score", {"rows": [[7.4, 9.4, 0.56]]}).status == 403
