"""A trained wine project, made once: a training takes ten seconds.

`conftest.py` imports these fixtures. Tests may read `trained_wine` and must not change it;
`own_wine` is a copy of its registry to play with.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from mlops.__main__ import run
from mlops.registry import open_registry
from mlops.resources import shipped
from mlops.settings import Settings, load_settings
from mlops.training import TrainRequest, TrainResult, train

Cli = Callable[..., int]

_FOREIGN = ("MLFLOW_", "MLOPS_", "AWS_", "GOOGLE_", "STORAGE_", "API_ENDPOINT_", "NO_GCE_")


@dataclass(frozen=True, slots=True)
class TrainedWine:
    """The wine example, trained twice.

    `wine/1` has alpha 0.1 and the alias modelA, `wine/2` has alpha 1.0 and the alias modelB.
    """

    folder: Path
    settings: Settings
    first: TrainResult
    second: TrainResult


@pytest.fixture(scope="session")
def trained_wine(tmp_path_factory: pytest.TempPathFactory) -> TrainedWine:
    """Return the wine example, trained twice. Read only."""
    folder = tmp_path_factory.mktemp("trained") / "wine"
    shutil.copytree(shipped("wine_example"), folder)
    settings = load_settings(folder, environ={})
    first, second = (
        train(TrainRequest(str(folder), parameters=(f"alpha={alpha}",), alias=alias), settings)
        for alias, alpha in (("modelA", 0.1), ("modelB", 1.0))
    )
    return TrainedWine(folder, settings, first, second)


@pytest.fixture
def own_wine(trained_wine: TrainedWine, tmp_path: Path) -> TrainedWine:
    """Return a copy of the trained project whose registry may be changed.

    Its artifacts stay where they are; the registry names them by absolute URI.
    """
    folder = tmp_path / "wine"
    shutil.copytree(trained_wine.folder, folder, ignore=shutil.ignore_patterns("artifacts", "logs"))
    settings = load_settings(folder, environ={})
    return TrainedWine(folder, settings, trained_wine.first, trained_wine.second)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an MLflow database with tables and nothing in them; making one takes seconds."""
    folder = tmp_path_factory.mktemp("empty")
    settings = load_settings(folder, environ={})
    open_registry(settings)
    return settings.home / "mlflow.db"


@pytest.fixture
def ready_folder(empty_database: Path, tmp_path: Path) -> Path:
    """Return `tmp_path`, made a project folder whose store is ready."""
    home = tmp_path / ".mlops"
    home.mkdir()
    shutil.copy(empty_database, home / "mlflow.db")
    return tmp_path


@pytest.fixture
def clean_environ(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide what the developer's own shell says about MLflow and us."""
    for name in list(os.environ):
        if name.startswith(_FOREIGN):
            monkeypatch.delenv(name)


@pytest.fixture
def cli(clean_environ: None, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Return a function that runs `mlops` in a folder and gives its exit code."""

    def call(folder: Path, *words: str) -> int:
        monkeypatch.chdir(folder)
        return run(list(words))

    return call
