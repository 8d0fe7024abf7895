"""Asking: our own door understands every question, and we understand every answer of it."""

from __future__ import annotations

import contextlib
import json
import math
from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops.protocols import CODECS
from mlops.protocols.base import (
    Columns,
    InferenceRequest,
    InferenceResponse,
    Kind,
    Payload,
    Prediction,
    ProtocolError,
    Records,
    Rows,
    Tensor,
)
from mlops.protocols.clients import CLIENT_CODECS
from mlops.protocols.clients.base import as_table, refusal

Json: TypeAlias = Any
HEADERS = {"content-type": "application/json"}
#: The door of each protocol that can be asked.
DOORS = {
    "v2": "open-inference",
    "kserve": "kserve-v1",
    "seldon": "seldon-v1",
    "mlflow": "mlflow",
}
NAMES = ("fixed acidity", "alcohol", "sulphates")
ROWS = [[7.4, 9.4, 0.5], [7.8, 9.8, 0.68]]
NAMED: dict[str, Payload] = {
    "rows": Rows(ROWS, NAMES),
    "records": Records([dict(zip(NAMES, row, strict=True)) for row in ROWS]),
    "columns": Columns({name: [row[i] for row in ROWS] for i, name in enumerate(NAMES)}),
    "arrays": Columns({name: np.array(ROWS)[:, [i]] for i, name in enumerate(NAMES)}),
}
UNNAMED: dict[str, Payload] = {
    "rows": Rows(ROWS),
    "tensor": Tensor(ROWS),
    "array": Tensor(np.array(ROWS)),
}


def through(protocol: str, payload: Payload, columns: Json = None) -> Payload:
    """What a server of ours reads of a question."""
    body = CLIENT_CODECS.load(protocol).encode(payload, {}, columns or {})
    return CODECS.load(DOORS[protocol]).decode(body, HEADERS).payload


@pytest.mark.parametrize("form", NAMED)
@pytest.mark.parametrize("protocol", DOORS)
def test_names_and_cells_arrive(protocol: str, form: str) -> None:
    names, rows = as_table(through(protocol, NAMED[form]), {})
    assert names == NAMES
    assert rows == ROWS


@pytest.mark.parametrize("form", UNNAMED)
@pytest.mark.parametrize("protocol", DOORS)
def test_rows_without_names_arrive(protocol: str, form: str) -> None:
    payload = through(protocol, UNNAMED[form])
    assert not isinstance(payload, Columns | Records)
    assert np.array(payload.values).tolist() == ROWS


def test_rows_without_names_get_those_of_the_model() -> None:
    columns = dict.fromkeys(NAMES, "FP64")
    for protocol in ("v2", "seldon", "mlflow"):
        assert as_table(through(protocol, Rows(ROWS), columns), {})[0] == NAMES


@pytest.mark.parametrize(
    ("cells", "declared", "datatype", "data"),
    [
        ([1, 2], "", "INT64", [1, 2]),
        ([1, 2.5], "", "FP64", [1, 2.5]),
        ([1, None], "", "FP64", [1, None]),
        ([True, False], "", "BOOL", [True, False]),
        (["a", None], "", "BYTES", ["a", None]),
        ([b"\x00"], "", "BYTES", ["AA=="]),
        # What the server declares, where the cells fit.
        ([1, 2], "FP64", "FP64", [1, 2]),
        ([1, 2], "FP32", "FP32", [1, 2]),
        ([1, 2], "INT32", "INT32", [1, 2]),
        ([1.5], "INT64", "FP64", [1.5]),
        (["a"], "FP64", "BYTES", ["a"]),
        ([1], "FP16", "INT64", [1]),
        ([1], "WHAT", "INT64", [1]),
    ],
)
def test_datatypes_of_v2(cells: Json, declared: str, datatype: str, data: Json) -> None:
    body = CLIENT_CODECS.load("v2").encode(Columns({"x": cells}), {}, {"x": declared})
    (found,) = json.loads(body)["inputs"]
    assert (found["datatype"], found["data"], found["shape"]) == (datatype, data, [len(cells), 1])


def test_what_has_no_form_is_refused() -> None:
    mixed = Columns({"x": [1, "a"]})
    ragged = Records([{"x": 1}, {"y": 1}])
    more = Records([{"x": 1}, {"x": 1, "y": 1}])
    for protocol, payload in (("v2", mixed), ("v2", ragged), ("seldon", ragged), ("v2", more)):
        with pytest.raises(ProtocolError) as caught:
            CLIENT_CODECS.load(protocol).encode(payload, {}, {})
        assert caught.value.kind is Kind.MISMATCH


@pytest.mark.parametrize("protocol", ["v2", "mlflow"])
def test_parameters_go_along(protocol: str) -> None:
    body = CLIENT_CODECS.load(protocol).encode(Rows(ROWS, NAMES), {"beam": 3}, {})
    assert CODECS.load(DOORS[protocol]).decode(body, HEADERS).parameters["beam"] == 3


ANSWERS: dict[str, Prediction] = {
    "numbers": np.array([1.5, -2.0]),
    "whole": np.array([3, 4]),
    "probabilities": np.array([[0.25, 0.75], [0.5, 0.5]]),
    "labels": ["red", "white"],
    "table": {"score": np.array([1.5, 2.5]), "label": ["red", "white"]},
}


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("protocol", DOORS)
def test_every_answer_of_ours_is_understood(protocol: str, answer: str) -> None:
    given_ = ANSWERS[answer]
    request = CODECS.load(DOORS[protocol]).decode(
        CLIENT_CODECS.load(protocol).encode(Rows(ROWS, NAMES), {}, {}), HEADERS
    )
    found = CLIENT_CODECS.load(protocol).decode(written(protocol, given_, request))
    assert plain(found) == plain(given_)


def written(protocol: str, prediction: Prediction, request: InferenceRequest) -> bytes:
    response = InferenceResponse(prediction, "id", "wine", 1, "a", 0, "wine/1")
    encoded = CODECS.load(DOORS[protocol]).encode(response, request)
    assert encoded.status == 200
    return encoded.body


def plain(prediction: Prediction) -> Json:
    if isinstance(prediction, dict):
        return {name: np.asarray(cells).tolist() for name, cells in prediction.items()}
    return np.asarray(prediction).tolist()


@pytest.mark.parametrize("protocol", DOORS)
@given(body=st.binary(max_size=60) | st.from_regex(rb'\{"(outputs|predictions|data)": .{0,30}\}'))
def test_nonsense_is_told_from_an_answer(protocol: str, body: bytes) -> None:
    # Nothing but this is ever raised.
    with contextlib.suppress(ProtocolError):
        CLIENT_CODECS.load(protocol).decode(body)


@pytest.mark.parametrize(
    ("protocol", "document"),
    [
        ("v2", {"outputs": [{"name": "x", "shape": [3], "datatype": "FP64", "data": [1.0]}]}),
        ("v2", {"outputs": [{"name": "x", "shape": [1], "datatype": "WHAT", "data": [1.0]}]}),
        ("v2", {"outputs": [{"name": "x", "shape": [1], "datatype": "FP64", "data": ["a"]}]}),
        ("v2", {"outputs": []}),
        ("v2", {"outputs": [7]}),
        ("kserve", {"error": "no"}),
        ("mlflow", {}),
        ("seldon", {"data": {"tensor": {"shape": [2], "values": [1.0]}}}),
        ("seldon", {"data": {"tensor": {"values": [1.0]}}}),
        ("seldon", {"data": {}}),
        ("seldon", {"status": {"status": "FAILURE", "info": "because"}, "data": {"ndarray": []}}),
        ("seldon", {"status": {"status": 1, "info": "because"}}),
        ("seldon", {"meta": {}}),
    ],
)
def test_broken_answers(protocol: str, document: Json) -> None:
    with pytest.raises(ProtocolError) as caught:
        CLIENT_CODECS.load(protocol).decode(json.dumps(document).encode())
    assert caught.value.kind is Kind.UPSTREAM


def test_null_among_numbers_is_nan() -> None:
    found = CLIENT_CODECS.load("mlflow").decode(b'{"predictions": [1.5, null]}')
    assert isinstance(found, np.ndarray)
    assert math.isnan(found[1])


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"error": "Model nope not found"}', "Model nope not found"),
        (b'{"error_code": "X", "message": "no column"}', "no column"),
        (b'{"detail": [{"msg": "Field required"}]}', '[{"msg":"Field required"}]'),
        (b'{"status": {"code": -1, "info": "bad data", "status": 1}}', "bad data"),
        (b"Internal Server\nError", "Internal Server Error"),
        (b"\xff" * 5000, "\ufffd" * 500),
        (b"[1]", "[1]"),
    ],
)
def test_what_a_server_says_of_its_error(body: bytes, said: str) -> None:
    assert refusal(body) == said
