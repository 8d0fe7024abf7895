"""Runs inside a run: `mlflow.projects.run` in a script gets the environment manager of ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops.errors import UsageError
from mlops.registry import open_registry
from mlops.registry.lineage_queries import trace
from mlops.settings import load_settings
from mlops.training import TrainRequest, train
from mlops.training.registration import register_finished
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


_STEPS = """
name: steps
entry_points:
  main: {command: "python main.py"}
  fit:
    parameters: {data: path, alpha: float}
    command: "python fit.py {data} {alpha}"
"""
_FIT = """
import sys
import mlflow, numpy as np, pandas as pd
from sklearn.linear_model import Ridge
table = pd.read_csv(sys.argv[1])
model = Ridge(alpha=float(sys.argv[2])).fit(table[["x"]], table["y"])
with mlflow.start_run():
    signature = mlflow.models.infer_signature(table[["x"]], model.predict(table[["x"]]))
    mlflow.log_metric("alpha", float(sys.argv[2]))
    mlflow.sklearn.log_model(model, name="line", signature=signature, pip_requirements=["mlflow"])
"""
_RUN = 'mlflow.projects.run(".", "fit", parameters={{"data": "table.csv", "alpha": {}}})'


def _steps(folder: Path, *alphas: float, inside: bool) -> Path:
    lines = [_RUN.format(alpha) for alpha in alphas]
    head = ["import mlflow", "with mlflow.start_run():" if inside else "if True:"]
    write_project(folder, "", _STEPS)
    (folder / "main.py").write_text("\n    ".join(["\n".join(head), *lines]))
    (folder / "fit.py").write_text(_FIT)
    rows = "".join(f"{x},{2 * x}\n" for x in range(30))
    (folder / "table.csv").write_text(f"x,y\n{rows}")
    return folder


@pytest.mark.parametrize("inside", [True, False])
def test_the_only_model_of_the_runs_below_is_registered_as_if_that_step_had_been_the_run(
    ready_folder: Path, inside: bool
) -> None:
    folder = _steps(ready_folder, 0.5, inside=inside)
    settings = load_settings(folder, environ={})
    done = train(TrainRequest(str(folder), alias="only", env_manager="local"), settings)
    assert done.model is not None
    assert (done.model.label, done.alias, done.unregistered) == ("steps/1", "only", "")
    assert (done.profile, done.no_profile) == (True, "")
    step = open_registry(settings).get_run(done.model.run_id)
    assert step.info.run_id != done.run_id
    assert step.data.metrics == {"alpha": 0.5}
    origin = trace(settings, "steps/1")
    assert origin.profile is not None
    assert origin.profile.data == "data"
    assert origin.run is not None
    assert origin.run.run_id == step.info.run_id
    assert origin.run.command
    assert any(uri.endswith("provenance.json") for uri in origin.run.records)
    again = register_finished(settings, done.run_id)
    assert again.model is not None
    assert again.model.label == "steps/1"


@pytest.mark.parametrize(("model", "called"), [("", ""), ("line", " called `line`")])
def test_several_models_of_the_runs_below_are_named_and_none_is_chosen(
    ready_folder: Path, model: str, called: str
) -> None:
    folder = _steps(ready_folder, 0.5, 0.7, inside=True)
    settings = load_settings(folder, environ={})
    done = train(TrainRequest(str(folder), model=model, env_manager="local"), settings)
    steps = open_registry(settings).search_runs(
        ["1"], f"tag.`mlflow.parentRunId` = '{done.run_id}'", order_by=["start_time ASC"]
    )
    commands = " or ".join(f"`mlops models register {run.info.run_id}`" for run in steps)
    assert done.model is None
    assert done.unregistered == f"runs below this one logged 2 models{called}: {commands}"
    assert not list(ready_folder.rglob("reference_profile.json"))
    with pytest.raises(UsageError, match=f"runs below it logged 2 models{called}") as refusal:
        register_finished(settings, done.run_id, model)
    assert refusal.value.hint == f"{commands} registers one of them."
    assert register_finished(settings, steps[1].info.run_id).model is not None
