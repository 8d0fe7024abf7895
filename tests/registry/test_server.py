"""Against a real MLflow server that also keeps the artifacts."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.entities import LoggedModelOutput

from mlops.errors import NotFoundError
from mlops.registry import experiment_id, fetch, open_registry, resolve
from mlops.registry.fetching import local_path
from mlops.registry.ledger import Intent, Ledger
from mlops.registry.lineage_queries import trace
from mlops.registry.live_tags import live_tags
from mlops.registry.logged_models import logged_models
from mlops.registry.models import show_model
from mlops.registry.versions import register
from mlops.settings import Settings, load_settings
from mlops.spec.deployment import Arm, DeploymentSpec
from mlops.spec.model import ModelVersion
from mlops.spec.refs import parse_ref
from mlops.stats.profile_document import PROFILE_FILE
from mlops.training import TrainRequest, train_or_sweep
from mlops.training.parameter_types import Parameter
from mlops.training.project import EntryPoint
from mlops.training.provenance import collect, keep
from mlops.training.provenance.reference import describe
from mlops.training.sweep import SweepOptions, SweepResult
from tests.fixtures_training import TrainedWine
from tests.tracking import mlflow_server
from tests.training.projects import write_project

pytestmark = pytest.mark.usefixtures("clean_environ")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(empty_database, folder / "mlflow.db")
    keeps = ("--artifacts-destination", str(folder / "artifacts"))
    running = mlflow_server(folder, f"sqlite:///{folder}/mlflow.db", *keeps)
    running.start()
    yield running.url
    running.stop()


@pytest.fixture
def remote(server: str, tmp_path: Path) -> Settings:
    return load_settings(tmp_path, flags={"tracking.uri": server}, environ={})


def test_a_model_of_a_server_is_downloaded_once(
    remote: Settings, trained_wine: TrainedWine
) -> None:
    client = open_registry(remote)
    run_id = client.create_run(experiment_id(client, remote, "wine")).info.run_id
    files = local_path(_source(trained_wine))
    assert files is not None
    client.log_artifacts(run_id, str(files), "model")
    client.create_registered_model("wine")
    client.create_model_version("wine", f"runs:/{run_id}/model", run_id=run_id)

    version = resolve(open_registry(remote), remote, parse_ref("wine"))
    assert version.label == "wine/1"
    assert local_path(version.source) is None
    folder = fetch(version, remote)
    assert (folder / "MLmodel").read_bytes() == (files / "MLmodel").read_bytes()
    assert folder.parent == remote.home / "cache" / "models"
    (folder / "mark").touch()
    assert (fetch(version, remote) / "mark").exists()
    assert [path.name for path in folder.parent.iterdir() if path.is_dir()] == [folder.name]
    assert list((remote.home / "cache" / "parts").iterdir()) == []

    assert show_model(remote, "wine/1").details.flavours == ("python_function", "sklearn")
    assert resolve(client, remote, parse_ref(f"runs:/{run_id}/model")).source


def test_provenance_and_profile_go_through_a_server(
    remote: Settings, trained_wine: TrainedWine, tmp_path: Path
) -> None:
    client = open_registry(remote)
    experiment = experiment_id(client, remote, "traced")
    run_id = client.create_run(experiment).info.run_id
    files = local_path(_source(trained_wine))
    assert files is not None
    shutil.copytree(files, tmp_path / "model", ignore=shutil.ignore_patterns(PROFILE_FILE))
    made = client.create_logged_model(experiment, name="model", source_run_id=run_id)
    client.log_model_artifacts(made.model_id, str(tmp_path / "model"))
    client.finalize_logged_model(made.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(made.model_id, step=0)])

    point = EntryPoint("main", {"table": Parameter("table", "path")})
    values = {"table": "data/train.csv"}
    provenance = collect(remote, trained_wine.folder, point, values)
    keep(client, run_id, provenance)
    (model,) = logged_models(client, run_id)
    run = client.get_run(run_id)
    assert describe(client, run, model, provenance.data, trained_wine.folder) == ""

    register(client, model, "traced", "")
    found = trace(remote, "traced/1")
    assert [item.name for item in found.data] == ["table"]
    assert found.profile is not None
    assert (found.profile.features, found.profile.rows) == (11, 1199)
    assert found.profile.digest == found.data[0].digest
    assert found.run is not None
    assert [uri.rpartition("/")[2] for uri in found.run.records] == [
        "environment.txt",
        "provenance.json",
    ]


def test_what_a_server_does_not_have(remote: Settings) -> None:
    client = open_registry(remote)
    with pytest.raises(NotFoundError):
        resolve(client, remote, parse_ref("beer/1"))
    with pytest.raises(NotFoundError):
        resolve(client, remote, parse_ref("runs:/" + "0" * 32 + "/model"))
    gone = ModelVersion("x", "x", "mlflow-artifacts:/99/nowhere")
    with pytest.raises(NotFoundError):
        fetch(gone, remote)


def test_trials_side_by_side_lose_nothing(
    remote: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = """
import sys, mlflow
size = float(sys.argv[1])
with mlflow.start_run():
    for step in range(5):
        mlflow.log_metric("loss", size + step, step=step)
    mlflow.log_text(str(size), "size.txt")
"""
    write_project(tmp_path, script)
    options = SweepOptions(metric="loss", jobs=3)
    request = TrainRequest(str(tmp_path), ("size=lin:1..9:9",), sweep=options)
    result = train_or_sweep(request, remote)
    assert isinstance(result, SweepResult)
    client = open_registry(remote)
    # MLflow would say here where a run can be seen, in the middle of a JSON document.
    assert capsys.readouterr().out == ""
    assert [trial.value for trial in result.trials] == [size + 4.0 for size in range(1, 10)]
    for trial in result.trials:
        run = client.get_run(trial.run_id)
        assert (run.info.status, run.data.params) == ("FINISHED", {"size": str(trial.number)})
        steps = [metric.value for metric in client.get_metric_history(trial.run_id, "loss")]
        assert sorted(steps) == [trial.number + step for step in range(5)]
        files = [file.path for file in client.list_artifacts(trial.run_id)]
        assert files == ["provenance", "size.txt"]


def _source(wine: TrainedWine) -> str:
    assert wine.first.model is not None
    return wine.first.model.source


def test_the_live_revision_is_told_without_mlflow(remote: Settings) -> None:
    assert live_tags(remote, "credit") == (0, {})
    ledger = Ledger(open_registry(remote), remote, "credit")
    arm = Arm("a", ModelVersion("credit/1", "credit/1", "/models/1"), 1.0)
    number = ledger.begin(Intent("deploy", DeploymentSpec("credit", (arm,))), 0)
    assert live_tags(remote, "credit") == (0, {})
    ledger.commit(number, 5_000)
    found, tags = live_tags(remote, "credit")
    assert (found, tags["mlops.place"], tags["mlops.live_ms"]) == (number, ledger.place, "5000")
