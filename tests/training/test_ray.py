"""A real Ray cluster of two working nodes on this machine; one is killed under a trial."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlops.errors import InvalidInputError
from mlops.registry import experiment_id, open_registry
from mlops.settings import load_settings
from mlops.training.parameter_types import Parameter
from mlops.training.project import EntryPoint, read_project
from mlops.training.runner import Trial, Work, open_runner
from mlops.training.runner.bundle import local_inputs, pack
from mlops.training.runner.ray import check_store
from mlops.training.runner.remote import run_bundle
from tests.fixtures_training import Cli
from tests.registry.test_server import server
from tests.training.projects import write_project

__all__ = ["server"]
pytestmark = pytest.mark.usefixtures("clean_environ")

MLPROJECT = """
name: tiny
entry_points:
  main:
    parameters:
      table: path
      marks: {type: string, default: ""}
    command: "python script.py {table} {marks}"
"""
# Leaves its process id, then waits to be let go.
SCRIPT = """
import os, sys, time, uuid
from pathlib import Path
import mlflow
marks = Path(sys.argv[2])
with mlflow.start_run() as run:
    (marks / f"{run.info.run_id}-{os.getpid()}").touch()
    while not (marks / "go").exists():
        time.sleep(0.05)
    mlflow.log_metric("rows", len(Path(sys.argv[1]).read_text().splitlines()))
print("over", run.info.run_id)
"""
PATIENCE_S = 300


@pytest.fixture(autouse=True)
def slow_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give Ray's own processes time to start where others use the processors."""
    monkeypatch.setenv("RAY_raylet_start_wait_time_s", str(PATIENCE_S))
    monkeypatch.setenv("RAY_agent_register_timeout_ms", str(PATIENCE_S * 1000))


@pytest.fixture
def cluster(slow_machine: None) -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        yield cluster
    finally:
        cluster.shutdown()


def wait_for(folder: Path, number: int) -> list[str]:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        names = [path.name for path in folder.iterdir()]
        if len(names) >= number:
            return names
        time.sleep(0.1)
    raise AssertionError(f"{number} trials have not begun")


def is_gone(pid: int) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.1)
    return False


def test_a_trial_of_a_lost_node_begins_again_on_another(
    cluster: Any, server: str, tmp_path: Path
) -> None:
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    folder = write_project(tmp_path / "project", SCRIPT, MLPROJECT)
    (tmp_path / "table.csv").write_text("a\n1\n2\n")
    marks = tmp_path / "marks"
    marks.mkdir()
    flags = {
        "tracking.uri": server,
        "training.backend": "ray",
        "training.ray_address": cluster.address,
    }
    settings = load_settings(folder, flags=flags, environ={})
    given = {"table": str(tmp_path / "table.csv"), "marks": str(marks)}
    lines: list[tuple[str, str]] = []
    notes: list[str] = []
    work = Work(read_project(folder))
    with open_runner(work, settings, lambda *line: lines.append(line), notes.append) as runner:
        client = open_registry(settings)
        experiment = experiment_id(client, settings, "ray")
        runs = [client.create_run(experiment).info.run_id for _ in range(2)]
        for run_id in runs:
            runner.start(Trial(run_id, experiment, given))
        before = wait_for(marks, 2)
        cluster.remove_node(nodes[0], allow_graceful=False)
        (marks / "go").touch()
        outcomes = [runner.wait(PATIENCE_S) for _ in runs]
    codes = {outcome.trial.run_id: outcome.code for outcome in outcomes if outcome is not None}
    assert codes == dict.fromkeys(runs, 0)
    # On a busy machine Ray may lose the other one, too.
    lost = tuple(run_id for run_id in runs if any(run_id in note for note in notes))
    assert lost
    assert all("begins again" in note for note in notes)
    # The script of the lost node is dead, and cannot write to the run that another one has now.
    for first in before:
        assert not first.startswith(lost) or is_gone(int(first.rpartition("-")[2]))
    for run_id in runs:
        assert client.get_run(run_id).data.metrics == {"rows": 3}
        assert (run_id, f"over {run_id}") in lines


def test_a_ray_of_ones_own_needs_no_server(
    cli: Cli, ready_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_project(ready_folder, SCRIPT, MLPROJECT)
    (folder / "t.csv").write_text("a\n1\n")
    (folder / "go").touch()
    words = ("-P", "table=t.csv", "-P", f"marks={folder}")
    assert cli(folder, "train", "--backend", "ray", *words, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["metrics"] == {"rows": 2}
    assert Path(result["log"]).read_text() == f"over {result['run_id']}\n"


def test_a_store_that_nodes_do_not_see_is_refused_before_anything_runs(
    cli: Cli, ready_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_project(ready_folder, SCRIPT, MLPROJECT)
    (folder / "t.csv").touch()
    words = ("train", "-P", "table=t.csv", "--ray-address", "ray://head:10001")
    assert cli(folder, *words, "--backend", "ray") == 3
    assert "whose nodes do not see files of this machine" in capsys.readouterr().err
    client = open_registry(load_settings(folder, environ={}))
    assert [e.name for e in client.search_experiments()] == ["Default"]
    assert cli(folder, *words, "--backend", "spark") == 2
    assert "There is no backend `spark`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("uri", "root", "refused"),
    [
        ("", "", True),
        ("sqlite:///x.db", "s3://bucket", True),
        ("postgresql://u:secret@db/mlflow", "", True),
        ("postgresql://u:secret@db/mlflow", "s3://bucket", False),
        ("http://mlflow:5000", "", False),
    ],
)
def test_which_stores_a_cluster_can_reach(
    tmp_path: Path, uri: str, root: str, refused: bool
) -> None:
    flags = {"tracking.uri": uri or None, "artifacts.root": root or None}
    settings = load_settings(tmp_path, flags=flags, environ={})
    check_store(settings, "")
    if refused:
        with pytest.raises(InvalidInputError) as caught:
            check_store(settings, "ray://u:secret@head:10001")
        assert "secret" not in caught.value.message
    else:
        check_store(settings, "ray://head:10001")


def test_a_parcel_holds_the_project_and_its_data_and_runs_anywhere(tmp_path: Path) -> None:
    folder = write_project(tmp_path / "project", "", MLPROJECT)
    (folder / "run.sh").write_text("cat ../inputs/table/t.csv; echo $WHO")
    for name in (".git", ".mlops", "__pycache__"):
        (folder / name).mkdir()
        (folder / name / "x").touch()
    (tmp_path / "t.csv").write_text("rows\n")
    point = EntryPoint("main", {"table": Parameter("table", "path"), "u": Parameter("u", "uri")})
    given = {"table": str(tmp_path / "t.csv"), "u": "s3://bucket/x"}
    inputs = local_inputs(point, given)
    assert inputs == {"table": tmp_path / "t.csv"}
    bundle = pack(folder, inputs)
    assert bundle.names == {"table": "../inputs/table/t.csv"}
    assert pack(folder, inputs).content == bundle.content
    code, output = run_bundle(bundle.content, "ls -a; bash run.sh; exit 3", {"WHO": "me"})
    assert (code, output.decode().split()) == (
        3,
        [".", "..", "MLproject", "run.sh", "script.py", "rows", "me"],
    )
    assert run_bundle(bundle.content, "kill -9 $$", {})[0] == 137
    # What the script leaves running ends with it.
    code, output = run_bundle(bundle.content, "sleep 600 & echo $!", {})
    assert is_gone(int(output))
