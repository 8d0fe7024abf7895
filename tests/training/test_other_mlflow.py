"""A project whose environment holds another MLflow than ours: it logs to the same store."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from mlops.registry import open_registry
from mlops.settings import load_settings
from mlops.training import TrainRequest, train
from tests.requirements import uv_on_path

pytestmark = pytest.mark.story

_FILES = {
    "MLproject": """
name: pinned
python_env: python_env.yaml
entry_points:
  main: {command: "python train.py"}
""",
    # As a file of some years ago has it; only what a function as a model needs.
    "python_env.yaml": "dependencies: [mlflow-skinny==2.22.0, numpy<2.3, pandas<3, cloudpickle]\n",
    "train.py": """
import mlflow

class Double(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return model_input * 2

with mlflow.start_run():
    mlflow.log_metric("version", int(mlflow.__version__.split(".")[0]))
    mlflow.pyfunc.log_model("model", python_model=Double(), registered_model_name="theirs")
""",
}


def test_an_older_mlflow_logs_through_a_server_of_the_command(
    ready_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uv_on_path(monkeypatch)
    for name, text in _FILES.items():
        (ready_folder / name).write_text(text)
    settings = load_settings(ready_folder, environ={})
    schema = _schema(settings.home)
    done = train(TrainRequest(str(ready_folder), env_manager="uv"), settings)
    assert done.metrics == {"version": 2.0}
    assert done.model is not None
    assert done.model.label == "pinned/1"
    # All as with a store that the script opens itself: in our database, its files under `.mlops`.
    client = open_registry(settings)
    run = client.get_run(done.run_id)
    assert run.info.status == "FINISHED"
    assert run.info.artifact_uri.startswith((settings.home / "artifacts" / "pinned").as_uri())
    assert client.get_model_version("theirs", "1").run_id == done.run_id
    assert _schema(settings.home) == schema
    # The server went with the command and had nothing to complain of.
    assert not list((settings.home / "logs").glob("store-*"))

    import mlflow

    assert mlflow.pyfunc.load_model(done.model.source).predict([1, 2]) == [1, 2, 1, 2]


def _schema(home: Path) -> str:
    with sqlite3.connect(home / "mlflow.db") as database:
        (version,) = database.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(version)
