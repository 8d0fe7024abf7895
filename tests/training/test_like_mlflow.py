"""What `mlflow run` leaves behind, against what a forked run leaves behind, field by field."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlops.registry import open_registry
from mlops.settings import Settings, load_settings
from mlops.stats.outlier_document import OUTLIER_FILE
from mlops.stats.profile_document import PROFILE_FILE
from mlops.training.warm import requirements
from tests.fixtures_training import TrainedWine

_PROGRAM = Path(sys.executable).parent
# These name the one run and the one model, or when.
_OF_ONE_MODEL = ("model_id", "model_uuid", "run_id", "artifact_path", "utc_time_created")


@dataclass(frozen=True, slots=True)
class Left:
    """What a run left behind."""

    tags: dict[str, str]
    params: dict[str, str]
    metrics: dict[str, float]
    inputs: list[tuple[str, str]]
    model: Path

    @property
    def files(self) -> list[str]:
        """What MLflow keeps of a model; `mlops train` adds a profile and a detector."""
        names = {str(file.relative_to(self.model)) for file in self.model.rglob("*")}
        return sorted(names - {OUTLIER_FILE, PROFILE_FILE})

    def text(self, name: str) -> str:
        return (self.model / name).read_text()

    @property
    def description(self) -> dict[str, Any]:
        content = yaml.safe_load(self.text("MLmodel"))
        return {key: value for key, value in content.items() if key not in _OF_ONE_MODEL}


def _left(settings: Settings, run_id: str) -> Left:
    import mlflow

    client = open_registry(settings)
    run = client.get_run(run_id)
    model = client.get_logged_model(run.outputs.model_outputs[0].model_id)
    return Left(
        dict(run.data.tags),
        dict(run.data.params),
        dict(run.data.metrics),
        [(item.dataset.name, item.dataset.digest) for item in run.inputs.dataset_inputs],
        Path(mlflow.artifacts.download_artifacts(model.artifact_location)),
    )


@pytest.fixture(scope="module", params=["local", "mlops"])
def theirs(
    request: pytest.FixtureRequest,
    trained_wine: TrainedWine,
    tmp_path_factory: pytest.TempPathFactory,
) -> Left:
    """Run the wine project with MLflow's own command, through its own and through our backend."""
    place = tmp_path_factory.mktemp(request.param)
    uri = f"sqlite:///{place / 'mlflow.db'}"
    foreign = ("MLFLOW_", "MLOPS_")
    environ = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
    done = subprocess.run(
        [
            *(str(_PROGRAM / "mlflow"), "run", str(trained_wine.folder)),
            *("--backend", request.param, "--env-manager", "local", "-P", "alpha=1.0"),
        ],
        cwd=place,
        env=environ
        | {
            "MLFLOW_TRACKING_URI": uri,
            "PATH": f"{_PROGRAM}:{os.environ['PATH']}",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "succeeded" in done.stderr
    assert "own runner is used" not in done.stderr
    settings = load_settings(place, environ={"MLFLOW_TRACKING_URI": uri})
    (run,) = open_registry(settings).search_runs(["0"])
    assert run.info.status == "FINISHED"
    return _left(settings, run.info.run_id)


def test_a_forked_run_is_what_mlflow_would_have_made(
    trained_wine: TrainedWine, theirs: Left
) -> None:
    # The second training had its requirements from the first.
    ours = _left(trained_wine.settings, trained_wine.second.run_id)
    for name in ("requirements.txt", "conda.yaml", "python_env.yaml"):
        assert ours.text(name) == theirs.text(name)
    assert ours.description == theirs.description
    assert ours.files == theirs.files
    assert (ours.params, ours.metrics) == (theirs.params, theirs.metrics)
    assert ours.inputs == theirs.inputs


def test_a_forked_run_carries_mlflows_tags(trained_wine: TrainedWine, theirs: Left) -> None:
    ours = _left(trained_wine.settings, trained_wine.second.run_id).tags
    both = {name: value for name, value in ours.items() if not name.startswith("mlops.")}
    backend = theirs.tags["mlflow.project.backend"]
    assert backend in ("local", "mlops")
    named_by_chance = ("mlflow.runName", "mlflow.log-model.history")
    expected = {**theirs.tags, "mlflow.project.backend": "local"}
    for name in named_by_chance:
        assert (name in both) == (name in expected)
        both.pop(name, None)
        expected.pop(name, None)
    assert both == expected


def test_this_mlflow_has_the_places_where_we_stand_in() -> None:
    assert requirements.missing_hook() == ""


def test_another_mlflow_is_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from mlflow.utils import environment

    monkeypatch.setattr(environment, "_infer_requirements", lambda uri, flavor: [])
    assert "elsewhere" in requirements.install(tmp_path, tmp_path)
    monkeypatch.delattr(environment, "_infer_requirements")
    assert "inferred again" in requirements.install(tmp_path, tmp_path)


def _saved(place: Path, model: object) -> Path:
    import pickle

    place.mkdir()
    flavors = {"flavors": {"sklearn": {"sklearn_version": "1"}}}
    (place / "MLmodel").write_text(yaml.safe_dump(flavors))
    (place / "model.pkl").write_bytes(pickle.dumps(model))
    return place / "model.pkl"


def test_the_answer_depends_on_the_packages_of_the_model(tmp_path: Path) -> None:
    from lightgbm import LGBMRegressor
    from sklearn.linear_model import ElasticNet, Ridge
    from sklearn.pipeline import make_pipeline

    models = {
        "one": make_pipeline(ElasticNet(alpha=0.1)),
        "same": make_pipeline(ElasticNet(alpha=0.7)),
        "class": make_pipeline(Ridge()),
        "package": make_pipeline(LGBMRegressor()),
    }
    found = {
        name: requirements.digest(_saved(tmp_path / name, model), "sklearn", None, tmp_path)
        for name, model in models.items()
    }
    assert found["one"] == found["same"]
    assert len({found[name] for name in ("one", "class", "package")}) == 3
    other = requirements.digest(tmp_path / "one" / "model.pkl", "pyfunc", None, tmp_path)
    assert other != found["one"]


def test_an_answer_is_remembered_unless_mlflow_warned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from mlflow.utils import environment, requirements_utils

    logger = logging.getLogger("mlflow.utils.requirements_utils")
    caplog.set_level(logging.WARNING, logger.name)
    asked: list[str] = []

    def infer(  # the signature that MLflow has
        model_uri: str, flavor: str, raise_on_error: bool = False, extra_env_vars: Any = None
    ) -> list[str]:
        asked.append(flavor)
        if flavor == "warns":
            logger.warning("cannot predict")
        return [f"{flavor}==1"]

    for module in (environment, requirements_utils):
        monkeypatch.setattr(module, "_infer_requirements", infer)
    model = str(_saved(tmp_path / "model", [1]))
    assert requirements.install(tmp_path / "place", tmp_path) == ""
    for _ in range(2):
        for flavor in ("sklearn", "warns"):
            assert environment._infer_requirements(model, flavor) == [f"{flavor}==1"]
    assert asked == ["sklearn", "warns", "warns"]
