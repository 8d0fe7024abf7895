from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import mlops
from mlops.registry import experiment_id, open_registry
from mlops.registry.client import registry_uri, script_environment
from mlops.settings import load_settings

pytestmark = pytest.mark.usefixtures("clean_environ")


def test_opening_two_projects_leaves_neither_in_the_environment(tmp_path: Path) -> None:
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        settings = load_settings(folder)
        client = open_registry(settings)
        assert client.tracking_uri == f"sqlite:///{folder}/.mlops/mlflow.db"
        assert registry_uri(settings) == client.tracking_uri
        assert load_settings(folder).origins["tracking.uri"] == "default"
    assert "MLFLOW_TRACKING_URI" not in os.environ
    assert "MLFLOW_REGISTRY_URI" not in os.environ


def test_making_a_fresh_database_says_nothing(tmp_path: Path) -> None:
    script = (
        "from mlops.settings import load_settings\n"
        "from mlops.registry import open_registry\n"
        "open_registry(load_settings()).search_experiments()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={"PATH": "/nowhere", "PYTHONPATH": str(Path(mlops.__file__).parent.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("", "")
    assert [path.name for path in tmp_path.iterdir()] == [".mlops"]


def test_commands_that_come_first_together_make_one_database(tmp_path: Path) -> None:
    script = (
        "from mlops.settings import load_settings\n"
        "from mlops.registry import open_registry\n"
        "print(len(open_registry(load_settings()).search_experiments()))\n"
    )
    both = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            cwd=tmp_path,
            env={"PATH": "/nowhere", "PYTHONPATH": str(Path(mlops.__file__).parent.parent)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(2)
    ]
    assert [process.communicate(timeout=180)[0] for process in both] == ["1\n", "1\n"]


def test_an_experiment_keeps_its_artifacts_in_the_project(ready_folder: Path) -> None:
    settings = load_settings(ready_folder)
    client = open_registry(settings)
    made = experiment_id(client, settings, "mine")
    assert experiment_id(client, settings, "mine") == made
    place = (ready_folder / ".mlops" / "artifacts" / "mine").as_uri()
    assert client.get_experiment(made).artifact_location == place


def test_an_experiment_goes_to_the_artifact_store_of_the_settings(ready_folder: Path) -> None:
    settings = load_settings(ready_folder, flags={"artifacts.root": "s3://bucket/x/"})
    client = open_registry(settings)
    made = client.get_experiment(experiment_id(client, settings, "mine"))
    assert made.artifact_location == "s3://bucket/x/mine"


def test_a_script_is_told_where_mlflow_is_and_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", "x")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "9")
    settings = load_settings(tmp_path)
    environment = script_environment(settings)
    assert environment["MLFLOW_TRACKING_URI"] == settings.tracking_uri
    assert environment["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "9"
    assert "MLFLOW_RUN_ID" not in environment
