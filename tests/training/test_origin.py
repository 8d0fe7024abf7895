"""`--from-run`: the parameters and the code of an earlier run."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from mlops.errors import InvalidInputError, MlopsError, NotFoundError, UsageError
from mlops.registry import experiment_id, open_registry
from mlops.settings import Settings, load_settings
from mlops.training import TrainRequest, TrainResult, train
from mlops.training.origin import ORIGIN_TAG, Origin, code_of, read_origin
from mlops.training.project import EntryPoint, read_project
from mlops.training.sweep.history import SWEEP_TAG
from tests.training.projects import write_project

pytestmark = pytest.mark.usefixtures("clean_environ")

_MLPROJECT = """
name: tiny
entry_points:
  main:
    parameters:
      size: {type: float, default: 1}
      word: {type: string, default: x}
    command: "python script.py {size} {word}"
"""


class Notes:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def phase(self, text: str) -> None: ...
    def line(self, text: str) -> None: ...
    def board(self, board: object) -> None: ...
    def note(self, text: str) -> None:
        self.notes.append(text)


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@b", *words],
        cwd=folder, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout.strip()


@pytest.fixture
def repository(ready_folder: Path) -> Path:
    """Return a project in git, with one commit."""
    write_project(ready_folder, "print('one')", _MLPROJECT)
    (ready_folder / ".gitignore").write_text(".mlops\n")
    _git(ready_folder, "init", "-q", "-b", "main")
    _git(ready_folder, "add", ".")
    _git(ready_folder, "commit", "-q", "-m", "one")
    return ready_folder


def _run(folder: Path, **options: object) -> tuple[TrainResult, Notes]:
    notes = Notes()
    request = TrainRequest(str(folder), **options)  # type: ignore[arg-type]
    return train(request, _settings(folder), notes), notes


def _settings(folder: Path) -> Settings:
    return load_settings(folder, environ={})


def test_a_run_is_repeated_with_its_code_and_parameters(repository: Path) -> None:
    first, _ = _run(repository, parameters=("size=2", "word=a b"))
    commit = _git(repository, "rev-parse", "HEAD")
    write_project(repository, "print('two')", _MLPROJECT)

    again, notes = _run(repository, from_run=first.run_id, parameters=("size=3",))
    assert again.params == {"size": "3", "word": "a b"}
    assert again.log.read_text() == "one\n"
    (said,) = [note for note in notes.notes if "commit" in note]
    assert f"running commit {commit[:12]}" in said
    assert "has changed files" in said
    tags = open_registry(_settings(repository)).get_run(again.run_id).data.tags
    assert tags[ORIGIN_TAG] == first.run_id
    assert tags["mlflow.source.git.commit"] == commit
    assert tags["mlflow.source.name"] == f"file://{repository}"
    assert _git(repository, "worktree", "list").count("\n") == 0


def _origin(commit: str, **changes: object) -> Origin:
    fields: dict[str, object] = {
        "run_id": "r", "entry_point": "main", "values": {}, "exact": True, "commit": commit,
        "dirty": False, "source": "",
    }  # fmt: skip
    return Origin(**{**fields, **changes})  # type: ignore[arg-type]


def test_the_working_tree_is_used_where_it_is_the_runs_own(repository: Path) -> None:
    commit, notes = _git(repository, "rev-parse", "HEAD"), Notes()
    (repository / "untracked").touch()
    with code_of(repository, _origin(commit), notes) as folder:
        assert folder == repository
    assert not notes.notes


def test_another_commit_is_checked_out_and_removed(repository: Path) -> None:
    commit, notes = _git(repository, "rev-parse", "HEAD"), Notes()
    write_project(repository, "print('two')", _MLPROJECT)
    _git(repository, "commit", "-q", "-a", "-m", "two")
    with code_of(repository, _origin(commit), notes) as folder:
        assert (folder / "script.py").read_text() == "print('one')"
    assert not folder.exists()
    assert "the working tree is at commit" in notes.notes[0]


def test_a_project_in_a_folder_of_the_repository_keeps_its_place(tmp_path: Path) -> None:
    inner = write_project(tmp_path / "some where" / "inner", "", _MLPROJECT)
    _git(tmp_path, "init", "-q")
    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "-q", "-m", "one")
    commit = _git(tmp_path, "rev-parse", "HEAD")
    (inner / "script.py").write_text("changed")
    with code_of(inner, _origin(commit), Notes()) as folder:
        assert read_project(folder).name == "tiny"
        assert (folder / "script.py").read_text() == ""


def test_what_is_not_known_is_said(
    repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    plain, notes = tmp_path_factory.mktemp("plain"), Notes()
    for folder, origin, words in (
        (plain, _origin(""), "names no commit"),
        (plain, _origin("f" * 40), "here is no repository"),
        (plain, _origin("", dirty=True), "ran changed files"),
    ):
        with code_of(folder, origin, notes) as found:
            assert found == folder
        assert any(words in note for note in notes.notes)
    with (
        pytest.raises(NotFoundError, match="has no commit"),
        code_of(repository, _origin("f" * 40), notes),
    ):
        pass


def test_parameters_of_a_foreign_run_are_those_it_declares(ready_folder: Path) -> None:
    write_project(ready_folder, "", _MLPROJECT)
    settings = _settings(ready_folder)
    client = open_registry(settings)
    experiment = experiment_id(client, settings, "tiny")
    run = client.create_run(experiment).info.run_id
    for name, value in {"size": "4.0", "of_the_script": "1"}.items():
        client.log_param(run, name, value)
    origin = read_origin(settings, run)
    assert origin.parameters(read_project(ready_folder).entry_point("main")) == {"size": "4.0"}
    assert origin.parameters(EntryPoint("x.py", {}, any_parameter=True)) == {}

    client.set_tag(run, "mlops.parameters", json.dumps({"size": "big"}))
    with pytest.raises(InvalidInputError, match="`size` must be a number, not `big`"):
        _run(ready_folder, from_run=run)
    client.set_tag(run, SWEEP_TAG, "grid")
    with pytest.raises(UsageError, match="is a sweep"):
        _run(ready_folder, from_run=run)
    with pytest.raises(MlopsError):
        _run(ready_folder, from_run="0" * 32)
