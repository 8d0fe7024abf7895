"""One row a request: the same wine model in several servers, in turn, in one run.

    python benchmarks/serving.py [--rounds 5] [--seconds 8] [--mlserver PYTHON]

The server has one core and wrk the other; 16 keep-alive connections ask for distinct rows. Ours is
an A/B test of two models with journal and metrics on, and afterwards every row of its journal is
compared with what the model itself predicts. `--mlserver` names the Python of an environment with
`mlserver`, `mlserver-sklearn` and `mlserver-mlflow`; without it MLServer is left out, and said so.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import re
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from common import machine, need, pin, run, state_of, wait_for, wine_project

_SERVER_CORE, _CLIENT_CORE = 0, 1
_LUA = """
local bodies = {}
for line in io.lines("BODIES") do bodies[#bodies + 1] = line end
local i = 0
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
request = function()
  i = i % #bodies + 1
  return wrk.format(nil, nil, nil, bodies[i])
end
"""
_ECHO = """
async def app(scope, receive, send):
    body = (await receive())["body"]
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
"""
_SKLEARN_MODEL = """
import joblib, mlflow, sys
model = mlflow.sklearn.load_model(sys.argv[1])
joblib.dump(model, sys.argv[2])
"""


@dataclass(frozen=True, slots=True)
class Peer:
    """A running server: where to post, with which bodies."""

    name: str
    url: str
    bodies: Path


def main(rounds: int, seconds: int, mlserver: str | None) -> None:
    wrk = need("wrk", "wrk")
    with contextlib.ExitStack() as stack:
        project = stack.enter_context(wine_project())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        header, rows = _rows(project)
        split = _bodies(folder / "split", [_split(header, row) for row in rows])
        v2 = _bodies(folder / "v2", [_v2(header, row) for row in rows])
        model = _model_folder(project, 1)
        peers = [
            stack.enter_context(_mlflow(model, split)),
            stack.enter_context(_ours(project, split)),
            stack.enter_context(_echo(folder, split)),
        ]
        if mlserver:
            peers.append(stack.enter_context(_mlserver(mlserver, folder, model, v2, "sklearn")))
            peers.append(stack.enter_context(_mlserver(mlserver, folder, model, split, "mlflow")))
        else:
            print("MLServer: left out, no --mlserver given")
        rates = _measure(wrk, folder, peers, rounds, seconds)
        _print(rates)
        _check_journal(project, model)


def _measure(
    wrk: str, folder: Path, peers: list[Peer], rounds: int, seconds: int
) -> dict[str, list[tuple[float, float]]]:
    """Ask every peer in turn, `rounds` times; requests per second and p99 in milliseconds."""
    rates: dict[str, list[tuple[float, float]]] = {peer.name: [] for peer in peers}
    for peer in peers:
        _ask(wrk, folder, peer, 2)
    for _ in range(rounds):
        for peer in peers:
            rates[peer.name].append(_ask(wrk, folder, peer, seconds))
    return rates


def _ask(wrk: str, folder: Path, peer: Peer, seconds: int) -> tuple[float, float]:
    script = folder / f"{peer.bodies.name}.lua"
    script.write_text(_LUA.replace("BODIES", str(peer.bodies)))
    command = ["taskset", "-c", str(_CLIENT_CORE), wrk, "-t1", "-c16", f"-d{seconds}s", "--latency"]
    text = subprocess.run(
        [*command, "-s", str(script), peer.url], capture_output=True, text=True, check=True
    ).stdout
    if "Non-2xx" in text or "Socket errors" in text:
        raise SystemExit(f"{peer.name} failed requests:\n{text}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", text)
    assert rate is not None
    assert p99 is not None
    return float(rate[1]), float(p99[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[p99[2]]


def _print(rates: dict[str, list[tuple[float, float]]]) -> None:
    print(machine())
    medians = {name: statistics.median(rate for rate, _ in found) for name, found in rates.items()}
    ours, echo = medians["mlops, A/B of two"], medians["bare uvicorn echo"]
    print(f"{'server':<28}{'req/s':>9}{'p99 ms':>9}{'ours / it':>11}")
    for name, found in sorted(rates.items(), key=lambda item: medians[item[0]]):
        p99 = statistics.median(value for _, value in found)
        print(f"{name:<28}{medians[name]:>9.0f}{p99:>9.1f}{ours / medians[name]:>11.2f}")
    print(f"ours / bare uvicorn echo: {ours / echo:.3f}")


@contextlib.contextmanager
def _ours(project: Path, bodies: Path) -> Iterator[Peer]:
    run("deploy", "--ab", "wine/1", "wine/2", "--json", cwd=project)
    state = state_of(project)
    pin(int(str(state["pid"])), _SERVER_CORE)
    launch = state["launch"]
    assert isinstance(launch, dict)
    yield Peer("mlops, A/B of two", f"http://127.0.0.1:{launch['port']}/invocations", bodies)


@contextlib.contextmanager
def _mlflow(model: Path, bodies: Path) -> Iterator[Peer]:
    port = _free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(model), "-p", str(port)]
    with _server([*command, "--env-manager", "local", "-w", "1"], f"http://127.0.0.1:{port}/ping"):
        yield Peer("mlflow models serve", f"http://127.0.0.1:{port}/invocations", bodies)


@contextlib.contextmanager
def _echo(folder: Path, bodies: Path) -> Iterator[Peer]:
    port = _free_port()
    (folder / "echo_app.py").write_text(_ECHO)
    command = [sys.executable, "-m", "uvicorn", "echo_app:app", "--app-dir", str(folder)]
    options = ["--port", str(port), "--no-access-log", "--loop", "uvloop", "--http", "httptools"]
    with _server([*command, *options], None):
        _post_until(f"http://127.0.0.1:{port}/", b"{}")
        yield Peer("bare uvicorn echo", f"http://127.0.0.1:{port}/", bodies)


@contextlib.contextmanager
def _mlserver(python: str, folder: Path, model: Path, bodies: Path, kind: str) -> Iterator[Peer]:
    port, place = _free_port(), folder / f"mlserver-{kind}"
    place.mkdir()
    uri = str(model)
    if kind == "sklearn":
        uri = str(place / "model.joblib")
        subprocess.run([python, "-c", _SKLEARN_MODEL, str(model), uri], check=True)
    runtime = {
        "sklearn": "mlserver_sklearn.SKLearnModel",
        "mlflow": "mlserver_mlflow.MLflowRuntime",
    }
    (place / "model-settings.json").write_text(
        json.dumps({"name": "wine", "implementation": runtime[kind], "parameters": {"uri": uri}})
    )
    free = {key: _free_port() for key in ("grpc_port", "metrics_port")}
    settings = {"http_port": port, "parallel_workers": 0, "host": "127.0.0.1", **free}
    (place / "settings.json").write_text(json.dumps(settings))
    path = {"sklearn": "/v2/models/wine/infer", "mlflow": "/invocations"}[kind]
    with _server([str(Path(python).with_name("mlserver")), "start", str(place)], None):
        wait_for(f"http://127.0.0.1:{port}/v2/models/wine/ready")
        yield Peer(f"MLServer, {kind} runtime", f"http://127.0.0.1:{port}{path}", bodies)


@contextlib.contextmanager
def _server(command: list[str], ready: str | None) -> Iterator[int]:
    process = subprocess.Popen(
        ["taskset", "-c", str(_SERVER_CORE), *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={
            **os.environ,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            # MLflow starts `uvicorn` by its name.
            "PATH": f"{Path(command[0]).parent}:{os.environ['PATH']}",
        },
    )
    try:
        if ready:
            wait_for(ready)
        yield process.pid
    finally:
        os.killpg(process.pid, 15)
        process.wait(timeout=20)


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


def _rows(project: Path) -> tuple[list[str], list[list[float]]]:
    with (project / "data" / "customers.csv").open(newline="") as file:
        table = list(csv.reader(file))
    keep = [index for index, name in enumerate(table[0]) if name != "quality"]
    rows = [[float(row[index]) for index in keep] for row in table[1:]]
    return [table[0][index] for index in keep], rows


def _split(header: list[str], row: list[float]) -> dict[str, object]:
    return {"dataframe_split": {"columns": header, "data": [row]}}


def _v2(header: list[str], row: list[float]) -> dict[str, object]:
    tensor = {"name": "input-0", "shape": [1, len(row)], "datatype": "FP64", "data": row}
    return {"inputs": [tensor]}


def _bodies(path: Path, documents: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(document) + "\n" for document in documents))
    return path


def _model_folder(project: Path, version: int) -> Path:
    shown = json.loads(run("models", "show", f"wine/{version}", "--json", cwd=project))
    source = str(_find(shown, "source"))
    return Path(source.removeprefix("file://"))


def _find(document: object, key: str) -> object:
    if isinstance(document, dict):
        if key in document:
            return document[key]
        for value in document.values():
            found = _find(value, key)
            if found is not None:
                return found
    return None


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--mlserver", metavar="PYTHON")
    chosen = parser.parse_args()
    main(chosen.rounds, chosen.seconds, chosen.mlserver)
