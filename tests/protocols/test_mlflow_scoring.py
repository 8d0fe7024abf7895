"""MLflow's scoring protocol."""

import numpy as np
import orjson
import pytest

from mlops.protocols.base import (
    Columns,
    InferenceResponse,
    Kind,
    ProtocolError,
    Records,
    Rows,
    Source,
    Tensor,
    Whole,
)
from mlops.protocols.mlflow_scoring import CODEC
from mlops.tables.signature import Column, Signature
from tests.protocols.answers import answer, read, refusal, reply


@pytest.mark.parametrize(
    ("document", "payload"),
    [
        # The examples of MLflow's documentation.
        (
            {"dataframe_split": {"columns": ["a", "b", "c"], "data": [[1, 2, 3], [4, 5, 6]]}},
            Rows([[1, 2, 3], [4, 5, 6]], ("a", "b", "c")),
        ),
        (
            {"dataframe_records": [{"a": 1, "b": 2}, {"a": 3}]},
            Records([{"a": 1, "b": 2}, {"a": 3}]),
        ),
        (
            {"instances": [{"a": "s1", "b": 1, "c": [1, 2, 3]}]},
            Records([{"a": "s1", "b": 1, "c": [1, 2, 3]}]),
        ),
        (
            {"inputs": {"a": ["s1", "s2"], "b": [1, 2], "c": [[1], [2]]}},
            Columns({"a": ["s1", "s2"], "b": [1, 2], "c": [[1], [2]]}),
        ),
        ({"inputs": [[1, 2], [3, 4]]}, Rows([[1, 2], [3, 4]])),
        ({"inputs": [1, 2]}, Tensor([1, 2])),
        ({"inputs": {"a": "s1", "b": 1}}, Records([{"a": "s1", "b": 1}])),
        # What pandas writes of a frame without column names.
        (
            {"dataframe_split": {"columns": [0, 1], "index": [7], "data": [[1, None]]}},
            Rows([[1, None]]),
        ),
        ({"dataframe_split": {"data": [[1]], "index": None}}, Rows([[1]])),
        ({"dataframe_split": {"columns": ["a"], "data": [1, 2]}}, Rows([[1], [2]], ("a",))),
        ({"dataframe_split": {"columns": ["a"], "data": [[[1, 2]]]}}, Rows([[[1, 2]]], ("a",))),
    ],
)
def test_reads_each_of_the_four_keys(document: object, payload: object) -> None:
    assert read(CODEC, document).payload == payload


def test_reads_parameters_and_the_id() -> None:
    request = read(CODEC, {"inputs": [1], "params": {"k": 2}, "else": 1}, x_request_id="mine")

    assert request.parameters == {"k": 2}
    assert request.client_id == "mine"
    assert read(CODEC, {"inputs": [1], "params": None}).parameters == {}


def split(**keys: object) -> object:
    return {"dataframe_split": keys}


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({}, "exactly one of `dataframe_split`"),
        ({"instances": [1], "inputs": [1]}, "exactly one of `dataframe_split`"),
        ([[1]], "must be a JSON object, not a list"),
        ({"inputs": [1], "params": [1]}, "`params` must be an object, not a list"),
        ({"dataframe_records": [{"a": 1}, 1]}, "Row 1 of `dataframe_records` must be an object"),
        ({"dataframe_records": {}}, "must be a list of rows, not an object"),
        ({"dataframe_split": [[1]]}, "an object with `data`"),
        (split(columns=["a"]), "an object with `data`"),
        (split(data=[[1]], names=["a"]), "an object with `data`"),
        (split(data=[[1, 2], [3]]), "Row 1 of `dataframe_split.data` has 1 cell"),
        (split(data=[[1]], columns=["a", "b"]), "2 column names, but rows of 1"),
        (split(data=[[1]], columns=[["a", "b"]]), "must be a list of strings"),
        (split(data=[[1]], index=[1, 2]), "must be a list of 1 labels"),
    ],
)
def test_says_what_is_wrong(document: object, reason: str) -> None:
    assert reason in refusal(CODEC, document)


@pytest.mark.parametrize(
    ("form", "value", "n_rows"),
    [
        ("inputs", 5, 1),
        ("inputs", "text", 1),
        ("inputs", {"a": [1], "b": [1, 2]}, 1),
        ("instances", [[1], [1, 2]], 2),
        ("inputs", ["a", {"b": 1}], 2),
        ("inputs", [], 0),
    ],
)
def test_a_value_that_makes_no_rows_is_left_to_the_model(
    form: str, value: object, n_rows: int
) -> None:
    payload = read(CODEC, {form: value}).payload

    assert payload.source == Source(form, value)
    assert payload.n_rows == n_rows


def test_reads_literals_that_python_writes() -> None:
    body = b'{"inputs": [[NaN, 1.5], [-Infinity, 2]]}'
    payload = CODEC.decode(body, {}).payload

    assert isinstance(payload, Rows)
    assert repr(payload.values) == "[[nan, 1.5], [-inf, 2]]"
    with pytest.raises(ProtocolError, match="not valid JSON"):
        CODEC.decode(b'{"inputs": [NaN, "\\ud800"]}', {})


def test_answers_a_chat_without_the_key_predictions() -> None:
    request = read(CODEC, {"messages": [{"role": "user", "content": "hi"}], "temperature": 0})
    answer = InferenceResponse(Whole({"id": "1"}), "r", "chat", 1, "a", 0, "chat/1")

    assert CODEC.encode(answer, request).body == b'{"id":"1"}'


CSV = {"content-type": "text/csv"}


def test_reads_csv_as_pandas_infers_it() -> None:
    body = (
        "\ufeffwhole,number,gap,word,truth,padded,big,odd\r\n"
        '1,1.5,,red,True,007,1e400,1_000\r\n\r\n-2,2,3,"a, ""b""",False,1,2,2\r\n'
    )

    request = CODEC.decode(body.encode(), CSV | {"x-request-id": "mine"})

    assert request.payload == Columns(
        {
            "whole": [1, -2],
            "number": [1.5, 2.0],
            "gap": [None, 3],
            "word": ["red", 'a, "b"'],
            "truth": [True, False],
            "padded": [7, 1],
            "big": ["1e400", "2"],
            "odd": ["1_000", "2"],
        }
    )
    assert request.client_id == "mine"


def test_missing_cells_of_csv() -> None:
    request = CODEC.decode(b"number,word,nothing\n1.5,,\nNaN,x,\n", CSV)

    assert request.payload == Columns(
        {"number": [1.5, None], "word": [None, "x"], "nothing": [None, None]}
    )
    # As MLflow's server reads a column of texts, where a file of `mlops` keeps `N/A`.
    texts = Signature((Column("word", "string"),))
    request = CODEC.decode(b"word\nN/A\nx\n", CSV, texts)
    assert request.payload == Columns({"word": [None, "x"]})


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "is empty"),
        (b"a,b\n1,2\n3\n", "Line 3 of the CSV has 1 cell, but the header has 2"),
        (b",a\n0,1\n", "`index=False`"),
        (b"a,a\n0,1\n", "the name `a` twice"),
        (b'a\n"x\n', "not valid CSV"),
        (b"a\n\xff\n", "not valid CSV in UTF-8"),
        (b"a\n" + b"x" * 200_000, "field larger than field limit"),
    ],
)
def test_says_what_is_wrong_with_csv(body: bytes, reason: str) -> None:
    assert reason in refusal(CODEC, body, **CSV)


@pytest.mark.parametrize(
    "media",
    [
        "application/json",
        "application/json; charset=UTF-8",
        'Application/JSON;charset="utf-8"',
        None,
    ],
)
def test_reads_json_of_these_media_types(media: str | None) -> None:
    headers = {} if media is None else {"content-type": media}

    assert CODEC.decode(b'{"inputs": [1]}', headers).n_rows == 1


@pytest.mark.parametrize(
    ("media", "reason"),
    [
        ("application/json; format=pandas-split", "Unrecognized content type parameter 'format'"),
        ("application/json; charset=latin-1", "only supports UTF-8"),
        ("text/csv; header=present", "Unrecognized content type parameter 'header'"),
        ("application/x-www-form-urlencoded", "not 'application/x-www-form-urlencoded'"),
        ("", "not ''"),
    ],
)
def test_refuses_other_media_types_in_plain_text(media: str, reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason) as caught:
        CODEC.decode(b'{"inputs": [1]}', {"content-type": media})

    encoded = CODEC.encode_error(caught.value)
    assert encoded.status == 415
    assert encoded.content_type.startswith(b"text/plain")
    assert reason in encoded.body.decode()


def test_answers_predictions() -> None:
    question = {"inputs": [1, 2]}

    arrays = reply(CODEC, question, answer(np.array([[1, 2], [3, 4]])))
    table = reply(CODEC, question, answer({"a": np.array([1, 2]), "b": ["x", None]}))

    assert arrays == {"predictions": [[1, 2], [3, 4]]}
    assert table == {"predictions": [{"a": 1, "b": "x"}, {"a": 2, "b": None}]}


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        (Kind.MALFORMED, 400, "BAD_REQUEST"),
        (Kind.MISMATCH, 400, "INVALID_PARAMETER_VALUE"),
        (Kind.MODEL_FAILED, 500, "INTERNAL_ERROR"),
        (Kind.NOT_READY, 503, "TEMPORARILY_UNAVAILABLE"),
    ],
)
def test_errors(kind: Kind, status: int, code: str) -> None:
    encoded = CODEC.encode_error(ProtocolError(kind, "No."))

    assert encoded.status == status
    assert orjson.loads(encoded.body) == {"error_code": code, "message": "No."}
