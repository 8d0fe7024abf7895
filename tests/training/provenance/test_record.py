"""What a real run leaves behind."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd
import pytest

from mlops.registry import fetch, open_registry
from mlops.settings import load_settings
from mlops.stats.profile_document import PROFILE_FILE, from_json
from mlops.training.provenance.packages import environment_lock
from tests.fixtures_training import Cli, TrainedWine
from tests.training.projects import write_project
from tests.training.provenance.test_code import git

SCHEMA = json.loads(
    (Path(__file__).parents[3] / "docs" / "schemas" / "provenance.v1.json").read_text()
)
MLPROJECT = """
name: tiny
entry_points:
  main:
    parameters:
      table: path
    command: "python script.py {table}"
"""
SCRIPT = """
import sys, mlflow, pandas as pd
from mlflow.models import infer_signature
from mlflow.pyfunc import PythonModel
class Twice(PythonModel):
    def predict(self, context, model_input, params=None):
        return model_input
table = pd.read_csv(sys.argv[1], sep=";")
with mlflow.start_run():
    signature = infer_signature(table[["colour"]])
    mlflow.pyfunc.log_model(
        name="model", python_model=Twice(), signature=signature, pip_requirements=[]
    )
"""


def test_the_wine_run_says_where_it_comes_from(trained_wine: TrainedWine) -> None:
    client = open_registry(trained_wine.settings)
    run = client.get_run(trained_wine.first.run_id)
    assert run.data.tags["mlops.command"]
    names = {item.path for item in client.list_artifacts(run.info.run_id, "provenance")}
    assert names == {"provenance/environment.txt", "provenance/provenance.json"}
    folder = Path(client.download_artifacts(run.info.run_id, "provenance"))
    # What other tests imported may bring packages of its own into sight.
    installed = (folder / "environment.txt").read_text().splitlines()
    assert installed[0] == environment_lock().splitlines()[0]
    assert set(installed) <= set(environment_lock().splitlines())
    assert any(line.startswith("scikit-learn==") for line in installed)
    document = json.loads((folder / "provenance.json").read_text())
    jsonschema.validate(document, SCHEMA)
    assert document["project"] == str(trained_wine.folder)
    assert document["code"]["why_unknown"].startswith("fatal: not a git repository")


def test_the_wine_model_knows_what_it_was_trained_on(trained_wine: TrainedWine) -> None:
    result = trained_wine.first
    assert (result.profile, result.no_profile) == (True, "")
    assert result.model is not None
    text = (fetch(result.model, trained_wine.settings) / PROFILE_FILE).read_text()
    profile = from_json(text)
    wines = pd.read_csv(trained_wine.folder / "data" / "train.csv")
    assert profile.name == "wines"
    assert list(profile.features) == [name for name in wines.columns if name != "quality"]
    alcohol = profile.features["alcohol"].numbers
    assert alcohol is not None
    assert alcohol.mean == pytest.approx(wines["alcohol"].mean())
    assert alcohol.percentiles[50] == np.quantile(wines["alcohol"], 0.5, method="inverted_cdf")


def test_code_data_and_profile_of_a_dirty_project(
    cli: Cli, ready_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_project(ready_folder, "print('committed')", MLPROJECT)
    (folder / "mlops.toml").write_text("[training]\ndiff = true\n")
    (folder / ".gitignore").write_text(".mlops\n")
    (folder / "wines.csv").write_text("colour;truth\nred;1\nred;2\nwhite;3\n")
    git(folder, "init", "-q", "-b", "trunk")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "first")
    (folder / "script.py").write_text(SCRIPT)
    (folder / "secret.txt").write_text("hunter2")

    train = ("train", "-P", "table=wines.csv", "--json")
    assert cli(folder, *train, "--require-clean") == 3
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["message"].splitlines()[1:] == ["  modified   script.py"]
    assert cli(folder, *train, "--refuse-untracked") == 3
    said = capsys.readouterr()
    error = json.loads(said.out)["error"]
    assert error["message"].splitlines()[1:] == [
        "  modified   script.py",
        "  untracked  secret.txt",
    ]
    # A job that keeps stdout for itself still says in its log why it ended.
    assert f"error: {error['message']}" in said.err
    client = open_registry(load_settings(folder, environ={}))
    assert client.search_experiments(filter_string="name = 'tiny'") == []

    assert cli(folder, *train) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["code"] == {"commit": git(folder, "rev-parse", "HEAD"), "dirty": True}
    assert (result["profile"], result["no_profile"]) == (True, "")
    # The files of a registered model are not read again.
    assert result["model"]["digest"] is None
    run = client.get_run(result["run_id"])
    assert run.data.tags["mlflow.source.git.branch"] == "trunk"
    assert run.data.tags["mlflow.source.git.dirty"] == "true"
    (logged,) = run.inputs.dataset_inputs
    assert (logged.dataset.name, logged.dataset.source_type) == ("table", "local")
    kept = Path(client.download_artifacts(run.info.run_id, "provenance"))
    patch = (kept / "changes.patch").read_text()
    assert "+import sys, mlflow" in patch
    assert "hunter2" not in patch
    document = json.loads((kept / "provenance.json").read_text())
    jsonschema.validate(document, SCHEMA)
    assert document["code"]["untracked"] == ["secret.txt"]
    assert document["data"][0]["sha256"].startswith(logged.dataset.digest)
    source = Path(result["model"]["source"].removeprefix("file://"))
    profile = from_json((source / PROFILE_FILE).read_text())
    assert (profile.digest, profile.rows) == (logged.dataset.digest, 3)
    categories = profile.features["colour"].categories
    assert categories is not None
    assert dict(categories.counts) == {"red": 2, "white": 1}
    # The truth is no feature of the model.
    assert set(profile.features) == {"colour"}
