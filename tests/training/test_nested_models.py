"""Which models of nested runs count: those that are whole, of runs that are finished."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from mlops.errors import NotFoundError, UsageError
from mlops.registry import open_registry
from mlops.registry.logged_models import models_of
from mlops.settings import load_settings
from mlops.training import TrainRequest, train
from mlops.training.registration import (
    Registration,
    describable,
    register_finished,
    register_run,
)
from tests.training.projects import write_project

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from mlops.settings import Settings


@pytest.fixture
def settings(ready_folder: Path) -> Settings:
    return load_settings(ready_folder, environ={})


@pytest.fixture
def client(settings: Settings) -> MlflowClient:
    return open_registry(settings)


def nested(
    client: MlflowClient, parent: str = "", *models: str, status: str = "FINISHED", text: str = ""
) -> str:
    """Make a run, with models as MLflow 2 has them, and return its id."""
    tags = {"mlflow.parentRunId": parent} if parent else {}
    run_id = str(client.create_run("0", tags=tags).info.run_id)
    for name in models:
        client.log_text(run_id, text or yaml.safe_dump({"flavors": {}}), f"{name}/MLmodel")
    client.set_terminated(run_id, status)
    return run_id


@pytest.mark.parametrize("status", ["FAILED", "KILLED", "RUNNING"])
def test_only_finished_runs_count(client: MlflowClient, status: str) -> None:
    root = nested(client)
    other = nested(client, root, "line", status=status)
    nested(client, other, "line")
    assert models_of(client, root) == []
    good = nested(client, nested(client, root), "line")
    assert [model.run_id for model in models_of(client, root)] == [good]


def test_a_name_that_several_runs_gave_is_refused(client: MlflowClient, settings: Settings) -> None:
    root = nested(client)
    first = nested(client, root, "line", "curve")
    second = nested(client, root, "line")
    commands = f"`mlops models register {first} --model line` or `mlops models register {second}`"
    with pytest.raises(UsageError, match="2 models called `line`") as refusal:
        register_finished(settings, root, "line")
    assert refusal.value.hint == f"{commands} registers one of them."
    models = models_of(client, root)
    done = register_run(client, models, root, Registration("steps", model="line"), "")
    assert done.model is None
    assert done.why_none == f"runs below this one logged 2 models called `line`: {commands}"
    assert describable(models, "line") == describable(models, "") == ()
    (curve,) = describable(models, "curve")
    only = register_finished(settings, root, "curve", "steps").model
    assert only is not None
    assert only.run_id == curve.run_id == first


def test_a_model_that_is_damaged_or_deleted_is_passed_over(
    client: MlflowClient, settings: Settings
) -> None:
    from mlflow.entities import LoggedModelOutput

    root = nested(client)
    broken = nested(client, root, "line", text="{")
    model = client.create_logged_model("0", name="gone", source_run_id=broken)
    client.log_outputs(broken, [LoggedModelOutput(model.model_id, 0)])
    client.delete_logged_model(model.model_id)
    assert models_of(client, root) == []
    with pytest.raises(NotFoundError, match="logged no model to register"):
        register_finished(settings, root)


_PENDING = """
import mlflow
from mlflow.entities import LoggedModelOutput
with mlflow.start_run():
    with mlflow.start_run(nested=True) as run:
        client, of = mlflow.MlflowClient(), run.info
        model = client.create_logged_model(of.experiment_id, name="half", source_run_id=of.run_id)
        client.log_outputs(of.run_id, [LoggedModelOutput(model.model_id, 0)])
"""


def test_a_pending_model_of_a_nested_run_is_no_error(
    ready_folder: Path, settings: Settings
) -> None:
    write_project(ready_folder, _PENDING)
    done = train(TrainRequest(str(ready_folder), env_manager="local"), settings)
    assert (done.model, done.unregistered) == (None, "the script logged no model")
