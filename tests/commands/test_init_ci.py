"""The workflows of `mlops init --ci`: valid for their services, and made for the project.

`tests/story/test_ci_workflows.py` runs every step of them.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlops.errors import UsageError
from mlops.training.install_source import default_branch, install_source
from mlops.workflows.gate_metric import gate_limit
from tests.fixtures_training import Cli
from tests.training.projects import write_project
from tests.training.provenance.test_code import git

Capture = pytest.CaptureFixture[str]

GITHUB = ".github/workflows/model.yml"
GITLAB = ".gitlab-ci.yml"


def steps_of(folder: Path, job: str = "challenger") -> dict[str, str]:
    """Return the commands of GitHub's workflow by the names of their steps."""
    found = yaml.safe_load((folder / GITHUB).read_text())["jobs"][job]
    return {step["name"]: step["run"] for step in found["steps"] if "run" in step}


@pytest.fixture
def wine(cli: Cli, tmp_path: Path) -> Path:
    folder = tmp_path / "wine"
    assert cli(tmp_path, "init", "wine", "--ci", "github") == 0
    assert cli(tmp_path, "init", "wine", "--template", "wine", "--ci", "gitlab") == 0
    return folder


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (GITHUB, ["--builtin-schema", "vendor.github-workflows"]),
        (GITLAB, ["--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci"]),
    ],
)
def test_the_services_own_schemas_accept_them(wine: Path, file: str, words: list[str]) -> None:
    program = [sys.executable, "-m", "check_jsonschema", *words, str(wine / file)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_workflow_may_little_and_is_pinned(wine: Path) -> None:
    workflow = yaml.safe_load((wine / GITHUB).read_text())
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert "permissions" not in job
        used = [step["uses"] for step in job["steps"] if "uses" in step]
        assert used
        assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", each) for each in used)
        # What others may have written, such as the name of a branch, never becomes a command.
        assert all("${{" not in step.get("run", "") for step in job["steps"])
    # What is secret is named and never written.
    for name, value in workflow["env"].items():
        assert re.match(r"\$\{\{ (vars|secrets)\.\w+ ", value), name


def test_both_services_run_the_same_commands(wine: Path) -> None:
    pipeline: dict[str, Any] = yaml.safe_load((wine / GITLAB).read_text())
    lines = [line for job in ("challenger", "deploy", "report", "promote")
             for line in pipeline[job]["script"]]  # fmt: skip
    theirs = re.findall(r"mlops [^|>;\n]*", "\n".join(lines))
    steps = {**steps_of(wine), **steps_of(wine, "operate")}
    ours = re.findall(r"mlops [^|>;\n]*", "\n".join(steps.values()))
    assert {each.strip() for each in theirs} == {
        each.strip() for each in ours if "requirements" not in each
    }
    assert _flat(pipeline["challenger"]["before_script"]) == list(steps_of(wine).values())[:2]


def _flat(lines: Any) -> list[str]:
    return [text for line in lines for text in (_flat(line) if isinstance(line, list) else [line])]


NEEDED = """
name: shop
python_env: python_env.yaml
entry_points:
  main:
    parameters: {size: float, rate: {type: float, default: 1}}
    command: "python script.py {size} {rate}"
"""


def test_an_own_project_gets_the_workflow_alone(cli: Cli, tmp_path: Path, capsys: Capture) -> None:
    folder = write_project(tmp_path, "", NEEDED)
    (folder / "python_env.yaml").write_text(
        "python: 3.12.4\ndependencies: [mlflow==2.9, 'lightgbm>=4', pandas]\n"
    )
    # It cannot ask, and nothing says by what a candidate is judged.
    assert cli(folder, "init", "--ci", "github", "--json") == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert "--metric" in error["hint"]
    uplift = ("init", "--ci", "github", "--metric", "uplift", "--json")
    assert cli(folder, *uplift) == 2
    assert "--minimize" in json.loads(capsys.readouterr().out)["error"]["hint"]
    source = ("--mlops-source", "git+https://example.org/mlops@v1")
    assert cli(folder, *uplift, "--maximize", *source) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["created"], document["template"]) == ([GITHUB], None)
    steps = steps_of(folder)
    assert "-P size=CHANGE-ME --env-manager local --require-clean" in steps["Train a candidate"]
    assert "--max-regression uplift:higher=1%" in steps["Compare it with the champion"]
    text = (folder / GITHUB).read_text()
    assert "'git+https://example.org/mlops@v1'" in text
    assert 'python-version: "3.12"' in text
    # The project's own packages, and not an MLflow that would replace ours.
    assert cli(folder, "project", "requirements") == 0
    assert capsys.readouterr().out.splitlines() == ["lightgbm>=4", "pandas"]
    # Twice is once; what the person changed stays.
    assert cli(folder, *uplift, "--maximize", *source) == 0
    (folder / GITHUB).write_text("mine")
    assert cli(folder, *uplift, "--maximize") == 7
    assert (folder / GITHUB).read_text() == "mine"
    assert cli(folder, "init", "--ci", "jenkins") == 2
    assert cli(folder, "init", "--metric", "rmse") == 2


def test_the_metric_is_that_of_the_reward_or_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "MLproject").write_text("name: shop\n")
    asked = []

    def ask(question: str, choices: object) -> str:
        asked.append(question)
        return "higher" if "lower" in question else "uplift"

    assert gate_limit(tmp_path, ask=ask) == "uplift:higher=1%"
    assert len(asked) == 2
    with pytest.raises(UsageError):
        gate_limit(tmp_path)
    for reward, limit in {"exact": "accuracy=1%", "absolute-error": "mae=1%"}.items():
        (tmp_path / "mlops.toml").write_text(f'[feedback]\nreward = "{reward}"\n')
        assert gate_limit(tmp_path) == limit


def test_a_job_installs_from_where_this_came_from(tmp_path: Path) -> None:
    # From a package index, by git, by a URL.
    assert install_source({}, "1.2").requirement == "mlops-loop==1.2"
    by_git = {
        "url": "https://ann:s3cret@example.org/mlops.git",
        "vcs_info": {"vcs": "git", "commit_id": "abc"},
    }
    assert install_source(by_git, "1.2").requirement == "git+https://example.org/mlops.git@abc"
    url = "https://example.org/mlops_loop-1.2-py3-none-any.whl"
    assert install_source({"url": url, "archive_info": {}}, "1.2").requirement == url
    # From a wheel of this machine, which goes with the project.
    wheel = tmp_path / "mlops_loop-1.2-py3-none-any.whl"
    wheel.write_bytes(b"wheel")
    found = install_source({"url": wheel.as_uri(), "archive_info": {}}, "1.2")
    assert found.requirement == f"./vendor/{wheel.name}"
    assert found.files == {f"vendor/{wheel.name}": b"wheel"}
    # From a clone.
    clone = tmp_path / "clone"
    clone.mkdir()
    noted = {"url": clone.as_uri(), "dir_info": {"editable": True}}
    assert "--mlops-source" in install_source(noted, "1.2").note
    git(clone, "init", "-q", "-b", "trunk")
    (clone / "file").touch()
    git(clone, "add", "-A")
    git(clone, "commit", "-q", "-m", "first")
    git(clone, "remote", "add", "origin", "git@example.org:ann/mlops.git")
    found = install_source(noted, "1.2")
    commit = git(clone, "rev-parse", "HEAD")
    assert found.requirement == f"git+https://example.org/ann/mlops.git@{commit}"
    assert "is not pushed" in found.note
    git(clone, "update-ref", "refs/remotes/origin/trunk", commit)
    assert install_source(noted, "1.2").note == ""
    assert default_branch(clone) == "trunk"
    git(clone, "checkout", "-q", "-b", "topic")
    git(clone, "symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/trunk")
    assert default_branch(clone) == "trunk"


def test_the_minimal_template_can_be_compared_without_a_file(cli: Cli, tmp_path: Path) -> None:
    assert cli(tmp_path, "init", "m", "--template", "minimal", "--ci", "github") == 0
    steps = steps_of(tmp_path / "m")
    assert steps["Train a candidate"].startswith("mlops train --env-manager local")
    assert "--max-regression rmse=1%" in steps["Compare it with the champion"]
    assert "what their runs logged" in (tmp_path / "m" / GITHUB).read_text()
