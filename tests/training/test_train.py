"""Through real processes and a real SQLite store; the scripts are tiny."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import mlops
from mlops.errors import ConflictError, InvalidInputError, MlopsError, NotFoundError, UsageError
from mlops.registry import experiment_id, open_registry
from mlops.settings import Settings, load_settings
from mlops.training import TrainRequest, train
from mlops.training.processes import HOST_TAG, PID_TAG, STARTED_TAG, owner_tags, started_at
from tests.fixtures_training import TrainedWine
from tests.training.projects import write_project

pytestmark = pytest.mark.usefixtures("clean_environ")

LOGS_MODEL = """
import mlflow, sys
from mlflow.pyfunc import PythonModel
class Twice(PythonModel):
    def predict(self, context, model_input, params=None):
        return model_input
with mlflow.start_run():
    for name in sys.argv[2:] or ["model"]:
        mlflow.pyfunc.log_model(name=name, python_model=Twice(), pip_requirements=[])
"""


def _settings(folder: Path) -> Settings:
    return load_settings(folder, environ={})


def _only_run(settings: Settings, experiment: str = "tiny") -> tuple[str, dict[str, str]]:
    client = open_registry(settings)
    (run,) = client.search_runs([experiment_id(client, settings, experiment)])
    return run.info.status, run.data.params


def test_a_training_ends_in_a_registered_version(trained_wine: TrainedWine) -> None:
    result = trained_wine.second
    assert result.status == "FINISHED"
    assert result.params == {"alpha": "1.0", "l1_ratio": "0.1"}
    assert set(result.metrics) == {"rmse", "mae", "r2"}
    assert result.model is not None
    assert (result.model.label, result.alias) == ("wine/2", "modelB")
    go = f"cd {os.path.relpath(trained_wine.folder)} && "
    assert result.next_commands == (f"{go}mlops deploy --ab modelA modelB",)
    assert result.log.is_file()
    assert trained_wine.first.next_commands == (f"{go}mlops deploy --model modelA",)


def test_nothing_is_left_outside_the_projects_own_folder(trained_wine: TrainedWine) -> None:
    assert not (trained_wine.folder / "mlruns").exists()
    assert not (trained_wine.folder / "mlflow.db").exists()
    assert "MLFLOW_RUN_ID" not in os.environ
    assert "MLFLOW_TRACKING_URI" not in os.environ


def test_the_run_carries_what_mlflows_own_runner_notes(trained_wine: TrainedWine) -> None:
    client = open_registry(trained_wine.settings)
    tags = client.get_run(trained_wine.first.run_id).data.tags
    assert tags["mlflow.source.type"] == "PROJECT"
    assert tags["mlflow.source.name"] == str(trained_wine.folder)
    assert tags["mlflow.project.entryPoint"] == "main"
    assert tags["mlflow.project.backend"] == "local"


def test_a_failing_script_fails_the_run_and_the_command(ready_folder: Path) -> None:
    folder = write_project(ready_folder, "print('before'); raise SystemExit(3)")
    settings = _settings(folder)
    with pytest.raises(MlopsError) as caught:
        train(TrainRequest(str(folder), parameters=("size=2",)), settings)
    assert "exit code 3" in caught.value.message
    assert "| before" in caught.value.message
    log = Path((caught.value.hint or "").removeprefix("All of its output: "))
    assert log.read_text() == "before\n"
    assert _only_run(settings) == ("FAILED", {"size": "2"})


def test_a_script_that_fails_after_its_run_block_is_not_finished(ready_folder: Path) -> None:
    script = "import mlflow\nwith mlflow.start_run(): pass\nraise SystemExit(1)"
    settings = _settings(write_project(ready_folder, script))
    with pytest.raises(MlopsError, match="is FAILED"):
        train(TrainRequest(str(ready_folder)), settings)
    assert _only_run(settings)[0] == "FAILED"


def test_a_script_that_marks_its_run_failed_is_believed(ready_folder: Path) -> None:
    script = """
import mlflow
try:
    with mlflow.start_run(): raise ValueError
except ValueError: pass
"""
    settings = _settings(write_project(ready_folder, script))
    with pytest.raises(MlopsError, match="marked its run FAILED"):
        train(TrainRequest(str(ready_folder)), settings)


@pytest.mark.parametrize(("number", "status"), [(9, "KILLED"), (11, "FAILED")])
def test_a_killed_script_is_killed_and_a_crashed_one_failed(
    ready_folder: Path, number: int, status: str
) -> None:
    script = f"import os; print('alive', flush=True); os.kill(os.getpid(), {number})"
    settings = _settings(write_project(ready_folder, script))
    with pytest.raises(MlopsError, match=f"is {status}") as caught:
        train(TrainRequest(str(ready_folder)), settings)
    assert "| alive" in caught.value.message
    assert caught.value.exit_code == 1
    assert _only_run(settings)[0] == status


def test_a_script_may_log_its_parameter_in_its_own_words(ready_folder: Path) -> None:
    script = "import mlflow\nwith mlflow.start_run(): mlflow.log_param('size', 1.0)"
    settings = _settings(write_project(ready_folder, script))
    result = train(TrainRequest(str(ready_folder), parameters=("size=1",)), settings)
    assert result.params == {"size": "1.0"}
    assert result.model is None


def test_a_process_left_behind_by_the_script_is_ended_and_delays_nothing(
    ready_folder: Path,
) -> None:
    script = """
import subprocess, sys, pathlib
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
pathlib.Path("pid").write_text(str(child.pid))
"""
    settings = _settings(write_project(ready_folder, script))
    train(TrainRequest(str(ready_folder)), settings)
    assert _is_gone(int((ready_folder / "pid").read_text()))


def test_the_script_sees_our_interpreter_its_run_and_no_input(
    ready_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", "of-a-run-around-us")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "another")
    script = """
import json, os, sys, pathlib
names = ["MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_DISABLE_TELEMETRY",
         "MLFLOW_HTTP_REQUEST_MAX_RETRIES"]
seen = {name: os.environ.get(name) for name in names}
seen |= {"prefix": sys.prefix, "input": sys.stdin.read(), "cwd": os.getcwd()}
pathlib.Path("seen.json").write_text(json.dumps(seen))
"""
    settings = _settings(write_project(ready_folder, script))
    result = train(TrainRequest(str(ready_folder)), settings)
    assert json.loads((ready_folder / "seen.json").read_text()) == {
        "MLFLOW_RUN_ID": result.run_id,
        "MLFLOW_EXPERIMENT_NAME": None,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": None,
        "prefix": sys.prefix,
        "input": "",
        "cwd": str(ready_folder),
    }


def test_wrong_parameters_start_nothing(tmp_path: Path) -> None:
    settings = _settings(write_project(tmp_path, ""))
    with pytest.raises(InvalidInputError):
        train(TrainRequest(str(tmp_path), parameters=("size=big",)), settings)
    assert not (tmp_path / ".mlops").exists()


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (TrainRequest(no_register=True, alias="a"), UsageError),
        (TrainRequest(alias="v1"), InvalidInputError),
        (TrainRequest(alias="not good"), InvalidInputError),
        (TrainRequest(register="mlops.deployment.x"), InvalidInputError),
        (TrainRequest(register="a/b"), InvalidInputError),
        (TrainRequest(entry_point="mian"), NotFoundError),
    ],
)
def test_what_could_not_be_registered_is_refused_first(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request_: TrainRequest,
    error: type[MlopsError],
) -> None:
    monkeypatch.chdir(write_project(tmp_path, ""))
    with pytest.raises(error):
        train(request_, _settings(tmp_path))
    assert not (tmp_path / ".mlops").exists()


def test_several_models_need_a_name_and_none_is_an_error_only_when_asked_for(
    ready_folder: Path,
) -> None:
    several = LOGS_MODEL.replace("sys.argv[2:]", "['one', 'two']")
    settings = _settings(write_project(ready_folder, several))
    with pytest.raises(UsageError) as caught:
        train(TrainRequest(str(ready_folder)), settings)
    assert "2 models: one, two" in caught.value.message
    assert "mlops models register" in (caught.value.hint or "")
    result = train(TrainRequest(str(ready_folder), model="two", register="other"), settings)
    assert result.model is not None
    assert result.model.label == "other/1"

    write_project(ready_folder, "")
    assert train(TrainRequest(str(ready_folder)), settings).model is None
    with pytest.raises(NotFoundError, match="no model to register"):
        train(TrainRequest(str(ready_folder), register="other"), settings)


def test_a_deleted_experiment_is_named(ready_folder: Path) -> None:
    settings = _settings(write_project(ready_folder, ""))
    client = open_registry(settings)
    client.delete_experiment(experiment_id(client, settings, "tiny"))
    with pytest.raises(ConflictError, match="was deleted"):
        train(TrainRequest(str(ready_folder)), settings)


def test_runs_of_dead_processes_are_closed_and_others_left_alone(ready_folder: Path) -> None:
    settings = _settings(write_project(ready_folder, ""))
    client = open_registry(settings)
    experiment = experiment_id(client, settings, "tiny")
    dead = {**owner_tags(), PID_TAG: str(_dead_pid())}
    reused = {**owner_tags(), STARTED_TAG: "another time"}
    elsewhere = {**dead, HOST_TAG: "another.machine"}
    runs = [
        client.create_run(experiment, tags=tags).info.run_id
        for tags in (dead, reused, elsewhere, owner_tags(), {})
    ]
    train(TrainRequest(str(ready_folder)), settings)
    statuses = [client.get_run(run_id).info.status for run_id in runs]
    assert statuses == ["KILLED", "KILLED", "RUNNING", "RUNNING", "RUNNING"]


SLEEPS = """
import os, pathlib, time
pathlib.Path("pid.part").write_text(str(os.getpid()))
os.rename("pid.part", "pid")
time.sleep(600)
"""


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -9)]
)
def test_stopping_the_command_leaves_no_process_and_no_running_run(
    ready_folder: Path, number: signal.Signals, code: int
) -> None:
    settings = _settings(write_project(ready_folder, SLEEPS))
    command = _start_command(ready_folder)
    script = _wait_for_pid(ready_folder / "pid")
    command.send_signal(number)
    _, errors = command.communicate(timeout=30)
    assert command.returncode == code
    assert _is_gone(script)
    assert "Traceback" not in errors
    if number == signal.SIGKILL:
        assert _only_run(settings)[0] == "RUNNING"
        write_project(ready_folder, "")
        train(TrainRequest(str(ready_folder)), settings)
        client = open_registry(settings)
        runs = client.search_runs([experiment_id(client, settings, "tiny")])
        assert sorted(run.info.status for run in runs) == ["FINISHED", "KILLED"]
    else:
        assert _only_run(settings)[0] == "KILLED"


def _start_command(folder: Path) -> subprocess.Popen[str]:
    packages = str(Path(mlops.__file__).parent.parent)
    return subprocess.Popen(
        [sys.executable, "-m", "mlops", "train"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": packages},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _wait_for_pid(path: Path) -> int:
    deadline = time.monotonic() + 180
    while not path.exists() or not path.read_text():
        assert time.monotonic() < deadline, "the script did not start"
        time.sleep(0.05)
    return int(path.read_text())


def _is_gone(pid: int) -> bool:
    deadline = time.monotonic() + 180
    while started_at(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not started_at(pid)


def _dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid
