"""Micro-batching: requests of one row that share a call of the model, against each its own call.

    python benchmarks/batching.py [--rounds 5] [--seconds 4]

The model is a random forest of 100 in scikit-learn's own code (`--runtime native`), where a call
costs milliseconds however many rows it is given. Two servers, equal but that one never joins
requests, take turns on one core; wrk has the other, with 64 keep-alive connections and with one.
Answers are compared with the model's own first.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import statistics
import sys
import tempfile
import urllib.request
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from common import (
    CLIENT_CORE,
    Asked,
    Peer,
    ask,
    free_port,
    machine,
    need,
    run,
    server,
    split_body,
    wait_for,
    wrk_script,
)
from example_models import MODELS, save

# One first: of a round with many, some are still under way when the next begins.
_CONNECTIONS = (1, 64)
_COMPARED = 20
# What the shipped server is started with, and a constant that no request satisfies.
_APART = """
from mlops.serving import revision
revision._JOINED_SHARE = 0.0
"""
_START = """
import sys
from mlops.serving.__main__ import main
sys.exit(main())
"""


def main(rounds: int, seconds: float) -> None:
    need("wrk", "wrk")
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    print(machine())
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mlops-bench-")))
        made = MODELS["random forest of 100"]()
        save(made, folder / "model")
        header, rows = list(made[1].columns), made[1].head(500).to_numpy().tolist()
        bodies = [split_body(header, [row]) for row in rows]
        script = wrk_script(folder, "split", bodies)
        expected = made[0].predict(made[1].head(_COMPARED)).tolist()
        peers = [
            stack.enter_context(_ours(folder, name, script, start))
            for name, start in (("joined", _START), ("apart", _APART + _START))
        ]
        for peer in peers:
            _compare(peer, bodies, expected)
        for connections in _CONNECTIONS:
            found: dict[str, list[Asked]] = {peer.name: [] for peer in peers}
            for turn in range(rounds + 1):
                for peer in peers:
                    asked = ask(peer, seconds, connections=connections, core=CLIENT_CORE)
                    found[peer.name] += [asked] if turn else []
            _print(connections, found)


@contextlib.contextmanager
def _ours(folder: Path, name: str, script: Path, start: str) -> Iterator[Peer]:
    """Deploy the model, and run its server with a few lines before."""
    project, port = folder / name, free_port()
    project.mkdir()
    words = ("--runtime", "native", "--name", name, "--port", str(port), "--json")
    run("deploy", "--model", str(folder / "model"), *words, cwd=project)
    run("stop", name, cwd=project)
    launch = project / ".mlops" / "run" / f"{name}.launch"
    before = Path.cwd()
    os.chdir(project)
    try:
        with server([sys.executable, "-P", "-c", start, str(launch)], None):
            wait_for(f"http://127.0.0.1:{port}/ready")
            yield Peer(name, f"http://127.0.0.1:{port}/invocations", script)
    finally:
        os.chdir(before)


def _compare(peer: Peer, bodies: list[dict[str, object]], expected: list[float]) -> None:
    for body, known in zip(bodies, expected, strict=False):
        data, kind = json.dumps(body).encode(), {"content-type": "application/json"}
        request = urllib.request.Request(peer.url, data, kind)
        with urllib.request.urlopen(request, timeout=60) as answer:
            found: dict[str, Any] = json.load(answer)
        if not np.isclose(found["predictions"][0], known, rtol=1e-12):
            raise SystemExit(f"{peer.name} answers {found}, the model {known}")


def _print(connections: int, found: dict[str, list[Asked]]) -> None:
    medians = {
        name: [
            statistics.median(values)
            for values in zip(*((each.rate, each.p50_ms, each.p99_ms) for each in asked),
                              strict=True)
        ]
        for name, asked in found.items()
    }  # fmt: skip
    for name, (rate, p50, p99) in medians.items():
        print(f"{connections:>3} connections, {name:<7}{rate:>8.0f} req/s, "
              f"p50 {p50:.1f} ms, p99 {p99:.1f} ms")  # fmt: skip
    joined, apart = medians["joined"], medians["apart"]
    print(
        f"{connections:>3} connections: joined / apart {joined[0] / apart[0]:.2f} in requests, "
        f"{joined[1] / apart[1]:.2f} in p50",
        flush=True,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4)
    chosen = parser.parse_args()
    main(chosen.rounds, chosen.seconds)
