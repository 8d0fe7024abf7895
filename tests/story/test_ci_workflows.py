"""Every step of the generated workflows, from an installed wheel, in a clean environment."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ci_runner import Job, build_wheel, make_runner, run_github, run_gitlab
from tests.fixtures_deployment import Shop
from tests.training.provenance.test_code import git

pytestmark = pytest.mark.story

CHURN = """
name: churn
python_env: python_env.yaml
entry_points:
  main:
    parameters:
      leaves: {type: int, default: 7}
    command: "python train.py {leaves}"
"""

PACKAGES = f"""
python: "{sys.version_info.major}.{sys.version_info.minor}"
build_dependencies: [pip]
dependencies: [mlflow, lightgbm>=4, pandas, scikit-learn]
"""

TRAIN = """
import sys
import lightgbm, mlflow, pandas
from sklearn.datasets import make_classification

x, y = make_classification(400, 4, random_state=0)
rows = pandas.DataFrame(x, columns=list("abcd"))
with mlflow.start_run():
    mlflow.log_input(mlflow.data.from_pandas(rows, name="churn"), context="training")
    model = lightgbm.LGBMClassifier(
        num_leaves=int(sys.argv[1]), n_estimators=20, verbose=-1, n_jobs=1
    ).fit(rows, y)
    guess = model.predict(rows)
    mlflow.log_metric("accuracy", float((guess == y).mean()))
    signature = mlflow.models.infer_signature(rows, guess)
    mlflow.lightgbm.log_model(
        model, name="model", signature=signature, input_example=rows[:2],
        pip_requirements=["lightgbm"],
    )
"""


class Person:
    """Somebody who installed the wheel, and has a project with a workflow and an MLflow store."""

    def __init__(self, programs: Path, folder: Path, store: Path) -> None:
        self.programs, self.folder = programs, folder
        self.variables = {"MLFLOW_TRACKING_URI": f"sqlite:///{store}"}
        self.here = Shop(folder, environ=self.variables)

    def job(self, runner: Path, name: str) -> Job:
        """Check the project out on a runner."""
        checkout = self.folder.parent / f"checkout-{name}"
        git(self.folder, "clone", "-q", str(self.folder), str(checkout))
        return Job(checkout, runner, self.folder.parent / f"temp-{name}")

    def ok(self, *words: str) -> str:
        done = Job(self.folder, self.programs, self.folder.parent / "home").bash(
            " ".join(words), self.variables
        )
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def commit(self) -> None:
        if not (self.folder / ".git").exists():
            git(self.folder, "init", "-q", "-b", "trunk")
        git(self.folder, "add", "-A")
        git(self.folder, "commit", "-q", "-m", "change")


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an environment into which somebody installed the wheel."""
    folder = tmp_path_factory.mktemp("person")
    wheel, found = build_wheel(folder), make_runner(folder / "venv")
    install = [str(found / "python"), "-m", "pip", "install", "--quiet", "--no-deps", str(wheel)]
    subprocess.run(install, check=True)
    return found


@pytest.fixture
def person(programs: Path, empty_database: Path, tmp_path: Path) -> Iterator[Person]:
    store = tmp_path / "mlflow.db"
    shutil.copy(empty_database, store)
    (tmp_path / "project").mkdir()
    yield Person(programs, tmp_path / "project", store)
    for home in tmp_path.rglob(".mlops"):
        Shop(home.parent).close()


def test_wine_on_github(person: Person, tmp_path: Path) -> None:
    person.ok("mlops init . --template wine --ci github")
    # What it was installed from comes along; its default branch is the repository's.
    assert list((person.folder / "vendor").glob("mlops_loop-*.whl"))
    person.commit()
    runner = make_runner(tmp_path / "runner")
    job = person.job(runner, "first")
    said = run_github(job, "challenger", event="push", variables=person.variables)
    assert job.failed == ""
    assert job.done == [
        *("actions/checkout", "actions/setup-python", "Install mlops"),
        *("Install the project's packages", "Look for the MLflow server", "Train a candidate"),
        *("Compare it with the champion", "Call it the challenger"),
        "Keep the comparison, and the log of what failed",
    ]
    assert "nothing to compare" in said["summary"]
    assert "comparison.md" in job.uploaded
    person.here.ok("models", "alias", "wine@challenger", "champion")

    # A pull request that makes it worse is told so where its author looks, and takes no alias.
    script = person.folder / "train.py"
    script.write_text(script.read_text().replace("alpha=alpha,", "alpha=alpha * 100,"))
    person.commit()
    job = person.job(runner, "worse")
    said = run_github(job, "challenger", event="pull_request", number=7, variables=person.variables)
    assert job.failed.startswith("Compare it with the champion: 1")
    assert "### Failed: `wine/2` against `wine/1`" in said["summary"]
    assert "❌ `wine/2` rmse" in said["summary"]
    assert job.done[-1] == "Keep the comparison, and the log of what failed"
    assert '"pr-7"' in person.here.ok("models", "list", "--json").out

    # Without the server's address nothing is trained.
    job = person.job(runner, "nowhere")
    run_github(job, "challenger", event="push")
    assert job.failed.startswith("Look for the MLflow server: 1")


def test_a_lightgbm_classifier_on_github(person: Person, tmp_path: Path) -> None:
    for name, text in {"MLproject": CHURN, "python_env.yaml": PACKAGES, "train.py": TRAIN}.items():
        (person.folder / name).write_text(text)
    (person.folder / "mlops.toml").write_text('[feedback]\nreward = "exact"\n')
    # The metric is that of the project's reward.
    person.ok("mlops init --ci github")
    person.commit()
    runner = make_runner(tmp_path / "runner")
    job = person.job(runner, "first")
    run_github(job, "challenger", event="push", variables=person.variables)
    assert job.failed == ""
    person.here.ok("models", "alias", "churn@challenger", "champion")
    said = run_github(job, "challenger", event="workflow_dispatch", action="train",
                      variables=person.variables)  # fmt: skip
    assert job.failed == ""
    assert "### Passed: `churn/2` against `churn/1`" in said["summary"]

    # Where the variable names no cluster, the runner itself serves.
    here = {**person.variables, "MLOPS_DEPLOY": " "}
    for action in ("deploy", "report"):
        said = run_github(job, "operate", event="workflow_dispatch", action=action, variables=here)
        assert job.failed == ""
    assert "### churn: **continue**" in said["summary"]
    assert "report.md" in job.uploaded
    # Nothing is promoted without a verdict.
    run_github(job, "operate", event="workflow_dispatch", action="promote", variables=here)
    assert job.failed.startswith("Promote the winner: 7")


def test_wine_on_gitlab(person: Person, tmp_path: Path) -> None:
    person.ok("mlops init . --template wine --ci gitlab")
    person.commit()
    job = person.job(make_runner(tmp_path / "runner"), "first")
    run_gitlab(job, "challenger", person.variables)
    assert job.failed == ""
    assert "comparison.md" in job.uploaded
    person.here.ok("models", "alias", "wine@challenger", "champion")
    run_gitlab(job, "deploy", {**person.variables, "MLOPS_DEPLOY": ""})
    run_gitlab(job, "report", person.variables)
    assert job.failed == ""
    assert "report.md" in job.uploaded
    run_gitlab(job, "promote", person.variables)
    assert job.failed.startswith("promote: 7")
