"""The client that MLflow itself calls a scoring server with."""

from __future__ import annotations

from typing import Any, TypeAlias

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.pyfunc.scoring_server.client import ScoringServerClient

from tests.serving.models import COLUMNS, ROWS
from tests.serving.server import Json, Server

# MLflow is untyped.
Client: TypeAlias = Any
FRAME = pd.DataFrame(ROWS, columns=COLUMNS)


@pytest.fixture
def client(server: Server) -> Client:
    client = ScoringServerClient("127.0.0.1", server.port)
    client.wait_server_ready(timeout=10)
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
