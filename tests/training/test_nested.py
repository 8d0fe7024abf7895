"""Runs inside a run: `mlflow.projects.run` in a script gets the environment manager of ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops.registry import open_registry
from mlops.settings import load_settings
from mlops.training import TrainRequest, train
from tests.training.projects import write_project

_PROJECT = """
name: search
python_env: python_env.yaml
entry_points:
  main: {command: "python script.py"}
  trial:
    parameters: {rate: float}
    command: "python trial.py {rate}"
"""
_SEARCH = """
import os
import mlflow
with mlflow.start_run():
    run = mlflow.projects.run(".", "trial", parameters={"rate": 2})
    assert run.wait()
"""


@pytest.mark.parametrize("warm", ["true", "false"])
def test_nested_runs_execute_in_our_environment(ready_folder: Path, warm: str) -> None:
    write_project(ready_folder, _SEARCH, _PROJECT)
    (ready_folder / "trial.py").write_text("print('tried')")
    # No environment can be made of this.
    (ready_folder / "python_env.yaml").write_text("dependencies: ['no-such-package==0.0']")
    settings = load_settings(ready_folder, environ={"MLOPS_TRAINING_WARM": warm})
    done = train(TrainRequest(str(ready_folder), env_manager="local", no_register=True), settings)
    (nested,) = [
        run for run in open_registry(settings).search_runs(["1"]) if run.info.run_id != done.run_id
    ]
    assert nested.data.params == {"rate": "2"}
    assert nested.data.tags["mlflow.parentRunId"] == done.run_id
    assert nested.info.status == "FINISHED"
