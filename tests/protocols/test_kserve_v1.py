"""KServe V1."""

import numpy as np
import pytest

from mlops.protocols.base import Columns, Kind, ProtocolError, Records, Rows, Tensor
from mlops.protocols.kserve_v1 import CODEC
from tests.protocols.answers import answer, read, refusal, reply


@pytest.mark.parametrize(
    ("document", "payload"),
    [
        # The iris request of KServe's documentation.
        (
            {"instances": [[6.8, 2.8, 4.8, 1.4], [6.0, 3.4, 4.5, 1.6]]},
            Rows([[6.8, 2.8, 4.8, 1.4], [6.0, 3.4, 4.5, 1.6]]),
        ),
        ({"inputs": [[1, "red", None]]}, Rows([[1, "red", None]])),
        ({"instances": [{"a": 1}, {"a": 2}]}, Records([{"a": 1}, {"a": 2}])),
        ({"instances": [1, 2]}, Tensor([1, 2])),
        ({"instances": [[[1], [2]]]}, Tensor([[[1], [2]]])),
        ({"inputs": {"a": [1, 2]}}, Columns({"a": [1, 2]})),
        ({"signature_name": "serving_default", "instances": [[1]]}, Rows([[1]])),
    ],
)
def test_reads_rows(document: object, payload: object) -> None:
    assert read(CODEC, document).payload == payload


def test_takes_the_id_of_the_request_from_its_header() -> None:
    assert read(CODEC, {"instances": [[1]]}, x_request_id="mine").client_id == "mine"


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({}, "exactly one of `instances` and `inputs`"),
        ({"instances": [[1]], "inputs": [[1]]}, "exactly one of `instances` and `inputs`"),
        ({"instances": []}, "`instances` has no rows"),
        ({"instances": None}, "`instances` must be a list of rows, not null"),
        ({"instances": [[1], [2, 3]]}, "Row 1 of `instances` has 2 cells"),
        ({"instances": [{"a": 1}, [2]]}, "Row 1 of `instances` must be an object, not a list"),
        (b"[]", "The body must be a JSON object, not a list"),
        (b"", "The body is empty"),
        (b'{"instances": [[NaN]]}', "not valid JSON"),
        (b'{"instances": [["\xff"]]}', "not valid JSON"),
    ],
)
def test_says_what_is_wrong(document: object, reason: str) -> None:
    assert reason in refusal(CODEC, document)


def test_answers_predictions() -> None:
    question = {"instances": [[1], [2]]}

    assert reply(CODEC, question, answer(np.array([1, 2]))) == {"predictions": [1, 2]}
    table = answer({"a": np.array([1, 2]), "b": ["x", None]})
    assert reply(CODEC, question, table) == {
        "predictions": [{"a": 1, "b": "x"}, {"a": 2, "b": None}]
    }


def test_errors() -> None:
    encoded = CODEC.encode_error(ProtocolError(Kind.NOT_READY, "The model is loading."))

    assert (encoded.status, encoded.body) == (503, b'{"error":"The model is loading."}')
