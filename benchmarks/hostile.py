"""Two hundred callers that send a byte a second: what they do to an honest one.

    python benchmarks/hostile.py [--rounds 3] [--callers 200] [--seconds 12]

Half of them never end their headers, half never end their bodies. In each round the same honest
client, one keep-alive connection, asks without them and then among them; the server has one core,
all clients the other. Fails unless its p99 stays within 2 times, over the median of the rounds, and
all slow ones are closed within 30 s. At last it asks while another client sends bodies of 16 MiB.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gzip
import http.client
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

from common import machine, pin, run, state_of, wine_project

_SERVER_CORE, _CLIENT_CORE = 0, 1
_CLOSED_WITHIN_S = 30.0
_GIVE_UP_S = 60.0
_WITHIN = 2.0
_MIB = 1024 * 1024


def main(rounds: int, callers: int, seconds: float) -> None:
    os.sched_setaffinity(0, {_CLIENT_CORE})
    with wine_project() as project:
        run("deploy", "--ab", "wine/1", "wine/2", cwd=project)
        state = state_of(project)
        pin(int(str(state["pid"])), _SERVER_CORE)
        launch, document = state["launch"], state["request"]
        assert isinstance(launch, dict)
        port, body = int(launch["port"]), json.dumps(document).encode()
        _ask(port, body, 3.0)
        print(machine())
        ratios, closed = _rounds(port, body, rounds, callers, seconds)
        _among_large_bodies(port, body, seconds)
    ratio = statistics.median(ratios)
    print(f"p99 among {callers} slow callers / without: {ratio:.2f} (at most {_WITHIN:g})")
    print(f"the last of them was closed after {max(closed):.1f} s (at most {_CLOSED_WITHIN_S:g})")
    if ratio > _WITHIN or max(closed) > _CLOSED_WITHIN_S:
        raise SystemExit(1)


def _rounds(
    port: int, body: bytes, rounds: int, callers: int, seconds: float
) -> tuple[list[float], list[float]]:
    """Measure without and among slow callers, in turn; ratios of p99, seconds until all closed."""
    ratios, closed = [], []
    print(f"{'':<26}{'requests':>10}{'p50 ms':>9}{'p99 ms':>9}")
    for _ in range(rounds):
        without = _ask(port, body, seconds)
        with _slow_callers(port, callers) as slow:
            among = _ask(port, body, seconds)
            said, _ = slow.communicate(timeout=_GIVE_UP_S + 10)
        lasted = json.loads(said)
        assert len(lasted) == callers
        _print("without", without)
        _print(f"among {callers} slow callers", among)
        ratios.append(_p99(among) / _p99(without))
        closed.append(max(lasted))
    return ratios, closed


def _ask(port: int, body: bytes, seconds: float) -> list[float]:
    """Ask for one prediction after the other; return how long each took in milliseconds."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    times = []
    end = time.perf_counter() + seconds
    with contextlib.closing(connection):
        while (started := time.perf_counter()) < end:
            connection.request("POST", "/invocations", body, {"content-type": "application/json"})
            response = connection.getresponse()
            response.read()
            assert response.status == 200
            times.append((time.perf_counter() - started) * 1000)
    return times


def _p99(times: list[float]) -> float:
    return statistics.quantiles(times, n=100)[98]


def _print(name: str, times: list[float]) -> None:
    print(f"{name:<26}{len(times):>10}{statistics.median(times):>9.2f}{_p99(times):>9.2f}")


@contextlib.contextmanager
def _slow_callers(port: int, callers: int) -> Iterator[subprocess.Popen[str]]:
    """Run slow callers in a process of their own, once all are connected."""
    command = [sys.executable, __file__, "--slow", str(port), "--callers", str(callers)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "connected\n"
        try:
            yield process
        finally:
            process.kill()


async def _be_slow(port: int, callers: int) -> None:
    head = b"POST /invocations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    beginnings = [head + b"X-Slow: ", head + b"Content-Length: 100000\r\n\r\n{"]
    opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(callers)]
    print("connected", flush=True)
    tasks = [
        _drip(reader, writer, beginnings[number % 2])
        for number, (reader, writer) in enumerate(opened)
    ]
    print(json.dumps(await asyncio.gather(*tasks)))


async def _drip(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, beginning: bytes
) -> float:
    """Send a byte a second until the server ends it; return after how many seconds."""
    started = time.monotonic()
    writer.write(beginning)
    closed = asyncio.create_task(reader.read())
    while not closed.done() and time.monotonic() - started < _GIVE_UP_S:
        await asyncio.wait([closed], timeout=1)
        writer.write(b" ")
    lasted = time.monotonic() - started
    closed.cancel()
    with contextlib.suppress(OSError, asyncio.CancelledError):
        await closed
    writer.close()
    return lasted


def _among_large_bodies(port: int, body: bytes, seconds: float) -> None:
    """Print what bodies as large as are taken do to the honest client; nothing is promised."""
    row = b'{"instances":[[1,2,3,4,5,6,7,8,9,10,11]'
    large = {
        "16 MiB of blanks": (body.ljust(16 * _MIB), {}),
        "the same, packed": (gzip.compress(body.ljust(16 * _MIB)), {"content-encoding": "gzip"}),
        "500,000 rows": (row + b",[1,2,3,4,5,6,7,8,9,10,11]" * 499_999 + b"]}", {}),
    }
    for name, (data, headers) in large.items():
        sender = subprocess.Popen(
            [sys.executable, __file__, "--large", str(port), "--headers", json.dumps(headers)],
            stdin=subprocess.PIPE,
        )
        assert sender.stdin is not None
        sender.stdin.write(data)
        sender.stdin.close()
        time.sleep(1)
        _print(name, _ask(port, body, seconds / 2))
        sender.kill()
        sender.wait()


def _send_large(port: int, headers: dict[str, str]) -> None:
    data = sys.stdin.buffer.read()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    end = time.monotonic() + _GIVE_UP_S
    while time.monotonic() < end:
        connection.request("POST", "/invocations", data, headers)
        response = connection.getresponse()
        response.read()
        assert response.status == 200
        time.sleep(0.2)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--callers", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--slow", type=int, metavar="PORT", help=argparse.SUPPRESS)
    parser.add_argument("--large", type=int, metavar="PORT", help=argparse.SUPPRESS)
    parser.add_argument("--headers", type=json.loads, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.slow:
        asyncio.run(_be_slow(chosen.slow, chosen.callers))
    elif chosen.large:
        _send_large(chosen.large, chosen.headers)
    else:
        main(chosen.rounds, chosen.callers, chosen.seconds)
