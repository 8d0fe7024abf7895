"""Seldon Core v1 as far as it can run here: real model servers, and a stand-in for the executor.

The model servers are Seldon's own Python wrapper (`seldon-core-microservice` 1.18.2, licensed under
the BSL, used in tests only), each with its own counters. The executor that connects them is a Go
program of the operator's image; its stand-in does what `executor/predictor/predictor_process.go`
does with a RANDOM_ABTEST of two models: draw a child, inject `meta.routing` if it is told to, and
hand feedback to the child that `response.meta.routing` names, or to all without it.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import signal
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.environments import client_python
from tests.servers import unused_port

_START_S = 180.0
_MODEL = '''
class Constant:
    """Answers the same for every row, and writes down what it is told."""

    def __init__(self, value=0.0):
        self.value = float(value)

    def predict(self, X, names, meta=None):
        return [[self.value] for _ in X]

    def send_feedback(self, features, feature_names, reward, truth, routing=None):
        print("TOLD", reward, [] if truth is None else list(map(float, truth)), flush=True)
'''


@dataclass
class ModelServer:
    """One real model server of Seldon's.

    Attributes:
        url: Where it serves.
        metrics_url: Where its counters are.
        log: What it printed.
    """

    url: str
    metrics_url: str
    log: Path

    def told(self) -> list[str]:
        """Return the feedback that its model was called with, oldest first."""
        lines = self.log.read_text().splitlines()
        return [line.removeprefix("TOLD ") for line in lines if line.startswith("TOLD ")]

    def counter(self, name: str) -> float:
        """Return a counter of feedback, 0 where it is not there yet."""
        with urllib.request.urlopen(self.metrics_url, timeout=60) as answer:
            text = answer.read().decode()
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == f"seldon_api_model_{name}_total"
        )


@contextlib.contextmanager
def model_servers(values: Sequence[float]) -> Iterator[list[ModelServer]]:
    """Run model servers, each of which predicts its value, until the block ends."""
    with tempfile.TemporaryDirectory() as text, contextlib.ExitStack() as stack:
        folder = Path(text)
        (folder / "Constant.py").write_text(_MODEL)
        started = [_start(stack, folder, number, value) for number, value in enumerate(values)]
        for server, process in started:
            _wait(server, process)
        yield [server for server, _ in started]


def _start(
    stack: contextlib.ExitStack, folder: Path, number: int, value: float
) -> tuple[ModelServer, subprocess.Popen[bytes]]:
    port, grpc, metrics = unused_port(), unused_port(), unused_port()
    log = folder / f"log-{number}"
    parameters = [{"name": "value", "value": str(value), "type": "FLOAT"}]
    file = stack.enter_context(log.open("wb"))
    python = client_python("seldon-client")
    process = subprocess.Popen(
        [
            *(python, "-W", "ignore", python.with_name("seldon-core-microservice"), "Constant"),
            *("--http-port", str(port), "--grpc-port", str(grpc), "--metrics-port", str(metrics)),
            *("--parameters", json.dumps(parameters), "--log-level", "WARNING"),
        ],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=file,
        stderr=file,
        env={**os.environ, "PREDICTIVE_UNIT_ID": f"model-{number}", "GUNICORN_THREADS": "1"},
        start_new_session=True,
    )
    stack.callback(_end, process)
    urls = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{metrics}/metrics"
    return ModelServer(*urls, log), process


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _wait(server: ModelServer, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_S
    for url in (f"{server.url}/health/ping", server.metrics_url):
        while True:
            try:
                with urllib.request.urlopen(url, timeout=5):
                    break
            except (OSError, urllib.error.URLError):
                late = process.poll() is not None or time.monotonic() > deadline
                assert not late, server.log.read_text()
                time.sleep(0.1)


@dataclass
class ExecutorStandIn:
    """What a test may tell it.

    Attributes:
        models: Its children.
        inject: Whether SELDON_ENABLE_ROUTING_INJECTION is set.
        router: Whether a router draws; else the first child is the whole graph.
        url: Where it serves.
        asked: Requests for predictions so far; children take turns.
    """

    models: list[ModelServer]
    inject: bool = True
    router: bool = True
    url: str = ""
    asked: int = 0


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    executor: ExecutorStandIn

    def do_GET(self) -> None:
        self._say(404, b"404 page not found\n", "text/plain; charset=utf-8")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/api/v1.0/predictions":
            self._predict(body)
        elif self.path == "/api/v1.0/feedback":
            self._feedback(body)
        else:
            self.do_GET()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its parent's name
        pass

    def _predict(self, body: bytes) -> None:
        executor = self.executor
        child = executor.asked % len(executor.models) if executor.router else 0
        executor.asked += 1
        answer = _post(f"{executor.models[child].url}/predict", body)
        if executor.inject:
            routing = {f"model-{child}": -1}
            answer.setdefault("meta", {})["routing"] = (
                {"ab": child, **routing} if executor.router else routing
            )
        self._say(200, json.dumps(answer).encode())

    def _feedback(self, body: bytes) -> None:
        executor = self.executor
        routing = json.loads(body)["response"].get("meta", {}).get("routing", {})
        chosen = routing.get("ab", -1) if executor.router else 0
        for number, model in enumerate(executor.models if executor.router else executor.models[:1]):
            if chosen in (-1, number):
                _post(f"{model.url}/send-feedback", body)
        # A root without SEND_FEEDBACK returns what was posted.
        self._say(200, body)

    def _say(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _post(url: str, body: bytes) -> dict[str, Any]:
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        document: dict[str, Any] = json.loads(answer.read())
    return document


@contextlib.contextmanager
def open_executor(models: list[ModelServer]) -> Iterator[ExecutorStandIn]:
    """Run a stand-in for the executor until the block ends."""
    executor = ExecutorStandIn(models)
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), type("Handler", (_Handler,), {"executor": executor})
    )
    server.daemon_threads = True
    executor.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield executor
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
