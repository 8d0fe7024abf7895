"""Sweeps through real processes and a real store; the scripts are tiny."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow.entities import Run

import mlops
from mlops.errors import ConflictError, InvalidInputError, MlopsError, NotFoundError, UsageError
from mlops.registry import experiment_id, open_registry
from mlops.settings import Settings, load_settings
from mlops.training import TrainRequest, train, train_or_sweep
from mlops.training.processes import started_at
from mlops.training.sweep import SweepOptions, SweepResult
from mlops.training.sweep.history import BEST_TAG, PARENT_TAG, PRUNED_TAG
from tests.training.projects import write_project

pytestmark = pytest.mark.usefixtures("clean_environ")

#: Fails for size 2; logs a model for size 3, which is the best.
SCRIPT = """
import sys, pathlib, mlflow
from mlflow.pyfunc import PythonModel
class Same(PythonModel):
    def predict(self, context, model_input, params=None):
        return model_input
size = float(sys.argv[1])
with mlflow.start_run():
    if size == 2:
        print("no such size"); sys.exit(3)
    mlflow.log_metric("loss", (size - 3) ** 2)
    mlflow.log_text(str(size), "size.txt")
    if size == 3:
        mlflow.pyfunc.log_model(name="model", python_model=Same(), pip_requirements=[])
"""


@dataclass(frozen=True)
class Swept:
    """A folder with a sweep in it."""

    folder: Path
    settings: Settings
    result: SweepResult

    def children(self) -> list[Run]:
        client = open_registry(self.settings)
        return list(
            client.search_runs(
                [experiment_id(client, self.settings, "tiny")],
                f"tag.mlflow.parentRunId = '{self.result.run_id}'",
            )
        )

    def parent(self) -> Run:
        return open_registry(self.settings).get_run(self.result.run_id)


def sweep(folder: Path, *words: str, **options: object) -> SweepResult:
    settings = load_settings(folder, environ={})
    request = TrainRequest(str(folder), parameters=words, sweep=SweepOptions(**options))  # type: ignore[arg-type]
    result = train_or_sweep(request, settings)
    assert isinstance(result, SweepResult)
    return result


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Swept:
    """Return a sweep of six trials, two at a time, of which one fails. Read only."""
    folder = tmp_path_factory.mktemp("swept")
    (folder / ".mlops").mkdir()
    (folder / ".mlops" / "mlflow.db").write_bytes(empty_database.read_bytes())
    write_project(folder, SCRIPT)
    result = sweep(folder, "size=lin:0..5:6", metric="loss", jobs=2)
    return Swept(folder, load_settings(folder, environ={}), result)


def test_every_trial_has_its_result(swept: Swept) -> None:
    trials = swept.result.trials
    assert [trial.number for trial in trials] == [1, 2, 3, 4, 5, 6]
    assert [trial.point for trial in trials] == [{"size": str(size)} for size in range(6)]
    assert [trial.value for trial in trials] == [9.0, 4.0, None, 0.0, 1.0, 4.0]
    assert [trial.state for trial in trials].count("complete") == 5
    assert (trials[2].state, trials[2].note) == ("failed", "exit code 3: no such size")
    assert swept.result.best == trials[3]
    assert not swept.result.failed


def test_no_run_metric_or_artifact_is_lost(swept: Swept) -> None:
    client = open_registry(swept.settings)
    runs = swept.children()
    assert len(runs) == 6
    assert sorted(run.info.status for run in runs) == ["FAILED"] + ["FINISHED"] * 5
    for run in runs:
        size = float(run.data.params["size"])
        if size != 2:
            assert run.data.metrics == {"loss": (size - 3) ** 2}
            assert "size.txt" in [f.path for f in client.list_artifacts(run.info.run_id)]


def test_the_runs_are_one_family_with_names(swept: Swept) -> None:
    parent = swept.parent()
    assert parent.info.run_name == "grid sweep: size"
    assert parent.info.status == "FINISHED"
    assert parent.data.params == {
        "size": "0,1,2,3,4,5",
        "sweep.sampler": "grid",
        "sweep.trials": "6",
        "sweep.metric": "minimize loss",
    }
    best = swept.result.best
    assert best is not None
    assert parent.data.metrics == {"best_loss": 0.0}
    assert parent.data.tags[BEST_TAG] == best.run_id
    assert {run.info.run_name for run in swept.children()} == {f"size={n}" for n in range(6)}


def test_a_sweep_registers_nothing_until_it_is_asked(swept: Swept) -> None:
    client = open_registry(swept.settings)
    assert not [m for m in client.search_registered_models() if m.name == "tiny"]
    go = f"cd {os.path.relpath(swept.folder)} && "
    resume = f"mlops train --resume {swept.result.run_id} --best"
    assert swept.result.next_commands == (go + resume,)

    request = TrainRequest(
        str(swept.folder),
        alias="winner",
        sweep=SweepOptions(resume="last", best=True, html=str(swept.folder / "page.html")),
    )
    again = train_or_sweep(request, swept.settings)
    assert isinstance(again, SweepResult)
    assert again.trials == swept.result.trials
    assert again.kept == 6
    assert again.model is not None
    assert (again.model.label, again.alias) == ("tiny/1", "winner")
    assert again.best is not None
    assert again.model.run_id == again.best.run_id
    assert again.next_commands == (f"{go}mlops deploy --model winner",)
    assert swept.parent().info.status == "FINISHED"
    assert "size=3" in (swept.folder / "page.html").read_text()


def test_a_slip_in_the_metrics_name_stops_the_sweep_at_once(ready_folder: Path) -> None:
    write_project(ready_folder, "import mlflow; mlflow.log_metric('loss', 1)")
    with pytest.raises(InvalidInputError, match="logged no metric `lsos`") as caught:
        sweep(ready_folder, "size=1,2,3", metric="lsos")
    assert caught.value.hint == "Did you mean `loss`?"
    client = open_registry(_settings(ready_folder))
    experiment = experiment_id(client, _settings(ready_folder), "tiny")
    runs = client.search_runs([experiment], order_by=["attributes.start_time"])
    assert [run.info.status for run in runs] == ["KILLED", "FINISHED"]


#: Two that log the same new data at the same moments.
AT_ONCE = """
import pathlib, sys, time, mlflow, pandas
here = pathlib.Path(sys.argv[1])
with mlflow.start_run():
    here.touch()
    while len(list(pathlib.Path().glob("[12]"))) < 2:
        time.sleep(0.01)
    for number in range(15):
        data = mlflow.data.from_pandas(pandas.DataFrame({"a": [number]}), name=f"data{number}")
        time.sleep(0.1 - time.time() % 0.1)
        mlflow.log_input(data)
    mlflow.log_metric("loss", 1)
"""


def test_trials_at_once_may_log_the_same_data(ready_folder: Path) -> None:
    write_project(ready_folder, AT_ONCE)
    result = sweep(ready_folder, "size=1,2", metric="loss", jobs=2)
    assert [(trial.state, trial.note) for trial in result.trials] == [("complete", "")] * 2
    runs = Swept(ready_folder, _settings(ready_folder), result).children()
    assert [len(run.inputs.dataset_inputs) for run in runs] == [15, 15]


#: Sizes from 3 on wait until they may go on.
WAITS = """
import os, sys, time, pathlib, mlflow
size = float(sys.argv[1])
with mlflow.start_run():
    if size >= 3:
        pathlib.Path("part").write_text(str(os.getpid())); os.rename("part", "waiting")
        while not pathlib.Path("go").exists():
            time.sleep(0.05)
    mlflow.log_metric("loss", size)
"""


def test_a_killed_sweep_goes_on_where_it_was(ready_folder: Path) -> None:
    write_project(ready_folder, WAITS)
    command = _start(ready_folder, "-P", "size=1,2,3,4", "--minimize", "loss")
    script = _wait_for(ready_folder / "waiting", command)
    with pytest.raises(ConflictError, match="is running"):
        sweep(ready_folder, resume="last")
    command.kill()
    command.communicate(timeout=120)
    assert _is_gone(script)

    (ready_folder / "go").touch()
    result = sweep(ready_folder, resume="last")
    assert [trial.value for trial in result.trials] == [1.0, 2.0, 3.0, 4.0]
    assert result.kept == 2
    swept = Swept(ready_folder, _settings(ready_folder), result)
    assert sorted((run.info.run_name, run.info.status) for run in swept.children()) == [
        ("size=1", "FINISHED"),
        ("size=2", "FINISHED"),
        ("size=3", "FINISHED"),
        ("size=3", "KILLED"),
        ("size=4", "FINISHED"),
    ]
    assert swept.parent().info.status == "FINISHED"


def test_an_interrupted_sweep_says_how_to_go_on(ready_folder: Path) -> None:
    write_project(ready_folder, WAITS)
    command = _start(ready_folder, "-P", "size=3,4", "--minimize", "loss")
    script = _wait_for(ready_folder / "waiting", command)
    command.send_signal(signal.SIGINT)
    output, errors = command.communicate(timeout=120)
    assert command.returncode == 130
    assert _is_gone(script)
    assert not output
    assert "Traceback" not in errors
    (run_id,) = re.findall(r"to go on: mlops train --resume ([0-9a-f]{32})", errors)
    client = open_registry(_settings(ready_folder))
    runs = client.search_runs(
        [client.get_run(run_id).info.experiment_id], order_by=["attributes.start_time"]
    )
    assert [run.info.status for run in runs] == ["KILLED", "KILLED"]


STEPS = """
import sys, time, mlflow
size = float(sys.argv[1])
with mlflow.start_run():
    for step in range(60):
        mlflow.log_metric("loss", size, step=step, synchronous=True)
        if size == 9:
            time.sleep(0.25)
"""


def test_a_hopeless_trial_is_stopped(ready_folder: Path) -> None:
    write_project(ready_folder, STEPS)
    result = sweep(ready_folder, "size=1,2,3,4,5,9", metric="loss", prune=True)
    *good, bad = result.trials
    assert [trial.state for trial in good] == ["complete"] * 5
    assert bad.state == "pruned"
    assert bad.note.startswith("loss was 9 at step")
    run = open_registry(load_settings(ready_folder, environ={})).get_run(bad.run_id)
    assert run.info.status == "KILLED"
    assert run.data.tags[PRUNED_TAG] == "true"
    assert result.best == good[0]


def test_what_makes_no_sense_is_said_before_anything_is_made(tmp_path: Path) -> None:
    write_project(tmp_path, "")
    cases: list[tuple[Callable[[], object], type[MlopsError], str]] = [
        (lambda: sweep(tmp_path, sampler="tpe", metric="x"), UsageError, "nothing to vary"),
        (lambda: sweep(tmp_path, "size=1,2", sampler="tpe"), UsageError, "what is best"),
        (lambda: sweep(tmp_path, "size=1,2", best=True), UsageError, "what is best"),
        (lambda: sweep(tmp_path, "size=1,2", prune=True), UsageError, "what is best"),
        (lambda: sweep(tmp_path, "size=1,2", trials=4), UsageError, "--trials"),
        (lambda: sweep(tmp_path, "size=lin:0..1"), InvalidInputError, "needs a count"),
        (lambda: sweep(tmp_path, "size=1", metric="x"), UsageError, "for a sweep"),
        (lambda: sweep(tmp_path, "size=1,2", html="no/such/page.html"), InvalidInputError, "page"),
        (lambda: sweep(tmp_path, "size=1", resume="last"), UsageError, "parameters already"),
        (lambda: train(TrainRequest(str(tmp_path), ("size=1,2",)), _settings(tmp_path)),
         UsageError, "several values"),
        (lambda: train_or_sweep(
            TrainRequest(str(tmp_path), ("size=1,2",), alias="a"), _settings(tmp_path)),
         UsageError, "registers nothing by itself"),
    ]  # fmt: skip
    for call, error, words in cases:
        with pytest.raises(error, match=words):
            call()
    assert not (tmp_path / ".mlops").exists()


def test_a_missing_library_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_project(tmp_path, "")
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.delitem(sys.modules, "mlops.training.sweep.study", raising=False)
    with pytest.raises(InvalidInputError, match="needs `optuna`") as caught:
        sweep(tmp_path, "size=lin:0..1", sampler="tpe", metric="loss")
    assert caught.value.hint == "pip install 'mlops-loop[sweep]'"
    assert not (tmp_path / ".mlops").exists()


def test_there_must_be_a_sweep_to_go_on_with(ready_folder: Path) -> None:
    write_project(ready_folder, "")
    with pytest.raises(NotFoundError, match="no sweep"):
        sweep(ready_folder, resume="last")
    client = open_registry(_settings(ready_folder))
    experiment = experiment_id(client, _settings(ready_folder), "tiny")
    run = client.create_run(experiment, tags={PARENT_TAG: "abc"}).info.run_id
    with pytest.raises(InvalidInputError, match="is not a sweep") as caught:
        sweep(ready_folder, resume=run)
    assert caught.value.hint == "It is a trial of `abc`."


def _settings(folder: Path) -> Settings:
    return load_settings(folder, environ={})


def _start(folder: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "mlops", "train", *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(Path(mlops.__file__).parent.parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _wait_for(path: Path, command: subprocess.Popen[str]) -> int:
    deadline = time.monotonic() + 300
    while not path.exists() or not path.read_text():
        assert time.monotonic() < deadline, "the script did not start"
        assert command.poll() is None, command.communicate()[1]
        time.sleep(0.05)
    return int(path.read_text())


def _is_gone(pid: int) -> bool:
    deadline = time.monotonic() + 180
    while started_at(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not started_at(pid)
