"""A server of their own for tests that do their worst."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving.conftest import models
from tests.serving.server import Server, make_launch, running, served

__all__ = ["models", "server"]


@pytest.fixture(scope="session")
def server(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A 50/50 test of two models that keeps units together by a header."""
    folder = tmp_path_factory.mktemp("hostile")
    launch = make_launch(folder, served(models, sticky_by="field:alcohol"))
    with running(launch, folder) as process:
        yield process
