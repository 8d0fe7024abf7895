"""One worker and two: what a request costs, who takes how many, what a kill costs, and memory.

    python benchmarks/workers.py [--rounds 3] [--seconds 5] [--kills 20]

Requests of one row go over 128 keep-alive connections to an A/B test of two wine models with
journal and metrics on. Servers take turns in one run. What a request costs is the processor time of
all processes of the server, so that other programs on the machine disturb it little.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import signal
import sqlite3
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from common import (
    Peer,
    ask,
    machine,
    need,
    run,
    split_body,
    state_of,
    wine_project,
    wine_rows,
    wrk_script,
)

_CONNECTIONS = 128
_CALLERS = 4
_TICK = os.sysconf("SC_CLK_TCK")


def main(rounds: int, seconds: int, kills: int) -> None:
    need("wrk", "wrk")
    print(machine())
    with contextlib.ExitStack() as stack:
        project = stack.enter_context(wine_project())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        header, rows = wine_rows(project)
        script = wrk_script(folder, "split", [split_body(header, [row]) for row in rows])
        for name, count in (("one", 1), ("two", 2)):
            words = ("--ab", "wine/1", "wine/2", "--name", name, "--workers", str(count))
            run("deploy", *words, cwd=project)
        for name in ("one", "two"):
            print(f"{name}: memory {_memory(project, name)}")
        rates: dict[str, list[tuple[float, float]]] = {"one": [], "two": []}
        for _ in range(rounds):
            for name, found in rates.items():
                found.append(_ask(script, project, name, seconds))
        for name, found in rates.items():
            per_cpu = statistics.median(cost for _, cost in found)
            rate = statistics.median(rate for rate, _ in found)
            print(f"{name}: {rate:,.0f} requests/s, {per_cpu:,.0f} per CPU-second")
        one, two = (statistics.median(c for _, c in rates[name]) for name in ("one", "two"))
        print(f"two workers / one, per CPU-second: {two / one:.3f}")
        workers = _status(project, "two")["workers"]
        total = sum(each["requests"] for each in workers)
        shares = ", ".join(f"{each['requests'] / total:.3f}" for each in workers)
        print(f"share of {total:,} requests: {shares}")
        _kill(project, kills)


def _ask(script: Path, project: Path, name: str, seconds: int) -> tuple[float, float]:
    """Return requests per second, and per second of the server's processor time."""
    before = _cpu_s(project, name)
    peer = Peer(name, _url(project, name), script)
    asked = ask(peer, seconds, connections=_CONNECTIONS)
    # The last decisions are written by then.
    time.sleep(0.5)
    return asked.rate, asked.requests / (_cpu_s(project, name) - before)


def _url(project: Path, name: str) -> str:
    launch: Any = state_of(project, name)["launch"]
    return f"http://127.0.0.1:{launch['port']}/invocations"


def _status(project: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run("status", name, "--json", cwd=project))["deployments"][0]
    return found


def _pids(project: Path, name: str) -> list[int]:
    found = _status(project, name)
    return [found["pid"], *(each["pid"] for each in found["workers"])]


def _cpu_s(project: Path, name: str) -> float:
    total = 0
    for pid in _pids(project, name):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICK


def _memory(project: Path, name: str) -> str:
    """Tell the proportional share of each process, in which what is shared counts once in all."""
    found = []
    for pid in _pids(project, name):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
        sizes = {line.split(":")[0]: int(line.split()[1]) // 1024 for line in lines}
        found.append((sizes["Pss"], sizes["Rss"]))
    each = ", ".join(f"{pss} (of {rss})" for pss, rss in found)
    return f"{sum(pss for pss, _ in found)} MiB; process by process: {each}"


def _kill(project: Path, kills: int) -> None:
    """Kill workers in turn under load, and look for what was acknowledged in the journal."""
    acknowledged: list[str] = []
    failures: list[str] = []
    asked = [0]
    over = threading.Event()
    host = _url(project, "two").split("/")[2]
    body = json.dumps(state_of(project, "two")["request"]).encode()

    def call() -> None:
        line: http.client.HTTPConnection | None = None
        while not over.is_set():
            line = line or http.client.HTTPConnection(host, timeout=30)
            try:
                request_id = _post(line, "/invocations", body)[1]
                asked[0] += 1
                told = json.dumps({"request_id": request_id, "reward": -1.0}).encode()
                if '"accepted"' in _post(line, "/feedback", told)[0]:
                    acknowledged.append(request_id)
            except (OSError, http.client.HTTPException) as error:
                failures.append(type(error).__name__)
                line.close()
                line = None

    threads = [threading.Thread(target=call) for _ in range(_CALLERS)]
    for thread in threads:
        thread.start()
    back = []
    for number in range(kills):
        worker = _settled(project)[number % 2]
        began = time.monotonic()
        os.kill(worker["pid"], signal.SIGKILL)
        while _worker(project, number % 2)["restarts"] == worker["restarts"]:
            time.sleep(0.05)
        _settled(project, at_once=True)
        back.append(time.monotonic() - began)
    over.set()
    for thread in threads:
        thread.join()
    run("stop", "two", cwd=project)
    with sqlite3.connect(project / ".mlops" / "journal" / "two.db") as journal:
        stored, distinct = journal.execute(
            "select count(*), count(distinct nonce) from outcomes"
        ).fetchone()
    print(
        f"{kills} kills: {asked[0]:,} predictions; {len(failures)} requests failed, which were "
        f"under way ({', '.join(sorted(set(failures)))}); back after "
        f"{statistics.median(back):.1f} s"
    )
    print(f"{len(acknowledged):,} outcomes acknowledged; stored {stored:,}, distinct {distinct:,}")
    # What was stored may not have been acknowledged any more; the other way is a loss.
    lost, doubled = len(acknowledged) - stored, stored - distinct
    refused = "ConnectionRefusedError" in failures or len(failures) > kills * _CALLERS
    if lost > 0 or doubled or refused:
        raise SystemExit(1)


def _worker(project: Path, index: int) -> dict[str, Any]:
    found: dict[str, Any] = _status(project, "two")["workers"][index]
    return found


def _settled(project: Path, *, at_once: bool = False) -> list[dict[str, Any]]:
    """Wait until all workers run, and no longer die at once."""
    while True:
        workers: list[dict[str, Any]] = _status(project, "two")["workers"]
        ready = [each for each in workers if each["state"] == "running"]
        now_ms = time.time() * 1000
        if len(ready) == len(workers) and (
            at_once or all(now_ms - each["since_ms"] > 1_100 for each in ready)
        ):
            return workers
        time.sleep(0.1)


def _post(line: http.client.HTTPConnection, path: str, body: bytes) -> tuple[str, str]:
    line.request("POST", path, body, {"content-type": "application/json"})
    answer = line.getresponse()
    text = answer.read().decode()
    if answer.status != 200:
        raise SystemExit(f"{path}: {answer.status} {text}")
    return text, answer.headers.get("x-mlops-request-id", "")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--kills", type=int, default=20)
    chosen = parser.parse_args()
    main(chosen.rounds, chosen.seconds, chosen.kills)
