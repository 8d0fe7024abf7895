"""What it costs a server that everything is watched: processor time and latency at a steady rate.

    python benchmarks/watching.py [--rate 5000] [--seconds 15] [--rounds 3]

An A/B test of two wine models on one core is asked by wrk from the other, from connections that
pause at random. In turn, each with a journal that begins empty:

- nothing reads the journal;
- drift and quality do, as by default;
- drift, quality, outliers and a sink of the request log, which takes everything, read it;
- the same, with the sink dead: its port is closed, and it is tried again and again.

Processor time is that of the processes, in per cent of one core: the server, and what runs beside
it. Latencies are wrk's. The readers' process goes where there is room, as on any machine; with two
cores that is beside the server and the client.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from common import (
    CLIENT_CORE,
    MLOPS,
    SERVER_CORE,
    Peer,
    ask,
    free_port,
    machine,
    pin,
    run,
    split_body,
    state_of,
    wait_for,
    wine_project,
    wine_rows,
    wrk_script,
)
from live_page import _below, _spent_s

_CONNECTIONS = 64
_QUIET = "[watch]\ndrift = false\nquality = false\n"
_WATCHED = """
[watch]
outliers = true
[log.sinks.events]
kind = "cloudevents"
to = "{sink}"
batch = 100
"""
_SINK = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(204)
        self.end_headers()
    def do_GET(self):
        self.send_response(204)
        self.end_headers()
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def main(rate: float, seconds: float, rounds: int) -> None:
    print(machine())
    with wine_project() as project, _sink() as (url, receiver):
        header, rows = wine_rows(project)
        script = wrk_script(project, "bodies", [split_body(header, [row]) for row in rows])
        pause_ms = 1000 * _CONNECTIONS / rate
        # wrk pauses whole milliseconds.
        pause = f"function delay() return math.random(0, {round(2 * pause_ms)}) end"
        script.write_text(f"{script.read_text()}\n{pause}\n")
        settings = (project / "mlops.toml").read_text()
        ways = {
            "nothing reads": _QUIET,
            "drift and quality": "",
            "everything is watched": _WATCHED.format(sink=url),
            "the sink is dead": _WATCHED.format(sink=url),
        }
        found: dict[str, list[tuple[float, ...]]] = {name: [] for name in ways}
        for number in range(rounds):
            for turn, (name, more) in enumerate(ways.items()):
                (project / "mlops.toml").write_text(f"{settings}\n{more}")
                with _served(project, f"wine-{number}-{turn}") as (pid, peer):
                    if name == "the sink is dead":
                        receiver.stop()
                    found[name].append(_measured(pid, peer, seconds))
                    receiver.start()
    heads = ("requests/s", "server %", "beside it %", "p50 ms", "p99 ms")
    print(f"medians of {rounds} rounds of {seconds:g} s")
    print(f"{'':24}" + "".join(f"{head:>13}" for head in heads))
    for name, values in found.items():
        cells = [statistics.median(column) for column in zip(*values, strict=True)]
        print(f"{name:24}" + "".join(f"{cell:>13,.4g}" for cell in cells))


@contextlib.contextmanager
def _served(project: Path, name: str) -> Iterator[tuple[int, Peer]]:
    run("deploy", "--ab", "wine/1", "wine/2", "--name", name, "--json", cwd=project)
    state = state_of(project, name)
    pid, launch = int(str(state["pid"])), state["launch"]
    pin(pid, SERVER_CORE)
    assert isinstance(launch, dict)
    url = f"http://127.0.0.1:{launch['port']}"
    try:
        yield pid, Peer("mlops", f"{url}/invocations", project / "bodies.lua")
    finally:
        subprocess.run([MLOPS, "stop", name], cwd=project, check=True, capture_output=True)


def _measured(pid: int, peer: Peer, seconds: float) -> tuple[float, ...]:
    ask(peer, 3, connections=_CONNECTIONS, core=CLIENT_CORE)
    beside = _below(pid)
    before, began = (_spent_s(pid), sum(map(_spent_s, beside))), time.monotonic()
    asked = ask(peer, seconds, connections=_CONNECTIONS, core=CLIENT_CORE)
    after, took_s = (_spent_s(pid), sum(map(_spent_s, beside))), time.monotonic() - began
    shares = [100 * (b - a) / took_s for a, b in zip(before, after, strict=True)]
    return (asked.rate, *shares, asked.p50_ms, asked.p99_ms)


class _Receiver:
    def __init__(self, port: int) -> None:
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        if self._process is None:
            self._process = subprocess.Popen([sys.executable, "-c", _SINK, str(self._port)])
            wait_for(f"http://127.0.0.1:{self._port}/")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextlib.contextmanager
def _sink() -> Iterator[tuple[str, _Receiver]]:
    port = free_port()
    receiver = _Receiver(port)
    receiver.start()
    try:
        yield f"http://127.0.0.1:{port}/", receiver
    finally:
        receiver.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=5000.0)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    main(options.rate, options.seconds, options.rounds)
