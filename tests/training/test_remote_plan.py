"""Jobs for Kubernetes and runs on Databricks.

There is neither a cluster nor a workspace here. The manifests are held against Kubernetes' own
types, and what a pod would execute is executed against a real MLflow server; of Databricks only
what is refused is tested.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from mlops.registry import experiment_id, open_registry
from mlops.settings import load_settings
from mlops.training.remote_plan import plan_trials
from mlops.training.train import TrainRequest
from tests.commands.schemas import fits
from tests.fixtures_training import Cli
from tests.registry.test_server import server
from tests.training.projects import write_project

__all__ = ["server"]
pytestmark = pytest.mark.usefixtures("clean_environ")

Capture = pytest.CaptureFixture[str]
GOLDEN = Path(__file__).parents[1] / "golden/training"
FILES = ("configmap.yaml", "networkpolicy.yaml", "job.yaml")
MLPROJECT = """
name: Tiny
entry_points:
  main:
    parameters:
      size: {type: float, default: 1}
      word: {type: string, default: ""}
      table: {type: path, default: table.csv}
    command: "python script.py {size} {word}"
"""
SCRIPT = """
import sys, mlflow
with mlflow.start_run():
    mlflow.log_param("word", sys.argv[2])
    mlflow.log_metric("size", float(sys.argv[1]))
"""
SETTINGS = """
[tracking]
uri = "http://mlflow.mlflow:5000"
[training]
backend = "kubernetes"
image = "registry.example/tiny:1"
"""
PLACED = """
[cluster]
image_pull_secrets = ["registry"]
node_selector = { pool = "ml" }
tolerations = ["gpu"]
"""
# Whatever YAML, JSON or Kubernetes could trip over.
ODD = 'a: "b" $(HOME) # \U0001f377'


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = write_project(tmp_path / "tiny", SCRIPT, MLPROJECT)
    (folder / "table.csv").write_text("a\n1\n")
    (tmp_path / "other.csv").write_text("a\n1\n")
    (folder / "mlops.toml").write_text(SETTINGS)
    return folder


def rendered(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    config, _, job = yaml.safe_load_all(text)
    return config, job


def test_a_grid_is_an_indexed_job(cli: Cli, project: Path, capsys: Capture) -> None:
    words = ("train", "-P", "size=1,2,3", "-j", "2", "--grid", "word=x,y")
    assert cli(project, *words) == 0
    out = capsys.readouterr().out
    assert "a Job of 6 trials, 2 at a time" in out
    files = [project / "train/tiny" / name for name in FILES]
    assert f"next: kubectl apply {' '.join(f'-f train/tiny/{name}' for name in FILES)}" in out
    for file in files:
        assert file.read_text() == (GOLDEN / file.name).read_text()
    assert not (project / ".mlops").exists()
    assert cli(project, *words, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    fits("training-job", document)
    assert [file["change"] for file in document["files"]] == ["same", "same", "same"]


@pytest.mark.parametrize("version", ["1.29.0", "1.34.0"])
@pytest.mark.parametrize(
    "more",
    [
        "",
        """secret = "store"
namespace = "ml"
[artifacts]
root = "s3://b/w"
region = "x"
endpoint_url = "http://minio.ml:9000"
""",
        'secret = "store"\n[artifacts]\nroot = "gs://b/w"\n',
        PLACED,
    ],
)
def test_manifests_fit_kubernetes_types(
    cli: Cli, project: Path, capsys: Capture, version: str, more: str
) -> None:
    (project / "mlops.toml").write_text(SETTINGS + more)
    assert cli(project, "train", "-P", f"word={ODD}", "--tag", "by=a$b", "--render", "-") == 0
    for document in rendered(capsys.readouterr().out):
        kubernetes_validate.validate(document, version, strict=True)


def test_trials_are_pulled_and_placed_as_pods_of_a_deployment(
    cli: Cli, project: Path, capsys: Capture
) -> None:
    (project / "mlops.toml").write_text(SETTINGS + PLACED)
    assert cli(project, "train", "--render", "-") == 0
    *_, job = rendered(capsys.readouterr().out)
    pod = job["spec"]["template"]["spec"]
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert pod["nodeSelector"] == {"pool": "ml"}
    assert pod["tolerations"] == [{"key": "gpu", "operator": "Exists"}]
    (project / "mlops.toml").write_text(SETTINGS + '[cluster]\nnode_selector = ["ml"]\n')
    assert cli(project, "train", "--render", "-") == 3
    assert "`cluster.node_selector` has `ml`" in capsys.readouterr().err


def test_credentials_stay_in_their_secret(cli: Cli, project: Path, capsys: Capture) -> None:
    uri = "postgresql://ann:hush@db/mlflow"
    text = SETTINGS.replace("http://mlflow.mlflow:5000", uri)
    store = '[artifacts]\nroot = "s3://b/w"\n'
    (project / "mlops.toml").write_text(text + store)
    assert cli(project, "train", "--render", "-") == 3
    first = capsys.readouterr()
    assert "credentials" in first.err
    (project / "mlops.toml").write_text(text + 'secret = "store"\n' + store)
    assert cli(project, "train", "--render", "-") == 0
    second = capsys.readouterr()
    assert "hush" not in first.out + first.err + second.out + second.err
    _, job = rendered(second.out)
    (container,) = job["spec"]["template"]["spec"]["containers"]
    (uri_of,) = (item for item in container["env"] if item["name"] == "MLFLOW_TRACKING_URI")
    assert uri_of["valueFrom"] == {"secretKeyRef": {"name": "store", "key": "MLFLOW_TRACKING_URI"}}
    assert container["envFrom"] == [{"secretRef": {"name": "store"}}]


def test_a_pod_runs_its_trial(
    cli: Cli, project: Path, capsys: Capture, server: str, tmp_path: Path
) -> None:
    grid = ("-P", "size=1,2", "-P", f"word={ODD}", "--experiment", "paid in $(US) $$")
    assert cli(project, "train", *grid, "--tag", "team=a$$b", "--render", "-") == 0
    config, job = rendered(capsys.readouterr().out)
    trials = tmp_path / "trials"
    trials.mkdir()
    for name, text in config["data"].items():
        (trials / name).write_text(text, encoding="utf-8")
    (container,) = job["spec"]["template"]["spec"]["containers"]

    # What the kubelet does to arguments: `$$` is a dollar, `$(NAME)` a variable.
    words = [
        word.replace("$(JOB_COMPLETION_INDEX)", "1")
        .replace("$$", "$")
        .replace("/etc/mlops/trials", str(trials))
        for word in container["args"]
    ]
    env = {item["name"]: item["value"] for item in container["env"]}
    env |= {"MLFLOW_TRACKING_URI": server, "PATH": os.environ["PATH"]}
    command = [sys.executable, "-m", "mlops", *words]
    done = subprocess.run(
        command, cwd=project, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    client = open_registry(load_settings(project, flags={"tracking.uri": server}, environ={}))
    experiment = client.get_experiment_by_name("paid in $(US) $$")
    assert experiment is not None
    found = f"tags.job = '{job['metadata']['name']}'"
    runs = client.search_runs([experiment.experiment_id], found)
    (run,) = runs
    assert (run.data.tags["trial"], run.data.metrics["size"]) == ("1", 2.0)
    assert (run.data.params["word"], run.data.tags["team"]) == (ODD, "a$$b")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("-P", "size=log:1..10", "--sweep", "random"), 2, "chooses points while it runs"),
        (("-P", "size=log:1..10"), 3, "needs a count"),
        (("-P", "size=1,2", "--best", "--minimize", "size"), 2, "`--best`"),
        (("-P", "size=1,2", "--seed", "1"), 2, "--seed"),
        (("-P", "size=1,2", "--alias", "a"), 2, "registers nothing"),
        (("--resume",), 2, "--resume"),
        (("-P", "table=/etc/hostname"), 3, "table=/etc/hostname"),
        (("-P", "table=../other.csv"), 3, "table=../other.csv"),
        (("-P", "table=file:///etc/hostname"), 3, "file of this machine"),
        (("-P", "word=/etc/hostname"), 3, "file of this machine"),
        (("--image", ""), 2, "needs an image"),
        (("--image", "a b"), 3, "`training.image` is `a b`"),
        (("--namespace", "A"), 3, "`training.namespace` cannot be"),
        (("--tag", "mlflow.user=eve"), 2, "has a reserved name"),
        (("--backend-config", "x.json"), 2, "--backend databricks"),
        (("--backend", "local", "--render", "-"), 2, "--backend kubernetes"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    cli: Cli, project: Path, capsys: Capture, words: tuple[str, ...], code: int, said: str
) -> None:
    before = sorted(project.rglob("*"))
    assert cli(project, "train", *words) == code
    assert said in capsys.readouterr().err
    assert sorted(project.rglob("*")) == before


@pytest.mark.parametrize(
    "uri", ["", "sqlite:////srv/mlflow.db", "http://localhost:5000", "postgresql://db/mlflow"]
)
def test_a_store_that_no_pod_reaches_is_refused(
    cli: Cli, project: Path, capsys: Capture, uri: str
) -> None:
    (project / "mlops.toml").write_text(SETTINGS.replace("http://mlflow.mlflow:5000", uri))
    assert cli(project, "train") == 3
    assert "pod" in capsys.readouterr().err
    assert not (project / "train").exists()


def test_a_uri_is_no_file_of_this_machine(project: Path) -> None:
    settings = load_settings(project, environ={})
    given = ("table=s3://bucket/a.csv", "word=not/here", "size=1,2")
    plan = plan_trials(TrainRequest(str(project), parameters=given), settings)
    assert [point["size"] for point in plan.points] == ["1", "2"]


@pytest.mark.parametrize(
    ("uri", "words", "code", "said"),
    [
        ("databricks", (), 2, "--backend-config"),
        ("databricks", ("--backend-config", "no.json"), 5, "cannot be read"),
        ("databricks", ("--backend-config", "old.json"), 3, "existing_cluster_id"),
        ("databricks", ("--backend-config", "new.json", "-P", "size=1,2"), 2, "runs one"),
        ("", ("--backend-config", "new.json"), 3, "does not reach MLflow"),
        ("databricks", ("--backend-config", "new.json"), 4, "No Databricks workspace"),
    ],
)
def test_databricks_is_refused_in_time(
    cli: Cli,
    project: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
    uri: str,
    words: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    monkeypatch.setenv("HOME", str(project))
    text = SETTINGS.replace("http://mlflow.mlflow:5000", uri).replace("kubernetes", "databricks")
    (project / "mlops.toml").write_text(text)
    (project / "old.json").write_text('{"existing_cluster_id": "1"}')
    (project / "new.json").write_text('{"spark_version": "15.4.x-scala2.12", "num_workers": 1}')
    assert cli(project, "train", *words) == code
    assert said in capsys.readouterr().err


def test_an_experiment_that_another_pod_has_just_made(
    ready_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings(ready_folder, environ={})
    client = open_registry(settings)
    theirs = client.create_experiment("tiny")
    look, answers = client.get_experiment_by_name, iter([None])
    # Not there when we look, there when we create it.
    monkeypatch.setattr(client, "get_experiment_by_name", lambda n: next(answers, look(n)))
    assert experiment_id(client, settings, "tiny") == theirs
