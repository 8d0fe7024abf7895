"""Do swaps disturb anybody? Weights and models change under load.

    python benchmarks/swaps.py [--swaps 20] [--seconds 60] [--rate 500] [--quick 100]

16 keep-alive connections ask without a pause and check every answer: its status, that its
prediction is that of the model which the revision has for this arm, and that no revision goes
back. Every fourth change brings a new model: the arm that has won becomes `old`, a new one starts
at 10 %. The three changes between let `new` grow; units (`--sticky-by`) that have it keep it. Those
that have `old` may leave it, which is how an arm grows, and another pair of models is another
experiment, for which all units are drawn afresh.

Each model carries 32 MB of ballast, so one that was not let
go of would show in the process's memory. Exits with 1 if anything is not as it must be.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import machine
from keepalive import Account, Expected, asking

from mlops.deployment.admin_client import swap
from mlops.deployment.local import serve, stop
from mlops.deployment.runtime_files import places
from mlops.settings import load_settings
from mlops.spec.deployment import Arm, DeploymentSpec, Revision
from mlops.spec.model import ModelVersion
from mlops.spec.server import Served

_COLUMNS = ("alcohol", "sulphates", "pH")
_MODELS = 3
_ROWS = 40
_BALLAST_MB = 32
# Below the ballast of one model, above what the allocator keeps for itself.
_TOLERANCE_MB = 24
# Share of `new`, one change after another, before the next pair comes.
_SHARES = (0.1, 0.4, 0.7, 1.0)
# Asked for beyond the least rate, since a client on a busy machine falls behind.
_MARGIN = 1.4


@dataclass(frozen=True, slots=True)
class Model:
    """A saved model and what it predicts for the rows that are asked about."""

    folder: Path
    predictions: list[float]


class Stage:
    """A running server and the revisions it is given.

    Args:
        models: To choose from, pair after pair.
        folder: Project folder.
    """

    def __init__(self, models: list[Model], folder: Path) -> None:
        settings = load_settings(folder, environ={})
        self.where = places(settings, "wine")
        self.seen = Account()
        self.times: dict[str, list[float]] = {"weights": [], "models": []}
        self._models = models
        self._step = 0
        state, _ = serve(settings, self.where, self._next())
        self.pid, self.port = state.pid, state.launch.port
        self._socket = state.launch.socket

    async def change(self) -> None:
        """Swap in the next revision."""
        kind = "weights" if (self._step + 1) % len(_SHARES) else "models"
        self._step += 1
        await self._swap(kind, self._next())

    async def change_weights(self, share: float) -> None:
        """Swap in the same models with any share of `new`."""
        await self._swap("weights", self._next(share))

    async def _swap(self, kind: str, served: Served) -> None:
        started = time.perf_counter()
        await asyncio.to_thread(swap, self._socket, served)
        self.times[kind].append(time.perf_counter() - started)
        self.seen.floor = max(self.seen.floor, served.revision.number)

    def _next(self, share: float | None = None) -> Served:
        pair, turn = divmod(self._step, len(_SHARES))
        growing = "new" if share is None else ""
        share = _SHARES[turn] if share is None else share
        old, new = (self._models[(pair + k) % len(self._models)] for k in (0, 1))
        number = len(self.seen.revisions) + 1
        expected = {"old": old.predictions, "new": new.predictions}
        self.seen.revisions[number] = Expected(pair, growing, expected)
        arms = (_arm("old", old, 1 - share), _arm("new", new, share))
        spec = DeploymentSpec("wine", arms, sticky_by="header:X-Customer")
        return Served(Revision(number, spec), (str(old.folder), str(new.folder)))

    def memory_mb(self) -> float:
        """Resident memory of the server."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise SystemExit("this system does not tell the memory of a process")


async def main(folder: Path, swaps: int, seconds: float, rate: float, quick: int) -> bool:
    rows, models = make_models(folder)
    bodies = [_body(row) for row in rows]
    with _stage(models, folder) as stage:
        async with asking(stage.port, bodies, rate * _MARGIN, stage.seen):
            # Once through all models, so that what they cost for ever is paid.
            for _ in range(_MODELS * len(_SHARES)):
                await stage.change()
        before, warm = await _settled(stage), stage.seen.answers
        stage.times = {kind: [] for kind in stage.times}
        stage.seen.latencies.clear()

        started = time.perf_counter()
        async with asking(stage.port, bodies, rate * _MARGIN, stage.seen):
            for count in range(1, swaps + 1):
                await asyncio.sleep(
                    max(0, started + seconds * (count - 0.5) / swaps - time.perf_counter())
                )
                await stage.change()
            await asyncio.sleep(max(0, started + seconds - time.perf_counter()))
        took = time.perf_counter() - started
        answers = stage.seen.answers - warm
        after, times = await _settled(stage), stage.times
        _print(stage, swaps, took, answers)

        stage.times = {kind: [] for kind in times}
        async with asking(stage.port, bodies, rate * _MARGIN, stage.seen):
            for count in range(quick):
                await stage.change_weights(0.5 + 0.4 * (count % 2))
        last = await _settled(stage)
        print(f"{quick} more changes of weights: {_median_ms(stage.times['weights']):.0f} ms each")
    print(
        f"memory: {before:.0f} MB before, {after:.0f} MB after, {last:.0f} MB after those {quick}"
    )
    print(f"faults: {len(stage.seen.faults)}")
    print("".join(f"  {fault}\n" for fault in stage.seen.faults), end="")
    grown = max(after, last) - before
    return not stage.seen.faults and answers / took >= rate and grown < _TOLERANCE_MB


def _print(stage: Stage, swaps: int, took: float, answers: int) -> None:
    latencies = stage.seen.latencies
    print(machine())
    print(f"{swaps} changes in {took:.0f} s: {len(stage.times['models'])} of models", end=" ")
    print(f"({_median_ms(stage.times['models']):.0f} ms each), of weights the rest", end=" ")
    print(f"({_median_ms(stage.times['weights']):.0f} ms each)")
    print(f"requests: {answers:,}, all checked, {answers / took:,.0f}/s on 16 connections")
    print(f"latency: p50 {statistics.median(latencies) * 1000:.1f} ms,", end=" ")
    print(f"p99 {statistics.quantiles(latencies, n=100)[-1] * 1000:.1f} ms,", end=" ")
    print(f"longest {max(latencies) * 1000:.0f} ms")
    print(f"units that kept the growing arm: {len(stage.seen.kept):,}")


@contextlib.contextmanager
def _stage(models: list[Model], folder: Path) -> Iterator[Stage]:
    stage = Stage(models, folder)
    try:
        yield stage
    finally:
        stop(stage.where)


async def _settled(stage: Stage) -> float:
    """Return the memory of the server once it stands still, after 20 s at most."""
    seen = [stage.memory_mb()]
    for _ in range(20):
        await asyncio.sleep(1.0)
        seen.append(stage.memory_mb())
        if len(seen) > 2 and max(seen[-3:]) - min(seen[-3:]) < 1:
            break
    return seen[-1]


def make_models(folder: Path) -> tuple[list[list[float]], list[Model]]:
    """Save models that differ, with ballast; return the rows to ask about, too."""
    import mlflow.sklearn
    import numpy as np
    import pandas as pd
    from mlflow.models import infer_signature
    from sklearn.linear_model import LinearRegression

    chance = np.random.default_rng(7)
    wines = pd.DataFrame(chance.uniform(0, 12, (_ROWS, len(_COLUMNS))), columns=_COLUMNS)
    models = []
    for number in range(_MODELS):
        model: Any = LinearRegression().fit(wines, wines @ chance.normal(size=len(_COLUMNS)))
        model.ballast_ = np.ones(_BALLAST_MB * 2**17)
        path = folder / "models" / str(number)
        mlflow.sklearn.save_model(
            model,
            str(path),
            signature=infer_signature(wines, model.predict(wines)),
            input_example=wines.head(1),
            pip_requirements=["scikit-learn"],
            serialization_format="cloudpickle",
        )
        models.append(Model(path, model.predict(wines).tolist()))
    return wines.to_numpy().tolist(), models


def _arm(name: str, model: Model, weight: float) -> Arm:
    number = int(model.folder.name) + 1
    version = ModelVersion(
        ref=f"m/{number}", label=f"m/{number}", source=str(model.folder), name="m", version=number
    )
    return Arm(name, version, weight)


def _body(row: list[float]) -> bytes:
    return json.dumps({"dataframe_split": {"columns": _COLUMNS, "data": [row]}}).encode()


def _median_ms(seconds: list[float]) -> float:
    return statistics.median(seconds) * 1000 if seconds else float("nan")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--swaps", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=500.0, help="least requests a second")
    parser.add_argument("--quick", type=int, default=100, help="changes of weights at the end")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mlops-bench-") as place:
        (Path(place) / "mlops.toml").touch()
        kept = asyncio.run(
            main(Path(place), chosen.swaps, chosen.seconds, chosen.rate, chosen.quick)
        )
    sys.exit(0 if kept else 1)
