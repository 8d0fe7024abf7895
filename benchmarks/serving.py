"""One row a request: the same wine model in several servers, in turn, in one run.

    python benchmarks/serving.py [--rounds 5] [--seconds 8] [--mlserver PYTHON]
    python benchmarks/serving.py --half [--rounds 5] [--seconds 8]

The server has one core and wrk the other; 16 keep-alive connections ask for distinct rows. Ours is
an A/B test of two models with journal and metrics on, and afterwards every row of its journal is
compared with what the model itself predicts. `--mlserver` names the Python of an environment with
`mlserver`, `mlserver-sklearn` and `mlserver-mlflow`; without it MLServer is left out, and said so.

`--half` asks ours and the echo at half of what ours can do, from 64 connections that pause at
random between requests, and compares latencies. It exits with 1 if our p99 is more than 3 times the
echo's.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from common import (
    SERVER_CORE,
    Asked,
    Peer,
    free_port,
    machine,
    measure,
    ml_server,
    mlflow_server,
    model_folder,
    need,
    pin,
    run,
    server,
    split_body,
    state_of,
    wine_project,
    wine_rows,
    wrk_script,
)

_ECHO = """
async def app(scope, receive, send):
    body = (await receive())["body"]
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
"""


# Connections at half of capacity: wrk pauses whole milliseconds, so that few would be too fast.
_PAUSING = 64
_MOST = 3.0


def main(rounds: int, seconds: int, mlserver: str | None, *, half: bool) -> None:
    need("wrk", "wrk")
    with contextlib.ExitStack() as stack:
        project = stack.enter_context(wine_project())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        header, rows = wine_rows(project)
        split = wrk_script(folder, "split", [split_body(header, [row]) for row in rows])
        v2 = wrk_script(folder, "v2", [_v2(row) for row in rows])
        model = model_folder(project, 1)
        if half:
            ours = stack.enter_context(_ours(project, split))
            _measure_half(ours, stack.enter_context(_echo(folder, split)), rounds, seconds)
            return
        peers = [
            stack.enter_context(mlflow_server(model, split)),
            stack.enter_context(_ours(project, split)),
            stack.enter_context(_echo(folder, split)),
        ]
        if mlserver:
            peers.append(stack.enter_context(ml_server(mlserver, folder, model, v2, "sklearn")))
            peers.append(stack.enter_context(ml_server(mlserver, folder, model, split)))
        else:
            print("MLServer: left out, no --mlserver given")
        _print(measure(peers, rounds, seconds))
        _check_journal(project, model)


def _measure_half(ours: Peer, echo: Peer, rounds: int, seconds: int) -> None:
    """Compare latencies at half of our capacity.

    Raises:
        SystemExit: Ours are too long.
    """
    (found,) = measure([ours], rounds, seconds).values()
    rate = statistics.median(each.rate for each in found) / 2
    script = ours.script.with_name("half.lua")
    pause_ms = round(1000 * _PAUSING / rate)
    pause = f"function delay() return math.random(0, {2 * pause_ms}) end"
    script.write_text(f"{ours.script.read_text()}\n{pause}\n")
    peers = [replace(peer, script=script) for peer in (ours, echo)]
    print(machine())
    print(f"{'server':<28}{'req/s':>9}{'p50 ms':>9}{'p99 ms':>9}")
    p99s = []
    for name, asked in measure(peers, rounds, seconds, connections=_PAUSING).items():
        rates, p50, p99 = (
            statistics.median(values)
            for values in zip(*((a.rate, a.p50_ms, a.p99_ms) for a in asked), strict=True)
        )
        print(f"{name:<28}{rates:>9.0f}{p50:>9.2f}{p99:>9.2f}")
        p99s.append(p99)
    ratio = p99s[0] / p99s[1]
    print(f"p99 at half of capacity / the echo's: {ratio:.2f}")
    if ratio > _MOST:
        raise SystemExit(1)


def _print(rates: dict[str, list[Asked]]) -> None:
    print(machine())
    medians = {
        name: statistics.median(each.rate for each in found) for name, found in rates.items()
    }
    ours, echo = medians["mlops, A/B of two"], medians["bare uvicorn echo"]
    print(f"{'server':<28}{'req/s':>9}{'p99 ms':>9}{'ours / it':>11}")
    for name, found in sorted(rates.items(), key=lambda item: medians[item[0]]):
        p99 = statistics.median(each.p99_ms for each in found)
        print(f"{name:<28}{medians[name]:>9.0f}{p99:>9.1f}{ours / medians[name]:>11.2f}")
    print(f"ours / bare uvicorn echo: {ours / echo:.3f}")


@contextlib.contextmanager
def _ours(project: Path, script: Path) -> Iterator[Peer]:
    run("deploy", "--ab", "wine/1", "wine/2", "--json", cwd=project)
    state = state_of(project)
    pin(int(str(state["pid"])), SERVER_CORE)
    launch = state["launch"]
    assert isinstance(launch, dict)
    yield Peer("mlops, A/B of two", f"http://127.0.0.1:{launch['port']}/invocations", script)


@contextlib.contextmanager
def _echo(folder: Path, script: Path) -> Iterator[Peer]:
    port = free_port()
    (folder / "echo_app.py").write_text(_ECHO)
    command = [sys.executable, "-m", "uvicorn", "echo_app:app", "--app-dir", str(folder)]
    options = ["--port", str(port), "--no-access-log", "--loop", "uvloop", "--http", "httptools"]
    with server([*command, *options], None):
        _post_until(f"http://127.0.0.1:{port}/", b"{}")
        yield Peer("bare uvicorn echo", f"http://127.0.0.1:{port}/", script)


def _post_until(url: str, body: bytes) -> None:
    for _ in range(100):
        with contextlib.suppress(OSError):
            urllib.request.urlopen(url, body, timeout=2).close()
            return
        subprocess.run(["sleep", "0.1"], check=True)


def _check_journal(project: Path, model: Path) -> None:
    """Compare arm 0's predictions in the journal with the model's own; count what was shed."""
    import mlflow.sklearn
    import numpy as np

    estimator = mlflow.sklearn.load_model(str(model))
    run("stop", "wine", cwd=project)
    with sqlite3.connect(project / ".mlops" / "journal" / "wine.db") as journal:
        total, bad = journal.execute(
            "select count(*), sum(status != 200) from decisions"
        ).fetchone()
        shed = journal.execute("select coalesce(sum(n), 0) from losses").fetchone()[0]
        rows = journal.execute(
            "select features, prediction from decisions where arm = 0"
        ).fetchall()
    features = np.array([json.loads(text)[0] for text, _ in rows])
    same = np.allclose(estimator.predict(features), [value for _, value in rows], rtol=1e-12)
    print(f"journal: {total:,} decisions, {bad} failed, {shed} shed")
    print(f"predictions of arm 0 in it ({len(rows):,}) equal the model's own: {same}")
    if shed or bad or not same:
        raise SystemExit(1)


def _v2(row: list[float]) -> dict[str, object]:
    tensor = {"name": "input-0", "shape": [1, len(row)], "datatype": "FP64", "data": row}
    return {"inputs": [tensor]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--mlserver", metavar="PYTHON")
    parser.add_argument("--half", action="store_true")
    chosen = parser.parse_args()
    main(chosen.rounds, chosen.seconds, chosen.mlserver, half=chosen.half)
