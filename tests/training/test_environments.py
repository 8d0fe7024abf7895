"""Environments of a project's own, without the network: what they need is lent to them."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest

from mlops.errors import InvalidInputError, MlopsError, UsageError
from mlops.settings import Settings, load_settings
from mlops.training import TrainRequest, train
from mlops.training.environments import check_manager, choose_environment, resolve_manager
from mlops.training.project import Project, read_project
from mlops.training.runner import Trial, Work, open_runner
from tests.fixtures_training import Cli
from tests.requirements import uv_on_path
from tests.training.projects import write_project

_PROJECT = """
name: own
python_env: python_env.yaml
entry_points:
  main: {command: "python script.py"}
"""
_SCRIPT = "import sys; print(sys.prefix, sys.executable)"


def _project(folder: Path, environment: str = "dependencies: []") -> Project:
    write_project(folder, _SCRIPT, _PROJECT)
    (folder / "python_env.yaml").write_text(environment)
    return read_project(folder)


def _prefix(project: Project, settings: Settings, manager: str, run_id: str) -> str:
    with open_runner(Work(project, env_manager=manager), settings) as runner:
        (outcome,) = runner.run([Trial(run_id, "0")])
    assert outcome.code == 0, outcome.log.read_text()
    return outcome.log.read_text()


@pytest.mark.parametrize("manager", ["uv", "virtualenv"])
def test_a_run_executes_inside_the_environment_which_needs_mlflow(
    tmp_path: Path, manager: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if manager == "uv":
        uv_on_path(monkeypatch)
    project, settings = _project(tmp_path), load_settings(tmp_path, environ={})
    with pytest.raises(InvalidInputError, match="has no `mlflow`") as caught:
        _prefix(project, settings, manager, "first")
    assert "python_env.yaml" in (caught.value.hint or "")
    assert not list((settings.home / "logs").iterdir())

    (made,) = (settings.home / "environments").iterdir()
    assert made.name.startswith(manager)
    (site,) = made.glob("lib/python3.*/site-packages")
    # Lend it what we have.
    (site / "lent.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    assert _prefix(project, settings, manager, "second") == f"{made} {made}/bin/python\n"

    notes: list[str] = []
    choose_environment(manager, project, settings.home, notes.append)
    assert notes == []
    (tmp_path / "python_env.yaml").write_text("dependencies: ['no/such @ requirement']")
    with pytest.raises(MlopsError, match="could not be made"):
        choose_environment(manager, read_project(tmp_path), settings.home, notes.append)
    assert len(notes) == 1


@pytest.mark.parametrize("manager", ["uv", "virtualenv"])
def test_a_python_that_is_not_here_is_refused(
    tmp_path: Path, manager: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if manager == "uv":
        uv_on_path(monkeypatch)
    _project(tmp_path, "python: '3.2'")
    with pytest.raises(InvalidInputError, match=r"asks for Python 3\.2, which is not installed"):
        train(TrainRequest(str(tmp_path), env_manager=manager), load_settings(tmp_path, environ={}))


def test_auto_is_uv_where_it_is_and_the_project_names_an_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = _project(tmp_path / "named")
    silent = read_project(write_project(tmp_path / "silent", ""))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert resolve_manager("auto", named) == "local"
    (tmp_path / "uv").symlink_to("/bin/true")
    assert resolve_manager("auto", named) == "uv"
    assert resolve_manager("auto", silent) == "local"
    # There is nothing that conda could make.
    assert resolve_manager("conda", silent) == "local"
    assert resolve_manager("conda", named) == "conda"


def test_an_unknown_manager_is_a_usage_error(cli: Cli, tmp_path: Path) -> None:
    write_project(tmp_path, "")
    assert cli(tmp_path, "train", "--env-manager", "foo") == 2
    with pytest.raises(UsageError, match="foo"):
        check_manager("foo")
