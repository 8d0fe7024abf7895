"""Callers that send a byte a second, or read none, are closed and disturb no other caller."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from pathlib import Path

import pytest

from tests import warm_start
from tests.hostile.wire import GOOD, Wire, nothing_happens_to, request
from tests.serving.models import ROWS, records
from tests.serving.server import Server, make_launch, running, served

_CLOSED_WITHIN_S = 30.0
_ASKED = 400
#: 20 and 22 s in production.
_SHORTER = {
    "mlops.serving.slow_clients.HEADER_DEADLINE_S": 6.0,
    "mlops.serving.slow_clients.BODY_DEADLINE_S": 7.0,
    "mlops.serving.slow_clients._READER_PERIOD_S": 6.0,
    "mlops.serving.request_bodies.BODY_DEADLINE_S": 6.0,
}


def slow_callers(server: Server, stack: contextlib.ExitStack) -> list[Wire]:
    """Connections that have begun something of each sort, and how each goes on is up to us."""
    endless = b"Content-Length: 1000000"
    beginnings = {
        "nothing": b"",
        "headers": b"POST /invocations HTTP/1.1\r\nHost: x\r\nX: ",
        "body": request("/invocations", b"{", endless),
        "chunks": request("/feedback", b"fffff\r\n", b"Transfer-Encoding: chunked"),
        "body of a page": request("/ping", b"", endless, method="GET"),
        "body of nothing": request("/nothing", b"", endless),
        "body of another method": request("/invocations", b"", endless, method="PUT"),
        "headers after a request": request("/invocations", GOOD) + b"GET /ping HTTP/1.1\r\nX: ",
        "body after a request": request("/invocations", GOOD) + request("/ping", b"", endless),
        "blank lines": request("/ping", method="GET"),
    }
    wires = []
    for name, beginning in beginnings.items():
        for _ in range(3):
            wire = stack.enter_context(Wire(server)).send(beginning)
            wires.append(wire)
            wire.drip = b"\r\n" if name == "blank lines" else b" "
    return wires


def p99_ms(server: Server) -> float:
    times = []
    for _ in range(_ASKED):
        started = time.perf_counter()
        assert server.predict(records(ROWS[:1])).status == 200
        times.append((time.perf_counter() - started) * 1000)
    return sorted(times)[int(_ASKED * 0.99)]


def test_slow_callers_are_closed_and_disturb_no_other(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warm_start.set_in_servers(monkeypatch, _SHORTER)
    launch = make_launch(tmp_path, served(models))
    with (
        running(launch, tmp_path) as server,
        nothing_happens_to(server),
        contextlib.ExitStack() as stack,
    ):
        reader = stack.enter_context(Wire(server, receive_buffer=4096))
        many = b'{"instances":[' + b"[1,2,3]," * 500_000 + b"[1,2,3]]}"
        reader.send(request("/invocations", many))
        select.select([reader.socket], [], [], 20)
        before = p99_ms(server)
        started = time.monotonic()
        waiting = slow_callers(server, stack)
        assert len(waiting) == 30
        during = p99_ms(server)
        while waiting and time.monotonic() - started < _CLOSED_WITHIN_S:
            waiting = [wire for wire in waiting if not _drip(wire)]
            time.sleep(1)
        assert not waiting, f"{len(waiting)} are open after {_CLOSED_WITHIN_S:g} s"
        assert during < max(20 * before, 500)
        # What the kernel holds may still be read; the whole answer is not there.
        with contextlib.suppress(ConnectionResetError):
            assert _read_all(reader) < 8_000_000


def _drip(wire: Wire) -> bool:
    """Send one more byte; return whether the connection is closed."""
    try:
        wire.socket.sendall(wire.drip)
        while select.select([wire.socket], [], [], 0)[0]:
            if not wire.socket.recv(65536):
                return True
    except (ConnectionResetError, BrokenPipeError):
        return True
    return False


def _read_all(wire: Wire) -> int:
    wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    size = 0
    while data := wire.socket.recv(1 << 20):
        size += len(data)
    return size
