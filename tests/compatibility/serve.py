"""Both servers of every model in one process and on one port: `/mlflow/N/…` and `/ours/N/…`.

MLflow's is the application that `mlflow models serve` runs; ours is that of `mlops.serving`, with
a journal that keeps nothing. Prints a line of JSON when it listens: the port and the cases.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import warnings
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import uvicorn

from mlops.journal.null import URL, open_journal
from mlops.journal.writer import JournalWriter
from mlops.serving.access import Gate
from mlops.serving.app import App
from mlops.serving.browsers import Guard
from mlops.serving.dataplane import DataPlane
from mlops.serving.feedback_service import FeedbackService
from mlops.serving.metrics import Metrics
from mlops.serving.pages import Pages
from mlops.serving.recording import Recorder
from mlops.serving.request_bodies import MemoryBudget
from mlops.serving.revision import load_revision
from mlops.serving.shadows import Shadows
from mlops.spec.deployment import Arm, DeploymentSpec, Revision
from mlops.spec.model import ModelVersion
from mlops.spec.server import Served
from tests.compatibility.models import Corpus

GUARD = Guard("127.0.0.1", ())

Application = Callable[[Any, Any, Any], Awaitable[None]]


def ours(folder: Path) -> Application:
    """Our application for one model, put together as a server process does."""
    key = bytes(32)
    model = ModelVersion(ref="m", label="m/1", source=str(folder))
    spec = DeploymentSpec("m", (Arm("a", model, 1.0),))
    live = load_revision(Served(Revision(1, spec), (str(folder),)))
    journal = open_journal(URL)
    writer = JournalWriter(journal, lambda *_: None)
    metrics = Metrics("m", dict)
    shadows = Shadows(key, writer, metrics)
    plane = DataPlane(live, key, Recorder(writer, metrics, shadows, "all"))
    desk = FeedbackService(plane, metrics, {1: spec})
    pages = Pages(plane, metrics, lambda: live.arms[0].loaded.example)
    return App(
        plane,
        desk,
        writer,
        metrics,
        pages.application(),
        Gate(),
        MemoryBudget(1 << 30),
        GUARD,
    )


def theirs(folder: Path) -> Application:
    """MLflow's application for one model."""
    from mlflow.pyfunc import load_model
    from mlflow.pyfunc.scoring_server import init

    application: Application = init(load_model(str(folder)))
    return application


def dispatcher(applications: dict[str, Application]) -> Application:
    """Serve each application under its own prefix, which it does not see."""

    async def call(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        _, server, number, rest = scope["path"].split("/", 3)
        inner = {**scope, "path": f"/{rest}", "raw_path": f"/{rest}".encode()}
        await applications[f"{server}/{number}"](inner, receive, send)

    return call


async def main(folder: Path) -> None:
    warnings.simplefilter("ignore")
    cases = Corpus(folder).save()
    applications: dict[str, Application] = {}
    examples = []
    for number, case in enumerate(cases):
        applications[f"ours/{number}"] = mine = ours(folder / case.name)
        applications[f"mlflow/{number}"] = theirs(folder / case.name)
        plane: Any = mine._plane  # type: ignore[attr-defined]
        examples.append(plane.live.arms[0].loaded.example)
    config = uvicorn.Config(
        dispatcher(applications), lifespan="off", access_log=False, log_level="critical"
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        found = {
            "port": listener.getsockname()[1],
            "cases": [asdict(case) for case in cases],
            "examples": examples,
        }
        print(json.dumps(found), flush=True)
        await uvicorn.Server(config).serve([listener])


if __name__ == "__main__":
    os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", OMP_NUM_THREADS="1")
    asyncio.run(main(Path(sys.argv[1])))
