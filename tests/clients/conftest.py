"""Servers that public clients talk to."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.serving.conftest import models, server
from tests.serving.models import save_sklearn
from tests.serving.server import Server, make_launch, running, served

__all__ = ["models", "server"]
#: Columns of the model with one of whole numbers: two doubles, one long.
MIXED = ("a", "b", "c")
#: How its arms weigh them.
WEIGHTS = {"first": (1.0, 2.0, 3.0), "second": (-1.0, 0.5, 10.0)}


def mixed_answers(arm: str, rows: list[list[float]]) -> list[float]:
    """What an arm of the `mixed` server answers."""
    answers: list[float] = (np.array(rows) @ WEIGHTS[arm]).tolist()
    return answers


@pytest.fixture(scope="session")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A 50/50 test of two regressions with a column of whole numbers."""
    folder = tmp_path_factory.mktemp("mixed")
    saved = {arm: _save_mixed(folder / arm, weights) for arm, weights in WEIGHTS.items()}
    with running(make_launch(folder, served(saved), grpc=True), folder) as process:
        yield process


def _save_mixed(path: Path, weights: tuple[float, ...]) -> Path:
    import pandas as pd
    from sklearn.linear_model import LinearRegression

    draws = np.random.default_rng(1)
    features = pd.DataFrame(draws.uniform(0, 9, (40, 3)), columns=MIXED).astype({"c": "int64"})
    with warnings.catch_warnings():
        # That a column of whole numbers cannot be missing, which is what is tested.
        warnings.filterwarnings("ignore", ".*integer column", UserWarning)
        return save_sklearn(path, LinearRegression().fit(features, features @ weights), features)
