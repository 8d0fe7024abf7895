"""More requests than a server can answer: who is answered in time, and what the others are told.

    python benchmarks/overload.py [--seconds 5]

The server has one core and its callers the other. First as many as it can answer, then 500
keep-alive connections that each ask again as soon as they have an answer, whatever it says: wrk has
most of them, and a few here note how long each answer takes. That is done with a model of some
microseconds, and with one of about half a millisecond. Exits with 1 if

- an answer's p99 is more than 3 times that at capacity,
- a refusal is no 503 with `Retry-After`, or their p99 is more than 100 ms,
- a health check fails, or memory grows by more than 64 MiB,
- after the load, a request within the next second is refused.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import selectors
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from common import (
    CLIENT_CORE,
    SERVER_CORE,
    Peer,
    ask,
    machine,
    need,
    pin,
    run,
    split_body,
    state_of,
    wine_project,
    wine_rows,
    wrk_script,
)

#: Connections that noted their latencies, of all.
_NOTING, _AT_CAPACITY, _TOO_MANY = 12, 64, 500
_MOST, _MOST_REFUSED_S, _MOST_MIB = 3.0, 0.1, 64
_HEALTH_EVERY_S = 0.05
_MODEL = """
import time
import mlflow.pyfunc

class Busy(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        until = time.perf_counter() + 0.0004 * len(model_input)
        while time.perf_counter() < until:
            pass
        return [0.0] * len(model_input)

mlflow.models.set_model(Busy())
"""
_SAVE = """
import json, sys
import mlflow.pyfunc
import pandas as pd
from mlflow.models import infer_signature

frame = pd.DataFrame(json.loads(sys.argv[3]))
mlflow.pyfunc.save_model(
    sys.argv[2], python_model=sys.argv[1], input_example=frame,
    signature=infer_signature(frame, [0.0]), pip_requirements=["mlflow"],
)
"""


@dataclass
class Noted:
    """What some connections saw: latencies in seconds, of answers and of refusals."""

    answered: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    others: list[str] = field(default_factory=list)


def main(seconds: int) -> None:
    need("wrk", "wrk")
    print(machine())
    faults: list[str] = []
    with wine_project() as project, tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        header, rows = wine_rows(project)
        bodies = [split_body(header, [row]) for row in rows]
        script = wrk_script(folder, "rows", bodies)
        busy = _busy_model(folder, dict(zip(header, rows[0], strict=True)))
        for name, models in (
            ("a model of microseconds", ("--ab", "wine/1", "wine/2")),
            ("a model of 0.4 ms", ("--model", str(busy))),
        ):
            with _deployed(project, models, script) as (peer, pid):
                body = json.dumps(bodies[0]).encode()
                faults += [f"{name}: {each}" for each in _measure(name, peer, pid, body, seconds)]
    for fault in faults:
        print(fault, file=sys.stderr)
    if faults:
        raise SystemExit(1)


@contextlib.contextmanager
def _deployed(project: Path, models: tuple[str, ...], script: Path) -> Iterator[tuple[Peer, int]]:
    run("deploy", *models, "--name", "crowded", "--json", cwd=project)
    state = state_of(project, "crowded")
    pid, launch = int(str(state["pid"])), state["launch"]
    assert isinstance(launch, dict)
    pin(pid, SERVER_CORE)
    yield Peer("crowded", f"http://127.0.0.1:{launch['port']}/invocations", script), pid
    run("stop", "crowded", cwd=project)


def _measure(name: str, peer: Peer, pid: int, body: bytes, seconds: int) -> Iterator[str]:
    """Print what happened, and yield what should not have."""
    port = urlsplit(peer.url).port or 0
    ask(peer, 1, connections=_AT_CAPACITY, core=CLIENT_CORE)
    calm, rate, _ = _under_load(peer, port, body, seconds, _AT_CAPACITY)
    limit = _p99(calm.answered)
    print(f"{name}, {_AT_CAPACITY} connections: {rate:,.0f} answers/s, p99 {1e3 * limit:.1f} ms")
    before = _memory_mib(pid)
    crowd, rate, health = _under_load(peer, port, body, seconds, _TOO_MANY)
    grown = _memory_mib(pid) - before
    after = _recovery(port, body)
    answered, refused = _p99(crowd.answered), _p99(crowd.refused)
    total = len(crowd.answered) + len(crowd.refused)
    print(
        f"  {_TOO_MANY} connections: {rate:,.0f} requests/s, {len(crowd.answered) / total:.0%} of "
        f"them answered, p99 {1e3 * answered:.1f} ms ({answered / limit:.2f} of that at capacity); "
        f"the others refused, p99 {1e3 * refused:.1f} ms\n"
        f"  {len(health)} health checks, the longest {1e3 * max(health):.0f} ms; memory "
        f"{grown:+d} MiB; afterwards {len(after.refused)} of {len(after.answered)} refused"
    )
    if answered > _MOST * limit:
        yield f"answers took {answered / limit:.1f} times as long as at capacity"
    if refused > _MOST_REFUSED_S:
        yield f"refusals took {1e3 * refused:.0f} ms"
    if crowd.others or calm.others:
        yield f"other answers: {sorted({*crowd.others, *calm.others})[:3]}"
    if grown > _MOST_MIB:
        yield f"memory grew by {grown} MiB"
    if after.refused or after.others:
        yield f"{len(after.refused)} requests were refused after the load"


def _under_load(
    peer: Peer, port: int, body: bytes, seconds: int, connections: int
) -> tuple[Noted, float, list[float]]:
    """Return what some connections noted, requests per second of all, and times of health checks.

    Raises:
        SystemExit: A health check failed.
    """
    health: list[float] = []
    over = threading.Event()
    checking = threading.Thread(target=_check_health, args=(port, health, over))
    options = ["-t1", f"-c{connections - _NOTING}", f"-d{seconds + 1}s", "--timeout", "30s"]
    # Less of the core than the client that takes the times.
    command = ["nice", "-n", "10", "taskset", "-c", str(CLIENT_CORE), "wrk", *options]
    with subprocess.Popen(
        [*command, "-s", str(peer.script), peer.url], stdout=subprocess.PIPE, text=True
    ) as wrk:
        time.sleep(0.5)
        checking.start()
        noted = _note(port, body, seconds)
        over.set()
        said = wrk.communicate()[0]
    checking.join()
    if not health or max(health) > 5:
        raise SystemExit("A health check was not answered within 5 s.")
    rate = next(line for line in said.splitlines() if line.startswith("Requests/sec:"))
    return noted, float(rate.split()[1]), health


def _check_health(port: int, health: list[float], over: threading.Event) -> None:
    while not over.wait(_HEALTH_EVERY_S):
        began = time.perf_counter()
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5).close()
        except OSError:
            health.append(float("inf"))
            return
        health.append(time.perf_counter() - began)


def _note(port: int, body: bytes, seconds: int, connections: int = _NOTING) -> Noted:
    """Ask again and again on some connections, and note how long each answer takes."""
    head = "POST /invocations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    noted = Noted()
    with contextlib.ExitStack() as stack:
        ready = stack.enter_context(selectors.DefaultSelector())
        for _ in range(connections):
            line = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            line.sendall(request)
            ready.register(line, selectors.EVENT_READ, [time.perf_counter()])
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            for key, _ in ready.select(0.1):
                line = key.fileobj  # type: ignore[assignment]  # a socket
                answer = line.recv(65_536)
                passed = time.perf_counter() - key.data[0]
                if answer.startswith(b"HTTP/1.1 200 "):
                    noted.answered.append(passed)
                elif answer.startswith(b"HTTP/1.1 503 ") and b"\r\nretry-after: 1\r\n" in answer:
                    noted.refused.append(passed)
                else:
                    noted.others.append(answer[:60].decode("latin-1"))
                key.data[0] = time.perf_counter()
                line.sendall(request)
    return noted


def _recovery(port: int, body: bytes) -> Noted:
    """Ask on one connection, for a second, from soon after the load on."""
    time.sleep(0.2)
    return _note(port, body, 1, 1)


def _memory_mib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmRSS"))


def _p99(latencies: list[float]) -> float:
    return float(np.quantile(latencies, 0.99)) if latencies else 0.0


def _busy_model(folder: Path, row: dict[str, float]) -> Path:
    code, model = folder / "busy.py", folder / "busy"
    code.write_text(_MODEL)
    command = [sys.executable, "-c", _SAVE, str(code), str(model), json.dumps([row])]
    subprocess.run(command, check=True, capture_output=True)
    return model


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=5)
    main(parser.parse_args().seconds)
