"""One pair of models and one running server for all tests of this folder."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlops.spec.server import Launch
from tests.serving.documented_server import house
from tests.serving.models import save_detector, save_linear
from tests.serving.server import Server, make_launch, running, served

__all__ = ["house", "models", "server", "start"]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two regressions whose answers to the same row are far apart."""
    folder = tmp_path_factory.mktemp("models")
    found = {
        "a": save_linear(folder / "a", [1.0, 2.0, 3.0]),
        "b": save_linear(folder / "b", [-1.0, 0.5, 10.0]),
    }
    # Only one can say which rows are unlike its training data.
    save_detector(found["a"])
    return found


@pytest.fixture(scope="session")
def server(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A 50/50 test of both models. Tests may send what they like, and must not swap or stop it."""
    folder = tmp_path_factory.mktemp("server")
    with running(make_launch(folder, served(models), grpc=True), folder) as process:
        yield process


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[Launch], Server]]:
    """Starts servers that end with the test."""
    with contextlib.ExitStack() as stack:

        def run(launch: Launch) -> Server:
            return stack.enter_context(running(launch, tmp_path))

        yield run
