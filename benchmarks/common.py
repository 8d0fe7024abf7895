"""What the benchmarks share: the machine, a project to run in, servers that end, and wrk."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MLOPS = Path(sys.executable).with_name("mlops")
SERVER_CORE, CLIENT_CORE = 0, 1
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
# MLServer opens a model by itself, with the libraries of its own environment.
_ESTIMATOR = """
import importlib, joblib, sys
module = importlib.import_module(f"mlflow.{sys.argv[3]}")
joblib.dump(module.load_model(sys.argv[1]), sys.argv[2])
"""


@dataclass(frozen=True, slots=True)
class Peer:
    """A running server: where to post, with which bodies (a script of `wrk_script`)."""

    name: str
    url: str
    script: Path


@dataclass(frozen=True, slots=True)
class Asked:
    """What wrk found: requests per second, their number, and latencies in milliseconds."""

    rate: float
    requests: int
    p50_ms: float
    p99_ms: float


def machine() -> str:
    """Describe this machine in a line."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    name = names[0] if names else platform.machine()
    return f"{os.cpu_count()} x {name}, Python {platform.python_version()}, {platform.system()}"


def run(*words: str, cwd: Path) -> str:
    """Run `mlops` and return what it prints; its progress is shown only if it fails."""
    done = subprocess.run([MLOPS, *words], cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"mlops {' '.join(words)} failed:\n{done.stdout}\n{done.stderr}")
    return done.stdout


@contextlib.contextmanager
def wine_project(*, models: Sequence[str] = ("0.1", "1.0")) -> Iterator[Path]:
    """Make a wine project with one trained model per alpha, `wine/1` and on; stop its servers."""
    with tempfile.TemporaryDirectory(prefix="mlops-bench-") as folder:
        project = Path(folder)
        run("init", "--template", "wine", cwd=project)
        for alpha in models:
            run("train", "-P", f"alpha={alpha}", cwd=project)
        try:
            yield project
        finally:
            for state in (project / ".mlops" / "run").glob("*.json"):
                subprocess.run([MLOPS, "stop", state.stem], cwd=project, check=False)


def state_of(project: Path, name: str = "wine") -> dict[str, object]:
    """Return what a deployment's server says of itself."""
    found: dict[str, object] = json.loads((project / ".mlops" / "run" / f"{name}.json").read_text())
    return found


def pin(pid: int, cpu: int) -> None:
    """Put every thread of a process on one core."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(task.name), {cpu})


def wait_for(url: str, seconds: float = 120.0) -> None:
    """Wait until a server answers."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            if time.monotonic() > deadline:
                raise SystemExit(f"{url} did not answer within {seconds:g} s") from None
            time.sleep(0.2)


def need(program: str, package: str) -> str:
    """Return the path of a program, or say which package brings it."""
    found = shutil.which(program)
    if found is None:
        raise SystemExit(f"`{program}` is not installed (Debian: apt-get install {package})")
    return found


def free_port() -> int:
    """Return an unused port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def split_body(header: list[str], rows: list[list[Any]]) -> dict[str, object]:
    """Return rows as MLflow's scoring protocol has them."""
    return {"dataframe_split": {"columns": header, "data": rows}}


def wrk_script(folder: Path, name: str, documents: Iterable[Mapping[str, object]]) -> Path:
    """Write a script with which wrk posts these documents in turn; return its path."""
    bodies, script = folder / name, folder / f"{name}.lua"
    bodies.write_text("".join(json.dumps(document) + "\n" for document in documents))
    script.write_text(_LUA.replace("BODIES", str(bodies)))
    return script


def ask(peer: Peer, seconds: float, *, connections: int = 16, core: int | None = None) -> Asked:
    """Ask a server with wrk, from the client's core or from any.

    Raises:
        SystemExit: It failed a request; an answer that takes long is no failure.
    """
    pinned = [] if core is None else ["taskset", "-c", str(core)]
    options = ["-t1", f"-c{connections}", f"-d{seconds:g}s", "--latency", "--timeout", "30s"]
    command = [*pinned, need("wrk", "wrk"), *options, "-s", str(peer.script), peer.url]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in said or ("Socket errors" in said and "connect 0, read 0, write 0" not in said):
        raise SystemExit(f"{peer.name} failed requests:\n{said}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    count = re.search(r"(\d+) requests in", said)
    assert rate is not None
    assert count is not None
    return Asked(float(rate[1]), int(count[1]), _latency_ms(said, 50), _latency_ms(said, 99))


def _latency_ms(said: str, percent: int) -> float:
    found = re.search(rf"{percent}%\s+([\d.]+)(us|ms|s)", said)
    assert found is not None
    return float(found[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[found[2]]


def measure(
    peers: Sequence[Peer], rounds: int, seconds: float, *, connections: int = 16
) -> dict[str, list[Asked]]:
    """Ask every server in turn from the client's core, after a round that warms them up."""
    found: dict[str, list[Asked]] = {peer.name: [] for peer in peers}
    for turn in range(rounds + 1):
        for peer in peers:
            time_s = seconds if turn else min(seconds, 2)
            asked = ask(peer, time_s, connections=connections, core=CLIENT_CORE)
            found[peer.name] += [asked] if turn else []
    return found


@contextlib.contextmanager
def server(command: list[str], ready: str | None) -> Iterator[int]:
    """Run a server on its core until the block ends; wait until it answers at `ready`."""
    process = subprocess.Popen(
        ["taskset", "-c", str(SERVER_CORE), *command],
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


@contextlib.contextmanager
def mlflow_server(model: Path, script: Path) -> Iterator[Peer]:
    """Run `mlflow models serve` with one worker."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(model), "-p", str(port)]
    with server([*command, "--env-manager", "local", "-w", "1"], f"http://127.0.0.1:{port}/ping"):
        yield Peer("mlflow models serve", f"http://127.0.0.1:{port}/invocations", script)


@contextlib.contextmanager
def ml_server(
    python: str, folder: Path, model: Path, script: Path, flavour: str = ""
) -> Iterator[Peer]:
    """Run MLServer without parallel workers.

    Args:
        python: Interpreter of its environment.
        folder: Where to work; it may exist.
        model: Folder of an MLflow model.
        script: Of V2 requests for the sklearn runtime, of MLflow's for its mlflow runtime.
        flavour: With which to load the estimator that its sklearn runtime is given; empty for the
            mlflow runtime.
    """
    kind = "sklearn" if flavour else "mlflow"
    port, place = free_port(), folder / f"mlserver-{kind}"
    place.mkdir(parents=True)
    uri = str(model)
    if flavour:
        uri = str(place / "model.joblib")
        subprocess.run([python, "-c", _ESTIMATOR, str(model), uri, flavour], check=True)
    implementation = {
        "sklearn": "mlserver_sklearn.SKLearnModel",
        "mlflow": "mlserver_mlflow.MLflowRuntime",
    }[kind]
    (place / "model-settings.json").write_text(
        json.dumps({"name": "wine", "implementation": implementation, "parameters": {"uri": uri}})
    )
    free = {key: free_port() for key in ("grpc_port", "metrics_port")}
    settings = {"http_port": port, "parallel_workers": 0, "host": "127.0.0.1", **free}
    (place / "settings.json").write_text(json.dumps(settings))
    path = {"sklearn": "/v2/models/wine/infer", "mlflow": "/invocations"}[kind]
    command = [str(Path(python).with_name("mlserver")), "start", str(place)]
    with server(command, f"http://127.0.0.1:{port}/v2/models/wine/ready"):
        yield Peer(f"MLServer, {kind} runtime", f"http://127.0.0.1:{port}{path}", script)


def wine_rows(project: Path) -> tuple[list[str], list[list[float]]]:
    """Return the columns of a wine project's customers, and their rows."""
    with (project / "data" / "customers.csv").open(newline="") as file:
        table = list(csv.reader(file))
    keep = [index for index, name in enumerate(table[0]) if name != "quality"]
    rows = [[float(row[index]) for index in keep] for row in table[1:]]
    return [table[0][index] for index in keep], rows


def model_folder(project: Path, version: int) -> Path:
    """Return the folder of a version of `wine`."""
    shown = json.loads(run("models", "show", f"wine/{version}", "--json", cwd=project))
    return Path(str(_find(shown, "source")).removeprefix("file://"))


def _find(document: object, key: str) -> object:
    if isinstance(document, dict):
        if key in document:
            return document[key]
        for value in document.values():
            found = _find(value, key)
            if found is not None:
                return found
    return None
