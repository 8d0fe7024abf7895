"""The client that MLflow itself calls a scoring server with."""

from __future__ import annotations

from typing import Any, TypeAlias

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.pyfunc.scoring_server.client import ScoringServerClient

from tests.clients.conftest import MIXED, WEIGHTS, mixed_answers
from tests.serving.models import COLUMNS, ROWS
from tests.serving.server import Json, Server

# MLflow is untyped.
Client: TypeAlias = Any
#: Rows of the `mixed` server.
WHOLE = [[0.5, 1.5, 2.0], [7.0, 0.25, 40.0]]
FRAME = pd.DataFrame(ROWS, columns=COLUMNS)


@pytest.fixture
def client(server: Server) -> Client:
    client = ScoringServerClient("127.0.0.1", server.port)
    client.wait_server_ready(timeout=60)
    return client


def test_the_version_is_mlflows(client: Client) -> None:
    assert client.get_version() == mlflow.__version__


@pytest.mark.parametrize(
    "data",
    [
        FRAME,
        FRAME[reversed(COLUMNS)],
        FRAME.assign(extra="x"),
        FRAME.set_index(pd.Index([7, 7, 8, 9])),
        FRAME.to_numpy(),
    ],
    ids=["frame", "other order", "extra column", "odd index", "array"],
)
def test_whatever_it_takes_is_predicted(
    client: Client,
    models: dict[str, Any],
    data: Json,
) -> None:
    loaded = [mlflow.pyfunc.load_model(str(path)) for path in models.values()]
    answers = [model.predict(FRAME) for model in loaded]
    frame = client.invoke(data).get_predictions()
    got = frame.to_numpy().ravel()
    assert any(np.allclose(got, answer, rtol=1e-12) for answer in answers)


def test_a_missing_column_is_told(client: Client) -> None:
    with pytest.raises(Exception, match=r"error code 400.*sulphates"):
        client.invoke(FRAME[list(COLUMNS[:2])])


def test_a_whole_frame_of_json_is_text_it_can_read(client: Client) -> None:
    response = client.invoke(FRAME)
    assert set(response) == {"predictions"}
    assert len(response.get_predictions()) == len(ROWS)


# Frames as pandas has them: whole numbers as floats, gaps.


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame(WHOLE, columns=MIXED),
        pd.DataFrame(WHOLE, columns=MIXED).astype({"c": "int64"}),
        pd.DataFrame(WHOLE, columns=MIXED).astype({"c": object}),
        pd.DataFrame(WHOLE, columns=MIXED)[list(reversed(MIXED))],
    ],
    ids=["floats", "integers", "objects", "other order"],
)
def test_frames_of_floats_fit_whole_numbers(mixed: Server, frame: pd.DataFrame) -> None:
    client: Client = ScoringServerClient("127.0.0.1", mixed.port)
    answers = client.invoke(frame).get_predictions().to_numpy().ravel()
    assert any(np.allclose(answers, mixed_answers(arm, WHOLE)) for arm in WEIGHTS)


def test_gaps_are_nan_or_refused_by_name(server: Server, mixed: Server) -> None:
    # A linear model of doubles refuses NaN itself; a column of whole numbers has none.
    gap = pd.DataFrame([[0.5, 1.5, np.nan]], columns=MIXED)
    with pytest.raises(Exception, match=r"error code 400.*`c`"):
        ScoringServerClient("127.0.0.1", mixed.port).invoke(gap)
    with pytest.raises(Exception, match=r"error code (400|500).*NaN"):
        ScoringServerClient("127.0.0.1", server.port).invoke(FRAME.mask(FRAME > 12))
