"""The warm runner as a keeper of processes: many at once, cancelled, overdue, killed."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from mlops.settings import Settings, load_settings
from mlops.training.processes import started_at
from mlops.training.project import read_project
from mlops.training.runner import Outcome, Runner, Trial, Work, open_runner
from mlops.training.runner.command import PythonCommand, read_command
from mlops.training.runner.environment_scan import changes_environment_first
from tests.training.projects import write_project

_PROJECT = """
entry_points:
  main: {parameters: {code: string}, command: "python -u script.py {code}"}
"""
_SCRIPT = "import os, sys, time, signal, subprocess\nexec(sys.argv[1])\n"
_SLEEP = "print(os.getpid(), os.getppid(), flush=True); time.sleep(600)"

_number = count()


def _trial(code: str, **more: float) -> Trial:
    return Trial(f"run{next(_number)}", "0", {"code": code}, timeout_s=more.get("timeout_s"))


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = write_project(tmp_path_factory.mktemp("runner"), _SCRIPT, _PROJECT)
    return load_settings(folder, environ={})


@pytest.fixture(scope="module")
def lines() -> list[tuple[str, str]]:
    return []


@pytest.fixture(scope="module")
def runner(settings: Settings, lines: list[tuple[str, str]]) -> Iterator[Runner]:
    notes: list[str] = []
    work = Work(read_project(settings.project_dir))
    with open_runner(
        work, settings, on_line=lambda *line: lines.append(line), note=notes.append
    ) as runner:
        yield runner
    assert notes == []


def _wait_for_pids(outcome_log: Path) -> list[int]:
    deadline = time.monotonic() + 180
    while not outcome_log.exists() or not outcome_log.read_text().endswith("\n"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return [int(word) for word in outcome_log.read_text().split()]


def _pids(outcome: Outcome) -> list[int]:
    return [int(word) for word in outcome.log.read_text().split()]


def _children(parent: int) -> list[int]:
    return [
        int(word) for word in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    ]


def _spare(parent: int) -> int:
    """Return the one that waits, which is made a moment after a run began."""
    deadline = time.monotonic() + 180
    # One look may miss a child while another one goes.
    while len(found := _children(parent)) != 1:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found[0]


def _log(settings: Settings, trial: Trial) -> Path:
    return settings.home / "logs" / f"train-{trial.run_id}.log"


def _is_gone(pid: int) -> bool:
    deadline = time.monotonic() + 180
    while started_at(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not started_at(pid)


def test_several_at_a_time_and_the_next_only_when_there_is_room(runner: Runner) -> None:
    told: list[Outcome] = []
    asked: list[int] = []

    def trials() -> Iterator[Trial]:
        for number in range(5):
            asked.append(len(told))
            yield _trial(f"time.sleep(0.1); print({number}); sys.exit({number})")

    for outcome in runner.run(trials(), jobs=2):
        assert len(runner.running) <= 2
        told.append(outcome)
    assert sorted(outcome.code for outcome in told) == [0, 1, 2, 3, 4]
    assert all(outcome.log.read_text() == f"{outcome.code}\n" for outcome in told)
    assert asked[:2] == [0, 0]
    assert asked[2:] == [1, 2, 3]


def test_output_comes_line_by_line_while_it_is_written(
    runner: Runner, lines: list[tuple[str, str]]
) -> None:
    trial = _trial("print('first', flush=True); time.sleep(60)")
    runner.start(trial)
    deadline = time.monotonic() + 180
    while (trial.run_id, "first") not in lines:
        assert time.monotonic() < deadline
        assert runner.wait(0.05) is None
    runner.cancel(trial.run_id)
    outcome = runner.wait()
    assert outcome is not None
    assert (outcome.ending, outcome.code) == ("cancelled", 128 + signal.SIGTERM)


def test_one_that_is_killed_or_overdue_leaves_the_others_alone(runner: Runner) -> None:
    killed = _trial("os.kill(os.getpid(), 9)")
    stubborn = _trial("signal.signal(15, signal.SIG_IGN); time.sleep(60)", timeout_s=3)
    fine = _trial("time.sleep(1); print('fine')")
    outcomes = {o.trial.run_id: o for o in runner.run([killed, stubborn, fine], jobs=3)}
    assert outcomes[killed.run_id].code == 128 + signal.SIGKILL
    assert outcomes[killed.run_id].ending == "exited"
    assert outcomes[stubborn.run_id].code == 128 + signal.SIGKILL
    assert outcomes[stubborn.run_id].ending == "timed out"
    assert 3 <= outcomes[stubborn.run_id].duration_s < 55
    assert (outcomes[fine.run_id].code, outcomes[fine.run_id].ending) == (0, "exited")


def test_what_a_script_leaves_running_is_ended(runner: Runner) -> None:
    code = "print(subprocess.Popen(['sleep', '600']).pid)"
    (outcome,) = runner.run([_trial(code)])
    assert outcome.code == 0
    assert _is_gone(int(outcome.log.read_text()))


def test_variables_of_one_trial_are_its_own(runner: Runner) -> None:
    code = "print(os.environ.get('MINE'), os.environ['MLFLOW_RUN_ID'])"
    one = Trial("one", "0", {"code": code}, {"MINE": "yes"})
    other = Trial("other", "0", {"code": code})
    texts = [outcome.log.read_text() for outcome in runner.run([one, other])]
    assert texts == ["yes one\n", "None other\n"]


def test_a_wrong_parameter_of_the_command_fails_its_trial_only(runner: Runner) -> None:
    (outcome,) = runner.run([Trial("missing", "0", {})])
    assert outcome.code == 1
    assert "No value given for missing parameters: 'code'" in outcome.log.read_text()


def test_a_killed_parent_takes_its_runs_along_and_is_replaced(
    runner: Runner, settings: Settings
) -> None:
    trial = _trial(_SLEEP)
    runner.start(trial)
    script, parent = _wait_for_pids(_log(settings, trial))
    os.kill(parent, signal.SIGKILL)
    outcome = runner.wait()
    assert outcome is not None
    assert outcome.code == 128 + signal.SIGKILL
    assert _is_gone(script)
    (outcome,) = runner.run([_trial("print('again')")])
    assert outcome.log.read_text() == "again\n"


def test_the_next_run_has_its_process_already_and_can_do_without(
    runner: Runner, settings: Settings
) -> None:
    both = [_trial("print(os.getpid(), os.getppid())") for _ in range(2)]
    parent = [pids[1] for pids in map(_pids, runner.run(both))][-1]
    spare = _spare(parent)
    (outcome,) = runner.run([_trial("print(os.getpid(), os.getppid())")])
    assert _pids(outcome) == [spare, parent]
    spare = _spare(parent)
    os.kill(spare, signal.SIGKILL)
    # The signal takes its time, and what is given to it before is lost with it.
    while Path(f"/proc/{spare}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)
    (outcome,) = runner.run([_trial("print(os.getpid(), os.getppid())")])
    assert _pids(outcome)[1] == parent
    assert _pids(outcome)[0] != spare


def test_one_run_makes_no_process_for_a_second_and_leaving_ends_it(settings: Settings) -> None:
    with open_runner(Work(read_project(settings.project_dir)), settings) as runner:
        (outcome,) = runner.run([_trial("print(os.getpid(), os.getppid())")])
        parent = _pids(outcome)[1]
        assert not _children(parent)
        list(runner.run([_trial("pass")]))
        spare = _spare(parent)
    assert _is_gone(spare)


def test_leaving_ends_everything_and_an_import_that_starts_a_thread_is_refused(
    runner: Runner, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What a run imports is learned; here a package is slipped in among it.
    (outcome,) = runner.run([_trial("import tabnanny")])
    assert outcome.code == 0
    (tmp_path / "starts_a_thread.py").write_text(
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (learned,) = (settings.home / "warm").glob("imports-*.json")
    content = json.loads(learned.read_text())
    assert "tabnanny" in content["modules"]
    content["modules"].append("starts_a_thread")
    learned.write_text(json.dumps(content))
    trial = _trial(_SLEEP)
    with open_runner(Work(read_project(settings.project_dir)), settings) as another:
        another.start(trial)
        pids = _wait_for_pids(_log(settings, trial))
        assert json.loads(learned.read_text())["refused"] == ["starts_a_thread"]
    assert all(_is_gone(pid) for pid in pids)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("python script.py", PythonCommand(False, "script.py", ())),
        ("python -u script.py 'a; b' \"c d\"", PythonCommand(False, "script.py", ("a; b", "c d"))),
        ("python script.py \\\n  --x=1\n", PythonCommand(False, "script.py", ("--x=1",))),
        ('python script.py \\\n  "x"', "the command has a `\\` for the shell"),
        ("python -m pkg.mod --x 1", PythonCommand(True, "pkg.mod", ("--x", "1"))),
        ("python script.py --name ''", PythonCommand(False, "script.py", ("--name", ""))),
        ("python script.py && date", "the command has a `&` for the shell"),
        ("python script.py > out", "the command has a `>` for the shell"),
        ("python script.py $HOME", "the command has a `$` for the shell"),
        ('python script.py "$HOME"', "the command has a `$` for the shell"),
        ("python script.py 'open", "the command has a `'` for the shell"),
        ("python script.py ~/x", "the command has a `~` for the shell"),
        ("A=1 python script.py", "the command starts with `A=1` and not with python"),
        ("bash run.sh", "the command starts with `bash` and not with python"),
        ("python -c pass", "the command gives the option `-c` to python"),
        ("python -O script.py", "the command gives the option `-O` to python"),
        ("python none.py", "`none.py` is not a file"),
        ("/usr/bin/python script.py", None),
    ],
)
def test_only_a_plain_python_command_is_forked(
    tmp_path: Path, text: str, expected: PythonCommand | str | None
) -> None:
    folder = write_project(tmp_path / "project", "")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "python").symlink_to("/bin/true")
    found = read_command(text, folder, programs / "python", str(programs))
    if expected is None:
        assert isinstance(found, str)
    else:
        assert found == expected


@pytest.mark.parametrize(
    ("script", "line"),
    [
        ("import os\nos.environ['A'] = '1'\nimport numpy", 2),
        ("import os\nif True:\n    os.environ.setdefault('A', '1')\nimport numpy", 3),
        ("from os import environ\nenviron.update(A='1')\nimport numpy", 2),
        ("import os\nimport numpy\nos.environ['A'] = '1'", 0),
        ("import os\nprint(os.environ['A'])\nimport numpy", 0),
        ("import os\ndef f():\n    os.environ['A'] = '1'\nimport numpy", 0),
        ("does not parse (", 0),
    ],
)
def test_a_script_that_sets_variables_before_it_imports_is_noticed(
    tmp_path: Path, script: str, line: int
) -> None:
    file = tmp_path / "script.py"
    file.write_text(script)
    assert changes_environment_first(file) == line
