"""The Open Inference Protocol in JSON; binary tensors are in `test_binary_tensors.py`."""

import datetime as dt
from typing import Any

import numpy as np
import orjson
import pytest

from mlops.protocols.base import Columns, InferenceRequest, Kind, Prediction, ProtocolError, Tensor
from mlops.protocols.http_status import http_status
from mlops.protocols.open_inference import CODEC
from mlops.protocols.open_inference_metadata import (
    ModelDescription,
    model_metadata,
    model_ready,
    server_live,
    server_metadata,
    server_ready,
)
from tests.protocols.answers import REQUEST_ID, Json, answer, read, refusal, reply

#: The example of `inference-protocols.md`: a frame of two rows and two columns.
FRAME = {
    "id": "r-1",
    "parameters": {"content_type": "pd"},
    "inputs": [
        {"name": "alcohol", "shape": [2, 1], "datatype": "FP64", "data": [12.1, 9.8]},
        {
            "name": "style",
            "shape": [2, 1],
            "datatype": "BYTES",
            "parameters": {"content_type": "str"},
            "data": ["red", "white"],
        },
    ],
}
#: The request of the specification's examples, and of KServe's documentation.
SPECIFIED = {
    "id": "42",
    "inputs": [
        {"name": "input0", "shape": [2, 2], "datatype": "UINT32", "data": [1, 2, 3, 4]},
    ],
    "outputs": [{"name": "output0"}],
}


def one(datatype: Json, data: Json, shape: Json = None, **more: Json) -> Json:
    """A request with one input of a name."""
    tensor = {"name": "x", "shape": shape or [len(data)], "datatype": datatype, "data": data}
    return {"inputs": [tensor | more]}


def column(request: InferenceRequest, name: str = "x") -> Json:
    """One column as a list."""
    assert isinstance(request.payload, Columns)
    values = request.payload.values[name]
    return values.tolist() if isinstance(values, np.ndarray) else values


def array(request: InferenceRequest) -> "np.ndarray[Any, Any]":
    """The only tensor."""
    assert isinstance(request.payload, Tensor)
    assert isinstance(request.payload.values, np.ndarray)
    return request.payload.values


def test_reads_a_frame() -> None:
    request = read(CODEC, FRAME)

    assert request.n_rows == 2
    assert column(request, "alcohol") == [12.1, 9.8]
    assert column(request, "style") == ["red", "white"]
    assert request.client_id == "r-1"
    assert request.parameters == {}


def test_reads_the_request_of_the_specification() -> None:
    request = read(CODEC, SPECIFIED)

    assert array(request).dtype == np.uint32
    assert array(request).tolist() == [[1, 2], [3, 4]]


def test_nested_data_is_the_same_as_flat() -> None:
    flat = read(CODEC, one("INT64", [1, 2, 3, 4, 5, 6], [1, 3, 2]))
    nested = read(CODEC, one("INT64", [[[1, 2], [3, 4], [5, 6]]], [1, 3, 2]))

    assert array(flat).tolist() == array(nested).tolist() == [[[1, 2], [3, 4], [5, 6]]]


def test_nested_columns_are_columns() -> None:
    # MLServer makes tuples of nested numbers, and empty strings of nested strings.
    assert column(read(CODEC, one("FP64", [[1], [2]], [2, 1]))) == [1.0, 2.0]
    assert column(read(CODEC, one("BYTES", [["x"], ["y"]], [2, 1]))) == ["x", "y"]


@pytest.mark.parametrize(
    ("datatype", "data", "dtype"),
    [
        ("BOOL", [True, False, 1, 0], "bool"),
        ("UINT8", [0, 255], "uint8"),
        ("UINT16", [0, 65535], "uint16"),
        ("UINT32", [0, 2**32 - 1], "uint32"),
        ("UINT64", [0, 2**64 - 1], "uint64"),
        ("INT8", [-128, 127], "int8"),
        ("INT16", [-32768, 32767], "int16"),
        ("INT32", [-(2**31), 2**31 - 1], "int32"),
        ("INT64", [-(2**63), 2**63 - 1, 3.0], "int64"),
        ("FP32", [1.5, -3, 0.25], "float32"),
        ("FP64", [0.1, 2], "float64"),
    ],
)
def test_reads_every_datatype(datatype: str, data: list[Any], dtype: str) -> None:
    request = read(CODEC, one(datatype, data))

    assert isinstance(request.payload, Columns)
    assert request.payload.values["x"].dtype == dtype
    assert column(request) == data


def test_null_is_a_missing_value_in_numbers_and_strings() -> None:
    numbers = column(read(CODEC, one("FP64", [None, 1.0])))

    assert np.isnan(numbers[0])
    assert column(read(CODEC, one("BYTES", [None, "x"]))) == [None, "x"]


def test_reads_base64() -> None:
    request = read(CODEC, one("BYTES", ["AP8=", None], parameters={"content_type": "base64"}))

    assert column(request) == [b"\x00\xff", None]


@pytest.mark.parametrize(
    ("shape", "parameters", "is_tensor"),
    [
        ([2], {}, False),
        ([2, 1], {}, False),
        ([1, 2], {}, True),
        ([2, 1], {"content_type": "np"}, True),
        ([2], {"content_type": "np"}, True),
    ],
)
def test_a_single_input_is_a_column_or_an_array(
    shape: list[int], parameters: dict[str, str], is_tensor: bool
) -> None:
    of_input = read(CODEC, one("FP64", [1.0, 2.0], shape, parameters=parameters))
    of_request = read(CODEC, one("FP64", [1.0, 2.0], shape) | {"parameters": parameters})

    for request in (of_input, of_request):
        assert isinstance(request.payload, Tensor if is_tensor else Columns)
        assert request.n_rows == shape[0]
    if is_tensor:
        assert array(of_input).shape == tuple(shape)


def test_an_input_without_a_name_is_an_array() -> None:
    request = read(CODEC, {"inputs": [{"shape": [2], "datatype": "BYTES", "data": ["x", "y"]}]})

    assert array(request).tolist() == ["x", "y"]


def test_other_parameters_are_for_the_model() -> None:
    parameters = {"content_type": "pd", "temperature": 0.1, "binary_data_output": False}

    assert read(CODEC, FRAME | {"parameters": parameters}).parameters == {"temperature": 0.1}


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({}, "`inputs` must be a list of at least one tensor"),
        ({"inputs": []}, "`inputs` must be a list of at least one tensor"),
        ({"inputs": [7]}, "Input 0: It must be an object, not a number"),
        (FRAME | {"id": 7}, "`id` must be a string, not a number"),
        (FRAME | {"parameters": 7}, "`parameters` must be an object"),
        (FRAME | {"parameters": {"content_type": 7}}, "`content_type` must be a string"),
        (FRAME | {"parameters": {"content_type": "np"}}, "takes exactly one input"),
        (FRAME | {"parameters": {"content_type": "pd_json"}}, "`pd_json` is not read"),
        (FRAME | {"outputs": {}}, "`outputs` must be a list"),
        (FRAME | {"outputs": ["x"]}, "`outputs[0]` must be an object with a `name`"),
        (one("FP64", [1], name=7), "`name` must be a string"),
        (one("FLOAT", [1]), "Input 'x': There is no datatype 'FLOAT'"),
        (one(["FP64"], [1]), "There is no datatype"),
        (one("FP64", [1], "x"), "`shape` must be a list of 1 to 32 sizes"),
        (one("FP64", [1, 2, 3], [2, 2]), "3 elements, but shape [2, 2] takes 4"),
        (one("FP64", [1], [-1]), "whole numbers from 1, not -1"),
        (one("FP64", [], [0]), "whole numbers from 1, not 0"),
        (one("FP64", [1], [1.0]), "whole numbers from 1, not 1.0"),
        (one("FP64", [1], [2**63, 2**63]), "1 elements, but shape"),
        (one("FP64", [[1, 2], [3]], [2, 2]), "Nested `data` does not have the shape [2, 2]"),
        (one("FP64", [[1, 2], 3], [2, 2]), "Nested `data` does not have the shape [2, 2]"),
        (one("FP64", [[[1]], [[2]]], [2, 1]), "FP64 does not take a list (element 0)"),
        (one("FP64", 1, [1]), "`data` must be a list, not a number"),
        (one("FP64", [1.0, "x"]), "FP64 does not take 'x' (element 1)"),
        (one("FP64", [True]), "FP64 does not take True"),
        (one("FP32", [1e300]), "too large for FP32"),
        (one("FP16", [1]), "FP16 has no JSON form"),
        (one("INT8", [128]), "128 is out of range for INT8"),
        (one("UINT64", [-1]), "-1 is out of range for UINT64"),
        (one("INT64", [2.0**64]), "out of range for INT64"),
        (one("INT32", [1.5]), "INT32 takes whole numbers, not 1.5"),
        (one("INT32", [None]), "INT32 does not take None"),
        (one("BOOL", [2]), "2 is out of range for BOOL"),
        (one("BYTES", [1]), "BYTES does not take 1"),
        (one("BYTES", ["?"], parameters={"content_type": "base64"}), "'?' is not base64"),
        (one("FP64", [1], parameters=[]), "`parameters` must be an object"),
        (one("FP64", [1, 2], [1, 2]) | {"parameters": {"content_type": "pd"}}, "must be [N] or"),
        ({"inputs": [{"name": "x", "shape": [1], "datatype": "FP64"}]}, "neither `data` nor"),
        ({"inputs": one("FP64", [1])["inputs"] * 2}, "a name of its own"),
        (
            {"inputs": [*one("FP64", [1])["inputs"], *one("FP64", [1, 2], name="y")["inputs"]]},
            "Input 'y' has 2 rows, but 'x' has 1",
        ),
    ],
)
def test_says_what_is_wrong_with_a_request(document: object, reason: str) -> None:
    assert reason in refusal(CODEC, document)


def test_answers_rows_of_one_value_as_mlserver_does() -> None:
    response = answer(np.array([1.5, 2.5]), client_id="42", output_names=("output0",))
    document = reply(CODEC, SPECIFIED, response)

    assert document == {
        "model_name": "wine",
        "model_version": "b",
        "id": "42",
        "parameters": {
            "mlops_request_id": REQUEST_ID,
            "mlops_arm": "b",
            "mlops_revision": 3,
            "mlops_version": "wine/7",
        },
        "outputs": [
            {
                "name": "output0",
                "shape": [2, 1],
                "datatype": "FP64",
                "parameters": {"content_type": "np"},
                "data": [1.5, 2.5],
            }
        ],
    }


def test_the_id_is_the_router_s_if_the_client_sent_none() -> None:
    assert reply(CODEC, one("FP64", [1]), answer(np.array([1.5])))["id"] == REQUEST_ID


def test_answers_a_table_as_mlserver_does() -> None:
    table = {"score": np.array([0.5, np.nan]), "label": np.array(["red", None], dtype=object)}

    document = reply(CODEC, FRAME, answer(table))

    assert document["parameters"]["content_type"] == "pd"
    assert document["outputs"] == [
        {"name": "score", "shape": [2, 1], "datatype": "FP64", "data": [0.5, None]},
        {
            "name": "label",
            "shape": [2, 1],
            "datatype": "BYTES",
            "parameters": {"content_type": "str"},
            "data": ["red", None],
        },
    ]


def test_names_outputs_as_the_model_does() -> None:
    two = answer(np.array([[1, 2], [3, 4]]), output_names=("low", "high"))
    one_ = answer(np.array([1, 3]), output_names=("low",))
    cube = answer(np.zeros((2, 1, 2)), output_names=("low", "high"))

    outputs = reply(CODEC, FRAME, two)["outputs"]
    assert [(output["name"], output["data"]) for output in outputs] == [
        ("low", [1, 3]),
        ("high", [2, 4]),
    ]
    assert reply(CODEC, FRAME, one_)["outputs"][0]["name"] == "low"
    assert reply(CODEC, FRAME, cube)["outputs"][0]["shape"] == [2, 1, 2]


@pytest.mark.parametrize(
    ("prediction", "datatype", "data"),
    [
        (np.array([True, False]), "BOOL", [True, False]),
        (np.array([1, 2], dtype=np.int8), "INT8", [1, 2]),
        (np.array([1, 2], dtype=np.uint64), "UINT64", [1, 2]),
        (np.array([1.5, 2], dtype=np.float32), "FP32", [1.5, 2.0]),
        (np.array([1.5, 2], dtype=np.float16), "FP32", [1.5, 2.0]),
        (np.array([1.5, 2], dtype=np.longdouble), "FP64", [1.5, 2.0]),
        (np.array([1.5, 2], dtype=">f8"), "FP64", [1.5, 2.0]),
        (np.array(["a", "b"]), "BYTES", ["a", "b"]),
        (np.array([True, False], dtype=object), "BOOL", [True, False]),
        (np.array([1, np.int8(2)], dtype=object), "INT64", [1, 2]),
        (np.array([1, None], dtype=object), "FP64", [1.0, None]),
        (np.array([2**70, 1], dtype=object), "FP64", [2.0**70, 1.0]),
        (["a", None], "BYTES", ["a", None]),
        ([{"label": "a"}, [1, 2]], "BYTES", ['{"label":"a"}', "[1,2]"]),
        ([[1, 2], [3, 4]], "BYTES", ["[1,2]", "[3,4]"]),
        ([b"\x00\xff", b""], "BYTES", ["AP8=", ""]),
        ([dt.date(2026, 1, 2), None], "BYTES", ["2026-01-02", None]),
        (np.array(["2026-01-02", "NaT"], "M8[ns]"), "BYTES", ["2026-01-02T00:00:00", None]),
    ],
)
def test_answers_with_every_sort_of_value(
    prediction: Prediction, datatype: str, data: list[Any]
) -> None:
    output = reply(CODEC, FRAME, answer(prediction))["outputs"][0]

    assert output["shape"] == [2, 1]
    assert (output["datatype"], output["data"]) == (datatype, data)


TABLE: Prediction = {"low": [1.0], "high": [2.0]}


def test_answers_the_outputs_asked_for() -> None:
    document = reply(CODEC, FRAME | {"outputs": [{"name": "high"}]}, answer(TABLE))
    assert [output["name"] for output in document["outputs"]] == ["high"]


@pytest.mark.parametrize(
    ("prediction", "names"), [(TABLE, "`low`, `high`"), (np.array([1.5]), "`output-1`")]
)
def test_an_output_that_is_not_there_is_an_error(prediction: Prediction, names: str) -> None:
    document = FRAME | {"outputs": [{"name": "high"}, {"name": "nope"}]}
    with pytest.raises(ProtocolError, match=f"no output '.*'; outputs are {names}") as caught:
        reply(CODEC, document, answer(prediction))
    assert http_status(caught.value.kind) == 400


@pytest.mark.parametrize("kind", [Kind.MALFORMED, Kind.UNKNOWN_MODEL, Kind.MODEL_FAILED])
def test_errors(kind: Kind) -> None:
    encoded = CODEC.encode_error(ProtocolError(kind, "No."))

    assert (encoded.status, encoded.body) == (http_status(kind), b'{"error":"No."}')


def test_metadata() -> None:
    known = {"inputs": "[]"}
    metadata = model_metadata(
        ModelDescription("wine", ("wine/7",), (("alcohol", "FP64", (-1, 1)),), (), known)
    )

    assert orjson.loads(server_metadata().body)["extensions"] == [
        "binary_tensor_data",
        "model_configuration",
    ]
    assert orjson.loads(metadata.body) == {
        "name": "wine",
        "versions": ["wine/7"],
        "platform": "mlops",
        "inputs": [{"name": "alcohol", "datatype": "FP64", "shape": [-1, 1]}],
        "outputs": [],
        "parameters": {"mlflow_signature": known},
    }


def test_health() -> None:
    assert server_live().body == b'{"live":true}'
    assert (server_ready(ready=True).status, server_ready(ready=False).status) == (200, 503)
    assert model_ready("wine", ready=True).body == b'{"name":"wine","ready":true}'
    assert model_ready("wine", ready=False).status == 503
