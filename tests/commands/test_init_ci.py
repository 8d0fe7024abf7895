"""The workflows of `mlops init --ci`: valid for their services, and their commands do what is said.

What a service does itself (checking the code out, setting Python up, installing us) is not run.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import mlops
from tests.fixtures_training import Cli
from tests.training.projects import write_project
from tests.training.provenance.test_code import git

Capture = pytest.CaptureFixture[str]

GITHUB = ".github/workflows/model.yml"
GITLAB = ".gitlab-ci.yml"


def steps_of(folder: Path) -> dict[str, str]:
    """Return the commands of GitHub's workflow by the names of their steps."""
    job = yaml.safe_load((folder / GITHUB).read_text())["jobs"]["challenger"]
    return {step["name"]: step["run"] for step in job["steps"] if "run" in step}


def shell(folder: Path, command: str, database: Path) -> subprocess.CompletedProcess[str]:
    environ = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "MLFLOW_TRACKING_URI": f"sqlite:///{database}",
    }
    return subprocess.run(
        ["bash", "-e", "-c", command],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )


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
    text = (wine / GITHUB).read_text()
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {"contents": "read"}
    job = workflow["jobs"]["challenger"]
    assert "permissions" not in job
    used = [step["uses"] for step in job["steps"] if "uses" in step]
    assert used
    assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", each) for each in used)
    # What is secret is named and never written.
    for value in job["env"].values():
        assert re.fullmatch(r"\$\{\{ (vars|secrets)\.\w+ \}\}", value)
    assert steps_of(wine)["Install"].endswith(f'"mlops-loop=={mlops.__version__}"')


def test_both_services_run_the_same_commands(wine: Path) -> None:
    job: dict[str, Any] = yaml.safe_load((wine / GITLAB).read_text())["challenger"]
    assert [*job["before_script"], *job["script"]] == list(steps_of(wine).values())


def test_the_commands_gate_a_regression(wine: Path, empty_database: Path, tmp_path: Path) -> None:
    database = tmp_path / "shared" / "mlflow.db"
    database.parent.mkdir()
    shutil.copy(empty_database, database)
    git(wine, "init", "-q", "-b", "main")
    git(wine, "add", "-A")
    git(wine, "commit", "-q", "-m", "first")
    steps = steps_of(wine)
    install, look, train, compare, challenge = steps.values()
    assert shlex.split(install)[:4] == ["python", "-m", "pip", "install"]
    assert shell(wine, f"unset MLFLOW_TRACKING_URI; {look}", database).returncode == 1

    # There is no champion yet, so the first one passes.
    for command in (look, train, compare, challenge):
        done = shell(wine, command, database)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    assert shell(wine, "mlops models alias wine@challenger champion", database).returncode == 0
    done = shell(wine, compare, database)
    assert done.returncode == 0
    assert "all on the same 400 rows" in done.stdout

    # Somebody breaks the training: the workflow ends before it names a challenger.
    script = (wine / "train.py").read_text()
    (wine / "train.py").write_text(script.replace("alpha=alpha,", "alpha=alpha * 100,"))
    refused = shell(wine, train, database)
    assert (refused.returncode, "modified   train.py" in refused.stderr) == (3, True)
    git(wine, "commit", "-q", "-a", "-m", "worse")
    assert shell(wine, train, database).returncode == 0
    done = shell(wine, compare, database)
    assert done.returncode == 1
    assert "worse wine/2 rmse" in done.stdout


def test_an_own_project_gets_the_workflow_alone(cli: Cli, tmp_path: Path, capsys: Capture) -> None:
    needed = """
name: shop
entry_points:
  main:
    parameters: {size: float, rate: {type: float, default: 1}}
    command: "python script.py {size} {rate}"
"""
    folder = write_project(tmp_path, "", needed)
    assert cli(folder, "init", "--ci", "github", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["created"], document["template"]) == ([GITHUB], None)
    steps = steps_of(folder)
    assert "-P size=CHANGE-ME --require-clean" in steps["Train a candidate"]
    assert "shop@candidate" in steps["Compare it with the champion"]
    # Twice is once; what the person changed stays.
    assert cli(folder, "init", "--ci", "github") == 0
    (folder / GITHUB).write_text("mine")
    assert cli(folder, "init", "--ci", "github") == 7
    assert (folder / GITHUB).read_text() == "mine"
    assert cli(folder, "init", "--ci", "jenkins") == 2


def test_the_minimal_template_can_be_compared_without_a_file(cli: Cli, tmp_path: Path) -> None:
    assert cli(tmp_path, "init", "m", "--template", "minimal", "--ci", "github") == 0
    assert steps_of(tmp_path / "m")["Train a candidate"] == (
        "mlops train --require-clean --alias candidate"
    )
