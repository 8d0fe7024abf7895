"""Seldon v1 predictions; literal bodies are from the upstream documentation or seen on its wire."""

import dataclasses
from urllib.parse import quote_plus

import numpy as np
import orjson
import pytest

from mlops.protocols.base import Columns, Kind, ProtocolError, Records, Rows, Tensor
from mlops.protocols.http_status import http_status
from mlops.protocols.seldon_v1 import CODEC
from tests.protocols.answers import REQUEST_ID, Json, answer, read, refusal, reply

NDARRAY = {"data": {"names": ["a", "b"], "ndarray": [[1.0, 2.0], [3.0, 4.0]]}}


def test_reads_ndarray_with_names() -> None:
    request = read(CODEC, NDARRAY)

    assert request.payload == Rows([[1.0, 2.0], [3.0, 4.0]], ("a", "b"))


def test_reads_the_tensor_of_the_upstream_documentation() -> None:
    body = b'{"data":{"names":["a","b"],"tensor":{"shape":[2,2],"values":[0,0,1,1]}}}'

    assert CODEC.decode(body, {}).payload == Rows([[0, 0], [1, 1]], ("a", "b"))


def test_reads_doubles_that_protobuf_spells_as_strings() -> None:
    request = read(CODEC, {"data": {"tensor": {"shape": [1, 3], "values": ["1e3", None, 2]}}})

    assert request.payload == Rows([[1000.0, None, 2]])


@pytest.mark.parametrize("names", [[], None])
def test_no_names_are_none(names: list[str] | None) -> None:
    request = read(CODEC, {"data": {"names": names, "ndarray": [["red", None, True, 1]]}})

    assert request.payload == Rows([["red", None, True, 1]], None)


def test_reads_arrays_of_other_rank() -> None:
    flat = read(CODEC, {"data": {"ndarray": [1, 2, 3]}})
    cube = read(CODEC, {"data": {"ndarray": [[[1, 2]], [[3, 4]]]}})
    tensor = read(CODEC, {"data": {"tensor": {"shape": [2, 1, 2], "values": [1, 2, 3, 4]}}})

    assert flat.payload == Tensor([1, 2, 3])
    assert cube.payload == Tensor([[[1, 2]], [[3, 4]]])
    assert isinstance(tensor.payload, Tensor)
    assert tensor.payload.values.tolist() == [[[1, 2]], [[3, 4]]]


def test_a_flat_ndarray_of_one_named_column_is_rows() -> None:
    request = read(CODEC, {"data": {"names": ["a"], "ndarray": [1, 2]}})

    assert request.payload == Rows([[1], [2]], ("a",))


@pytest.mark.parametrize(
    ("value", "payload"),
    [
        ([[1, 2]], Rows([[1, 2]])),
        ([{"a": 1}, {"b": "x"}], Records([{"a": 1}, {"b": "x"}])),
        ({"a": [1, 2], "b": ["x", "y"]}, Columns({"a": [1, 2], "b": ["x", "y"]})),
        ({"a": 1, "b": "x"}, Records([{"a": 1, "b": "x"}])),
    ],
)
def test_reads_json_data(value: object, payload: object) -> None:
    assert read(CODEC, {"jsonData": value}).payload == payload


def test_the_id_of_the_client_is_the_body_s_else_the_header_s() -> None:
    with_puid = NDARRAY | {"meta": {"puid": "mine"}}

    assert read(CODEC, with_puid, seldon_puid="other").client_id == "mine"
    assert read(CODEC, NDARRAY, seldon_puid="other").client_id == "other"
    assert read(CODEC, NDARRAY | {"meta": {"puid": ""}}).client_id is None


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({}, "exactly one of `data`"),
        ({"meta": {}}, "exactly one of `data`"),
        (NDARRAY | {"jsonData": [1]}, "exactly one of `data`"),
        ({"strData": ["x"]}, "`strData` must be a string, not a list"),
        ({"binData": "x"}, "not base64"),
        ({"nmaes": [], "data": {}}, "no key `nmaes`"),
        ({"data": [[1]]}, "`data` must be an object, not a list"),
        ({"data": {"names": ["a"]}}, "exactly one of `ndarray` and `tensor`"),
        ({"data": {"tftensor": {}}}, "tftensor"),
        ({"data": {"ndarray": [[1]], "shape": [1]}}, "no key `shape`"),
        ({"data": {"ndarray": []}}, "`data.ndarray` has no rows"),
        ({"data": {"ndarray": [[]]}}, "have no cells"),
        ({"data": {"ndarray": 5}}, "must be a list of rows, not a number"),
        ({"data": {"ndarray": [[1, 2], [1, 2], [3], [4]]}}, "Row 2 of `data.ndarray` has 1 cell"),
        ({"data": {"ndarray": [[1, 2], 3]}}, "Row 1 of `data.ndarray` is a number"),
        ({"data": {"ndarray": [[1, 2], {"a": 3}]}}, "Row 1 of `data.ndarray` is an object"),
        ({"data": {"ndarray": [[1, {}]]}}, "not objects"),
        ({"data": {"ndarray": [[[1], [2]], [[3], [4, 5]]]}}, "Row 1 of `data.ndarray` is ragged"),
        ({"data": {"ndarray": [[[1], [2]], [[3], 4]]}}, "Row 1 of `data.ndarray` is ragged"),
        ({"data": {"ndarray": [[[]]]}}, "ragged or empty"),
        ({"data": {"names": ["a"], "ndarray": [[1, 2]]}}, "1 column names, but rows of 2"),
        ({"data": {"names": ["a", "b"], "ndarray": [1, 2]}}, "2 column names, but rows of 1"),
        ({"data": {"names": ["a"], "ndarray": [[[1]]]}}, "nested deeper"),
        ({"data": {"names": ["a", "a"], "ndarray": [[1, 2]]}}, "the name 'a' twice"),
        ({"data": {"names": "ab", "ndarray": [[1, 2]]}}, "`data.names` must be a list of strings"),
        ({"data": {"names": [1], "ndarray": [[1]]}}, "`data.names` must be a list of strings"),
        (
            {"data": {"tensor": {"shape": [2, 2], "values": [1, 2, 3]}}},
            "3 values, but shape [2, 2]",
        ),
        ({"data": {"tensor": {"shape": [0, 2], "values": []}}}, "whole numbers from 1, not 0"),
        ({"data": {"tensor": {"shape": [], "values": [1]}}}, "1 to 32 sizes"),
        ({"data": {"tensor": {"shape": [True], "values": [1]}}}, "whole numbers from 1, not True"),
        ({"data": {"tensor": {"shape": [1], "values": ["x"]}}}, "must hold numbers, not 'x'"),
        ({"data": {"tensor": {"shape": [1], "values": [True]}}}, "[0] must be a number, not True"),
        ({"data": {"tensor": {"shape": [1], "values": 1}}}, "must be a list of numbers"),
        ({"data": {"tensor": [1]}}, "an object with `shape` and `values`"),
        ({"data": {"names": ["a"], "tensor": {"shape": [1], "values": [1]}}}, "names need rows"),
        ({"jsonData": "x"}, "`jsonData` must be a list of rows, not a string"),
        ({"jsonData": {}}, "a list of values for each column"),
        ({"jsonData": {"a": [1], "b": [1, 2]}}, "Column 'b' of `jsonData` has 2 values"),
        ({"jsonData": {"a": []}}, "has no rows"),
        ({"jsonData": {"a": [1], "b": 1}}, "a list of values for each column"),
        ({"jsonData": [{"a": 1}, 2]}, "Row 1 of `jsonData` must be an object"),
        (NDARRAY | {"meta": []}, "`meta` must be an object"),
        (NDARRAY | {"meta": {"puid": 1}}, "`meta.puid` must be a string"),
        (NDARRAY | {"meta": {"tags": []}}, "`meta.tags` must be an object"),
    ],
)
def test_says_what_is_wrong_with_a_message(message: object, reason: str) -> None:
    assert reason in refusal(CODEC, message)


def test_refuses_arrays_of_absurd_depth() -> None:
    rows: object = 1.0
    for _ in range(100):
        rows = [rows]

    assert "deeper than 32" in refusal(CODEC, {"data": {"ndarray": rows}})


def test_answers_as_the_wrapper_does() -> None:
    two = reply(CODEC, NDARRAY, answer(np.array([[0.1, 0.9]])))
    one = reply(CODEC, NDARRAY, answer(np.array([1.5])))

    assert two["data"] == {"names": ["t:0", "t:1"], "ndarray": [[0.1, 0.9]]}
    assert one["data"] == {"names": [], "ndarray": [1.5]}


def test_answers_a_tensor_with_a_tensor() -> None:
    question = {"data": {"tensor": {"shape": [1, 2], "values": [0, 1]}}}

    numbers = reply(CODEC, question, answer(np.array([[0.1, 0.9]])))
    booleans = reply(CODEC, question, answer(np.array([True])))
    strings = reply(CODEC, question, answer(np.array(["red"])))

    assert numbers["data"]["tensor"] == {"shape": [1, 2], "values": [0.1, 0.9]}
    assert booleans["data"]["tensor"] == {"shape": [1], "values": [1.0]}
    assert strings["data"] == {"names": [], "ndarray": ["red"]}


def test_answers_json_data_with_a_tensor_if_numeric() -> None:
    question = {"jsonData": [[1, 2]]}

    numbers = reply(CODEC, question, answer(np.array([1.5])))
    objects = reply(CODEC, question, answer([{"label": "red"}]))

    assert numbers["data"] == {"names": [], "tensor": {"shape": [1], "values": [1.5]}}
    assert objects["jsonData"] == [{"label": "red"}]


def test_names_the_columns_as_the_model_does() -> None:
    named = reply(CODEC, NDARRAY, answer(np.array([1.5]), output_names=("quality",)))
    table = reply(CODEC, NDARRAY, answer({"low": np.array([1, 2]), "word": ["x", None]}))

    assert named["data"] == {"names": ["quality"], "ndarray": [1.5]}
    assert table["data"] == {"names": ["low", "word"], "ndarray": [[1, "x"], [2, None]]}


@pytest.mark.parametrize(
    ("message", "cell"), [({"strData": "a wine"}, "a wine"), ({"binData": "/w=="}, b"\xff")]
)
def test_text_and_bytes_are_one_cell(message: Json, cell: object) -> None:
    assert read(CODEC, message).payload == Rows([[cell]])
    assert reply(CODEC, message, answer(np.array([1.5])))["data"]["tensor"]["values"] == [1.5]


@pytest.mark.parametrize(
    "body",
    [
        b"json=" + quote_plus('{"data": {"ndarray": [["a+b", 1]]}}').encode(),
        b'{"data": {"ndarray": [["a+b", 1]]}}',
    ],
    ids=["a form", "curl's --data"],
)
def test_reads_a_form_as_the_wrapper_does(body: bytes) -> None:
    request = CODEC.decode(body, {"content-type": "application/x-www-form-urlencoded"})
    assert request.payload == Rows([["a+b", 1]])


def test_a_request_id_stands_beside_a_clients_own_puid() -> None:
    response = answer(np.array([1.5]), client_id="mine")
    meta = reply(CODEC, NDARRAY | {"meta": {"puid": "mine"}}, response)["meta"]
    assert meta["requestPath"] == {"b": "wine/7", "mlops_request_id": REQUEST_ID}


def test_a_model_behind_a_router_routes_to_nothing() -> None:
    response = dataclasses.replace(answer(np.array([1.5])), deployment="b", arm_index=0)
    assert reply(CODEC, NDARRAY, response)["meta"]["routing"] == {}


def test_meta_identifies_the_prediction_and_echoes_tags() -> None:
    question = NDARRAY | {"meta": {"tags": {"shop": 4, "mlops_arm": "forged"}}}

    meta = reply(CODEC, question, answer(np.array([1.5])))["meta"]

    assert meta == {
        "puid": REQUEST_ID,
        "tags": {
            "shop": 4,
            "mlops_arm": "forged",
        },
        "routing": {"wine": 1},
        "requestPath": {"b": "wine/7"},
    }


@pytest.mark.parametrize(
    ("puid", "header"),
    [("mine", b"mine"), ("a\r\nb: c", REQUEST_ID.encode()), ("ü", REQUEST_ID.encode())],
)
def test_echoes_the_puid_where_a_header_can_hold_it(puid: str, header: bytes) -> None:
    request = read(CODEC, NDARRAY | {"meta": {"puid": puid}})

    encoded = CODEC.encode(answer(np.array([1.5]), client_id=request.client_id), request)

    assert encoded.headers == ((b"seldon-puid", header),)
    assert orjson.loads(encoded.body)["meta"]["puid"] == puid


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Kind.MALFORMED, "MICROSERVICE_BAD_DATA"),
        (Kind.MISMATCH, "MICROSERVICE_BAD_DATA"),
        (Kind.MODEL_FAILED, "MICROSERVICE_INTERNAL_ERROR"),
        (Kind.DEADLINE, "MICROSERVICE_INTERNAL_ERROR"),
    ],
)
def test_errors_are_status_objects(kind: Kind, reason: str) -> None:
    encoded = CODEC.encode_error(ProtocolError(kind, "No."))

    status = {"code": -1, "info": "No.", "reason": reason, "status": "FAILURE"}
    assert orjson.loads(encoded.body) == {"status": status}
    assert encoded.status == http_status(kind)
