"""The state of real repositories."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mlops.errors import InvalidInputError
from mlops.training.provenance import code as module
from mlops.training.provenance.code import read_code, require_clean


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=Ann", "-c", "user.email=ann@example.org", "-c", "commit.gpgsign=0"]
    done = subprocess.run(
        ["git", "-C", str(folder), *identity, *words], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a committed project in a folder of a repository."""
    folder = tmp_path / "repo" / "projects" / "wine"
    folder.mkdir(parents=True)
    (folder / "train.py").write_text("print(1)\n")
    (tmp_path / "repo" / "shared.py").write_text("x = 1\n")
    git(tmp_path / "repo", "init", "-q", "-b", "trunk")
    git(tmp_path / "repo", "add", "-A")
    git(tmp_path / "repo", "commit", "-q", "-m", "first")
    return folder


def test_a_clean_project(project: Path) -> None:
    git(project, "remote", "add", "origin", "https://ann:s3cret@example.org/wine.git")
    code = read_code(project)
    assert (code.commit, code.branch) == (git(project, "rev-parse", "HEAD"), "trunk")
    assert code.repository == "https://example.org/wine.git"
    assert (code.dirty, code.changed, code.untracked, code.diff) == (False, (), (), b"")
    require_clean(code, project)


def test_changes_are_named_and_can_be_applied_again(project: Path) -> None:
    root = project.parents[1]
    (project / "train.py").write_text("print(2)\n")
    git(project, "mv", str(root / "shared.py"), str(root / "moved ü.py"))
    (project / "new.py").touch()
    (root / "elsewhere.txt").touch()
    code = read_code(project)
    assert set(code.changed) == {"projects/wine/train.py", "moved ü.py"}
    # What lies untracked elsewhere in the repository is no part of this project.
    assert code.untracked == ("projects/wine/new.py",)
    with pytest.raises(InvalidInputError, match=r"train\.py\n.*untracked  projects/wine/new\.py"):
        require_clean(code, project, untracked=True)
    with pytest.raises(InvalidInputError, match=r"modified") as caught:
        require_clean(code, project)
    assert "untracked" not in caught.value.message
    git(project, "reset", "-q", "--hard")
    (root / "changes.patch").write_bytes(code.diff)
    git(root, "apply", "changes.patch")
    assert (project / "train.py").read_text() == "print(2)\n"


def test_the_diff_holds_tracked_files_only_and_can_be_left_out(project: Path) -> None:
    (project / ".env").write_text("PASSWORD=hunter2\n")
    (project / "train.py").write_text("print(3)\n")
    assert b"hunter2" not in read_code(project).diff
    assert b"print(3)" in read_code(project).diff
    without = read_code(project, keep_diff=False)
    assert (without.diff, without.dirty) == (b"", True)


def test_a_long_diff_is_cut(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_DIFF", 1000)
    (project / "train.py").write_text("x = 1\n" * 100_000)
    code = read_code(project)
    assert (len(code.diff), code.diff_cut) == (1000, True)


def test_a_detached_head_has_the_branch_of_its_job(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(project, "checkout", "-q", "--detach")
    monkeypatch.setenv("GITHUB_SHA", "of another commit")
    monkeypatch.setenv("GITHUB_REF_NAME", "elsewhere")
    assert read_code(project).branch == ""
    monkeypatch.setenv("CI_COMMIT_SHA", git(project, "rev-parse", "HEAD"))
    monkeypatch.setenv("CI_COMMIT_REF_NAME", "feature")
    assert read_code(project).branch == "feature"


@pytest.mark.parametrize("state", ["no repository", "no commit", "ignored", "no git"])
def test_without_a_commit_the_reason_is_told(
    state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "wine"
    folder.mkdir()
    (folder / "train.py").touch()
    if state in ("no commit", "ignored"):
        git(tmp_path, "init", "-q")
    if state == "ignored":
        (tmp_path / ".gitignore").write_text("wine/\n")
        git(tmp_path, "add", "-A")
        git(tmp_path, "commit", "-q", "-m", "first")
    if state == "no git":
        monkeypatch.setenv("PATH", str(tmp_path))
    code = read_code(folder)
    assert (code.commit, code.diff) == ("", b"")
    assert code.why_unknown
    with pytest.raises(InvalidInputError, match="wants a commit"):
        require_clean(code, folder)


def test_a_project_that_is_untracked_itself_is_dirty(project: Path) -> None:
    other = project.parents[1] / "new" / "project"
    other.mkdir(parents=True)
    (other / "train.py").touch()
    assert read_code(other).untracked == ("new/",)


def test_the_repository_of_a_hook_around_us_is_not_ours(
    project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "another"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    assert read_code(project).commit
