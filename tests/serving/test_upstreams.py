"""Arms in servers of other people: MLflow's scoring server and MLServer, run for real."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from mlops.spec.deployment import Arm, DeploymentSpec, Revision
from mlops.spec.model import ModelVersion
from mlops.spec.server import Served
from tests.requirements import require
from tests.servers import unused_port
from tests.serving.models import ROWS, records
from tests.serving.server import Server, make_launch, running
from tests.waiting import wait_until

_START_S = 240.0


@contextlib.contextmanager
def started(command: Sequence[str], url: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the block ends; it is ready when `url` answers."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # MLflow starts `uvicorn` by its name, as a child that must end with it.
            env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + _START_S
            while True:
                try:
                    with urllib.request.urlopen(url, timeout=5):
                        break
                except (OSError, urllib.error.URLError):
                    log.seek(0)
                    ended = process.poll() is not None or time.monotonic() > deadline
                    assert not ended, log.read().decode(errors="replace")
                    time.sleep(0.2)
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextlib.contextmanager
def router(folder: Path, model: Path, ref: str) -> Iterator[Server]:
    """The model itself, and the way to it."""
    spec = DeploymentSpec(
        "wine",
        (
            Arm("here", ModelVersion("a", "a/1", str(model)), 0.5),
            Arm("away", ModelVersion(ref, ref, ref), 0.5),
        ),
    )
    launch = make_launch(folder, Served(Revision(1, spec), (str(model), "")))
    with running(launch, folder) as process:
        yield process


def check_that_both_agree(server: Server) -> None:
    bodies: list[tuple[str, Any]] = [
        ("/invocations", {"dataframe_records": records(ROWS)}),
        ("/api/v1.0/predictions", {"data": {"names": list(records(ROWS)[0]), "ndarray": ROWS}}),
        (
            "/v2/models/wine/infer",
            {
                "inputs": [
                    {
                        "name": name,
                        "shape": [len(ROWS), 1],
                        "datatype": "FP64",
                        "data": [row[i] for row in ROWS],
                    }
                    for i, name in enumerate(records(ROWS)[0])
                ]
            },
        ),
    ]
    for path, body in bodies:
        here, away = (server.post(path, body, x_mlops_arm=arm) for arm in ("here", "away"))
        assert (here.status, away.status) == (200, 200), away.body
        assert _numbers(away.json) == pytest.approx(_numbers(here.json))
    # Whole numbers for doubles; and what the signature refuses.
    whole = [dict.fromkeys(records(ROWS)[0], 7)]
    assert server.predict(whole, x_mlops_arm="away").status == 200
    broken = server.predict([{"alcohol": "strong"}], x_mlops_arm="away")
    assert broken.status in (400, 502), broken.body
    assert "The endpoint of `away`" in broken.json["message"]


def _numbers(answer: Any) -> list[float]:
    found = answer.get("predictions")
    if found is None and "outputs" in answer:
        found = answer["outputs"][0]["data"]
    if found is None:
        found = answer["data"]["ndarray"]
    return [cell[0] if isinstance(cell, list) else cell for cell in found]


def check_that_one_down_takes_nobody_along(
    server: Server, process: subprocess.Popen[bytes]
) -> None:
    process.kill()
    process.wait()
    answers = [server.predict(records(ROWS)) for _ in range(40)]
    assert {answer.status for answer in answers if answer.arm == "here"} == {200}
    assert {answer.status for answer in answers if answer.arm == "away"} <= {502, 503}
    assert any(answer.arm == "away" for answer in answers)


def test_mlflow_models_serve(models: dict[str, Path], tmp_path: Path) -> None:
    port = unused_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(models["a"])]
    command += ["-p", str(port), "--env-manager", "local", "-w", "1"]
    with (
        started(command, f"http://127.0.0.1:{port}/ping") as process,
        router(tmp_path, models["a"], f"mlflow+http://127.0.0.1:{port}") as server,
    ):
        check_that_both_agree(server)
        # A child of it does the work, and ends with its group.
        os.killpg(process.pid, signal.SIGKILL)
        check_that_one_down_takes_nobody_along(server, process)


@pytest.fixture(scope="module")
def mlserver_python() -> str:
    """Python of an environment with MLServer and its runtimes; `MLOPS_MLSERVER_PYTHON`."""
    python = os.environ.get("MLOPS_MLSERVER_PYTHON", "")
    there = bool(python) and (Path(python).parent / "mlserver").is_file()
    require("mlserver", there, "MLOPS_MLSERVER_PYTHON names no Python with MLServer")
    return python


@pytest.mark.parametrize("runtime", ["sklearn", "mlflow"])
def test_mlserver(
    models: dict[str, Path], tmp_path: Path, mlserver_python: str, runtime: str
) -> None:
    folder = tmp_path / "mlserver"
    folder.mkdir()
    port = unused_port()
    settings = {"http_port": port, "grpc_port": unused_port(), "metrics_port": unused_port()}
    (folder / "settings.json").write_text(
        json.dumps({**settings, "host": "127.0.0.1", "parallel_workers": 0})
    )
    (folder / "model-settings.json").write_text(
        json.dumps(_model_settings(folder, models["a"], runtime))
    )
    program = Path(mlserver_python).parent / "mlserver"
    ready = f"http://127.0.0.1:{port}/v2/models/up/ready"
    ref = f"v2+http://127.0.0.1:{port}/v2/models/up"
    with (
        started([str(program), "start", str(folder)], ready) as process,
        router(tmp_path, models["a"], ref) as server,
    ):
        if runtime == "mlflow":
            check_that_both_agree(server)
        else:
            # scikit-learn's runtime takes one array.
            body = {"inputs": ROWS}
            here, away = (
                server.post("/invocations", body, x_mlops_arm=arm) for arm in ("here", "away")
            )
            assert away.status == 200, away.body
            assert _numbers(away.json) == pytest.approx(_numbers(here.json))
        wait_until(lambda: server.admin("GET", "/status").json["arms"][1]["up"])
        check_that_one_down_takes_nobody_along(server, process)


def _model_settings(folder: Path, model: Path, runtime: str) -> dict[str, Any]:
    if runtime == "mlflow":
        return {
            "name": "up",
            "implementation": "mlserver_mlflow.MLflowRuntime",
            "parameters": {"uri": str(model)},
        }
    import joblib  # type: ignore[import-untyped]  # it has no types
    import mlflow.sklearn

    # MLServer's scikit-learn may be another one; a linear model is the same in all of them.
    joblib.dump(mlflow.sklearn.load_model(str(model)), folder / "model.joblib")
    return {
        "name": "up",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": str(folder / "model.joblib")},
    }
