"""One row a request over gRPC: the same wine model here and in MLServer, in turn, in one run.

    python benchmarks/grpc_serving.py --mlserver PYTHON [--rounds 5] [--seconds 5]

The server has one core and the client the other; 16 calls are under way at a time, with raw
contents. Ours is an A/B test of two models with journal and metrics on; answers are compared with
what the model itself predicts, and decisions with requests. The client is Python's, which takes as
long for a call as a server does, so beside the rate stands what the server's processor took: that
of MLServer cannot be hidden behind a slow client. `--mlserver` names the Python of an environment
with `mlserver`, `mlserver-sklearn` and our version of scikit-learn.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import pickle
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from common import (
    CLIENT_CORE,
    SERVER_CORE,
    free_port,
    machine,
    model_folder,
    pin,
    run,
    server,
    state_of,
    wine_project,
    wine_rows,
)

from mlops.protocols.protobuf import methods

_AT_ONCE = 16
_PATH = "/inference.GRPCInferenceService/ModelInfer"
_REQUEST, _RESPONSE = methods("inference.GRPCInferenceService")["ModelInfer"]
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Peer:
    """A running server."""

    name: str
    address: str
    pid: int


def main(mlserver: str, rounds: int, seconds: int) -> None:
    import mlflow.sklearn

    os.sched_setaffinity(0, {CLIENT_CORE})
    with contextlib.ExitStack() as stack:
        project = stack.enter_context(wine_project())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        _, rows = wine_rows(project)
        bodies = [_body(row) for row in rows]
        estimators = [
            mlflow.sklearn.load_model(str(model_folder(project, version))) for version in (1, 2)
        ]
        known = [estimator.predict(np.array(rows)).ravel() for estimator in estimators]
        peers = [
            stack.enter_context(_ours(project)),
            stack.enter_context(_mlserver(mlserver, folder, estimators[0])),
        ]
        found: dict[str, list[tuple[float, float, float]]] = {peer.name: [] for peer in peers}
        asked = 0
        for turn in range(rounds + 1):
            for peer in peers:
                count, figures = asyncio.run(_ask(peer, bodies, known, seconds if turn else 2))
                asked += count if peer is peers[0] else 0
                # The first turn warms up.
                found[peer.name] += [figures] if turn else []
        _print(found)
        run("stop", "wine", cwd=project)
        with sqlite3.connect(project / ".mlops" / "journal" / "wine.db") as journal:
            kept = journal.execute("select count(*) from decisions").fetchone()[0]
        print(f"journal: {kept:,} decisions of {asked:,} requests")
        if kept != asked:
            raise SystemExit(1)


async def _ask(
    peer: Peer, bodies: list[bytes], known: list[Any], seconds: int
) -> tuple[int, tuple[float, float, float]]:
    """Return the number of requests; and their rate, p99 in ms, and processor time in us."""
    took: list[float] = []
    async with grpc.aio.insecure_channel(peer.address) as channel:
        call = channel.unary_unary(_PATH)
        end = time.perf_counter() + seconds

        async def keep_asking(number: int) -> None:
            while time.perf_counter() < end:
                number = (number + _AT_ONCE) % len(bodies)
                started = time.perf_counter()
                answer = await call(bodies[number])
                took.append(time.perf_counter() - started)
                if len(took) % 100 == 0:
                    _check(peer, answer, number, known)

        started, before = time.perf_counter(), _processor_s(peer.pid)
        await asyncio.gather(*(keep_asking(number) for number in range(_AT_ONCE)))
        elapsed = time.perf_counter() - started
    used = _processor_s(peer.pid) - before
    p99 = float(np.percentile(took, 99)) * 1e3
    return len(took), (len(took) / elapsed, p99, used / len(took) * 1e6)


def _check(peer: Peer, answer: bytes, number: int, known: list[Any]) -> None:
    message = _RESPONSE.FromString(answer)
    value = np.frombuffer(message.raw_output_contents[0], dtype=np.float64)[0]
    if not any(np.isclose(value, each[number], rtol=1e-12) for each in known):
        raise SystemExit(f"{peer.name} answers row {number} with {value}")


def _processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _print(found: dict[str, list[tuple[float, float, float]]]) -> None:
    print(machine())
    print(f"{'server':<28}{'req/s':>9}{'p99 ms':>9}{'server us/req':>15}")
    medians = {}
    for name, figures in found.items():
        medians[name] = [statistics.median(column) for column in zip(*figures, strict=True)]
        rate, p99, used = medians[name]
        print(f"{name:<28}{rate:>9.0f}{p99:>9.1f}{used:>15.0f}")
    ours, theirs = medians.values()
    print(f"rate: {ours[0] / theirs[0]:.2f} of MLServer's; processor: {ours[2] / theirs[2]:.2f}")


def _body(row: list[float]) -> bytes:
    message = _REQUEST(model_name="wine")
    message.inputs.add(name="input-0", datatype="FP64", shape=[1, len(row)])
    message.raw_input_contents.append(np.array(row).tobytes())
    body: bytes = message.SerializeToString()
    return body


@contextlib.contextmanager
def _ours(project: Path) -> Iterator[Peer]:
    port = str(free_port())
    run("deploy", "--ab", "wine/1", "wine/2", "--grpc-port", port, "--json", cwd=project)
    pid = int(str(state_of(project)["pid"]))
    pin(pid, SERVER_CORE)
    yield Peer("mlops, A/B of two", f"127.0.0.1:{port}", pid)


@contextlib.contextmanager
def _mlserver(python: str, folder: Path, estimator: object) -> Iterator[Peer]:
    (folder / "model.pickle").write_bytes(pickle.dumps(estimator))
    ports = {key: free_port() for key in ("http_port", "grpc_port", "metrics_port")}
    settings = {"parallel_workers": 0, "host": "127.0.0.1", **ports}
    (folder / "settings.json").write_text(json.dumps(settings))
    parameters = {"uri": str(folder / "model.pickle")}
    implementation = "mlserver_sklearn.SKLearnModel"
    model = {"name": "wine", "implementation": implementation, "parameters": parameters}
    (folder / "model-settings.json").write_text(json.dumps(model))
    command = [str(Path(python).with_name("mlserver")), "start", str(folder)]
    with server(command, f"http://127.0.0.1:{ports['http_port']}/v2/models/wine/ready") as pid:
        yield Peer("MLServer, sklearn runtime", f"127.0.0.1:{ports['grpc_port']}", pid)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mlserver", metavar="PYTHON", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5)
    chosen = parser.parse_args()
    main(chosen.mlserver, chosen.rounds, chosen.seconds)
