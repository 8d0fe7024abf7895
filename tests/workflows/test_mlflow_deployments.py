"""`mlflow deployments -t mlops`: the real command and the client behind it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import mlflow
import pandas as pd
import pytest
from click.testing import CliRunner
from mlflow.deployments import get_deploy_client
from mlflow.deployments.cli import commands
from mlflow.exceptions import MlflowException

from tests.fixtures_deployment import Shop
from tests.servers import unused_port

# MLflow is untyped.
Client: TypeAlias = Any
_FOREIGN = ("MLFLOW_", "MLOPS_")


@pytest.fixture
def at_home(wine_shop: Shop) -> Iterator[Shop]:
    """A project with two registered models, as the current folder of a fresh MLflow."""
    before = mlflow.get_tracking_uri()
    with contextlib.chdir(wine_shop.folder):
        mlflow.set_tracking_uri(wine_shop.settings.tracking.uri)
        yield wine_shop
    mlflow.set_tracking_uri(before)


@pytest.fixture
def rows(at_home: Shop) -> Path:
    """Two rows as `mlflow deployments predict` reads them."""
    table = pd.read_csv(at_home.folder / "data/customers.csv").drop(columns="quality")
    path = at_home.folder / "rows.json"
    table.head(2).to_json(path, orient="records")
    return path


def command(*words: str, target: str = "mlops") -> str:
    """Run MLflow's command in this process; it must succeed."""
    name, *rest = words
    result = CliRunner().invoke(commands, [name, "-t", target, *rest], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return str(result.output)


def spawned(folder: Path, *words: str) -> str:
    """Run MLflow's program; it must succeed."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith(_FOREIGN)}
    program = [str(Path(sys.executable).with_name("mlflow")), "deployments", *words]
    done = subprocess.run(
        program, cwd=folder, env=environ, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_life_of_a_deployment(at_home: Shop, rows: Path) -> None:
    said = spawned(
        at_home.folder, "create", "-t", "mlops", "--name", "white", "-m", "models:/wine/1"
    )
    assert "python_function deployment white is created" in said
    said = command("predict", "--name", "white", "-I", str(rows))
    first = json.loads(said.splitlines()[-1])["predictions"]
    assert len(first) == 2
    with pytest.raises(MlflowException, match="already"):
        command("create", "--name", "white", "-m", "models:/wine/2")
    assert "'white'" in command("list")
    output = at_home.folder / "predictions.json"
    command("predict", "--endpoint", "white", "-I", str(rows), "-O", str(output))
    assert json.loads(output.read_text())["predictions"] == first
    challenge = ("-C", "challenger=models:/wine/2", "-C", "split=80/20")
    assert "white is updated" in command(
        "update", "--name", "white", "-m", "models:/wine/1", *challenge
    )
    described = command("get", "--name", "white")
    assert "state: running" in described
    assert "wine/2" in described
    assert "0.2" in described
    command("delete", "--name", "white")
    command("delete", "--name", "white")
    assert "white" not in command("list")
    for words in (("get",), ("predict", "-I", str(rows)), ("update", "-m", "models:/wine/1")):
        with pytest.raises(MlflowException, match="stopped"):
            command(*words, "--name", "white")
    # What was deleted is there again, with its evidence.
    command("create", "--name", "white", "-m", "models:/wine/2")
    assert "revision: 3" in command("get", "--name", "white")
    at_home.ok("report", "white", "--json")


def test_the_client_in_a_program(at_home: Shop, rows: Path) -> None:
    # From elsewhere, by the project's folder.
    with contextlib.chdir("/"):
        client: Client = get_deploy_client(f"mlops:{at_home.folder}")
        port = unused_port()
        created = client.create_deployment(
            "white", "models:/wine/1", config={"challenger": "models:/wine/2", "port": port}
        )
        assert created["name"] == "white"
        assert created["url"].endswith(f":{port}")
        frame = pd.read_json(rows)
        answers = {}
        for arm in (each["name"] for each in created["arms"]):
            asked = client.predict(arm, frame, endpoint="white")
            answers[arm] = asked.get_predictions().iloc[:, 0].tolist()
            for inputs in ({"dataframe_records": frame.to_dict("records")}, frame.to_numpy()):
                again = client.predict(arm, inputs, endpoint="white")
                assert again["predictions"] == pytest.approx(answers[arm])
        one, other = answers.values()
        assert one != other
        assert client.predict("white", frame)["predictions"] in (one, other)
        assert [each["name"] for each in client.list_endpoints()] == ["white"]
        client.update_deployment("white", config={"split": "90/10"})
        weights = [arm["weight"] for arm in client.get_deployment("white")["arms"]]
        assert weights == pytest.approx([0.9, 0.1])
        client.delete_deployment("white")
        assert client.list_deployments() == []


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda c: c.create_deployment("white", "models:/beer/1"), "beer"),
        (lambda c: c.create_deployment("white", "models:/wine/1", flavor="sklearn"), "sklearn"),
        (lambda c: c.create_deployment("white", "models:/wine/1", endpoint="e"), "challenger"),
        (lambda c: c.create_deployment("white", "models:/wine/1", config={"prot": 1}), "`prot`"),
        (lambda c: c.create_deployment("white", "models:/wine/1", config={"port": "x"}), "port"),
        (lambda c: c.create_deployment("No name", "models:/wine/1"), "No name"),
        (lambda c: c.update_deployment("white", "models:/wine/1"), "white"),
        (lambda c: c.get_deployment("white"), "white"),
        (lambda c: c.get_endpoint("white"), "white"),
        (lambda c: c.predict("white", {"inputs": [1]}), "white"),
        (lambda c: c.predict(None, {"inputs": [1]}), "Name a deployment"),
        (lambda c: c.explain("white", None), "not yet supported"),
        (lambda c: c.create_endpoint("white"), "unimplemented"),
    ],
)
def test_what_cannot_be_is_mlflows_error(at_home: Shop, call: Any, reason: str) -> None:
    with pytest.raises(MlflowException, match=reason):
        call(get_deploy_client("mlops"))


def test_help_names_every_word_of_config() -> None:
    from mlops.workflows.mlflow_deployments import _MODELS, _SETTINGS

    said = command("help")
    assert all(name in said for name in (*_MODELS, *_SETTINGS))


def test_run_local_stays_until_it_is_interrupted(at_home: Shop) -> None:
    port = unused_port()
    environ = {k: v for k, v in os.environ.items() if not k.startswith(_FOREIGN)}
    words = ("run-local", "-t", "mlops", "--name", "white", "-m", "models:/wine/1")
    process = subprocess.Popen(
        [Path(sys.executable).with_name("mlflow"), "deployments", *words, "-C", f"port={port}"],
        cwd=at_home.folder,
        env=environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 240
        while True:
            assert process.poll() is None
            with contextlib.suppress(OSError):
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5) as answer:
                    assert answer.status == 200
                break
            assert time.monotonic() < deadline
            time.sleep(0.2)
    finally:
        # As a terminal does: to the command and to its server.
        os.killpg(process.pid, signal.SIGINT)
        process.wait(60)
    assert "stopped" in {each.state for each in [_status(at_home)]}


def _status(shop: Shop) -> Any:
    from mlops.deployment.runtime_files import places
    from mlops.deployment.status import status

    return status(places(shop.settings, "white"))
