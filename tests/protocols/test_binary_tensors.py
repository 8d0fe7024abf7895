"""Binary tensors, as Triton's own client sends and reads them, and damaged ones."""

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient import http as triton

from mlops.protocols.base import Columns, Encoded, InferenceRequest, ProtocolError, Tensor
from mlops.protocols.open_inference import CODEC
from tests.protocols.answers import Json, answer, refusal

HEADER = "inference-header-content-length"
ARRAYS = {
    "BOOL": np.array([[True, False]]),
    "UINT8": np.array([[0, 255]], dtype=np.uint8),
    "UINT16": np.array([[0, 65535]], dtype=np.uint16),
    "UINT32": np.array([[0, 2**32 - 1]], dtype=np.uint32),
    "UINT64": np.array([[0, 2**64 - 1]], dtype=np.uint64),
    "INT8": np.array([[-128, 127]], dtype=np.int8),
    "INT16": np.array([[-(2**15), 2**15 - 1]], dtype=np.int16),
    "INT32": np.array([[-(2**31), 2**31 - 1]], dtype=np.int32),
    "INT64": np.array([[-(2**63), 2**63 - 1]], dtype=np.int64),
    "FP16": np.array([[0.5, np.nan]], dtype=np.float16),
    "FP32": np.array([[0.1, np.inf]], dtype=np.float32),
    "FP64": np.array([[0.1, np.nan]], dtype=np.float64),
}


def sent(
    arrays: dict[str, Any],
    *,
    outputs: list[Any] | None = None,
    binary: bool = True,
    datatype: str | None = None,
) -> tuple[bytes, dict[str, str]]:
    """The body and the headers that Triton's client sends."""
    inputs = []
    for name, array in arrays.items():
        kind = datatype or ("BYTES" if array.dtype == object else "FP64")
        tensor = triton.InferInput(name, list(array.shape), kind)
        inputs.append(tensor.set_data_from_numpy(array, binary_data=binary))
    body, length = triton.InferenceServerClient.generate_request_body(inputs, outputs=outputs)
    return body, {} if length is None else {HEADER: str(length)}


def received(encoded: Encoded) -> triton.InferResult:
    """The answer as Triton's client reads it."""
    length = dict(encoded.headers).get(HEADER.encode())
    return triton.InferenceServerClient.parse_response_body(
        encoded.body, header_length=None if length is None else int(length)
    )


def question(outputs: list[Any] | None = None) -> InferenceRequest:
    """A question of Triton's client with one array."""
    return CODEC.decode(*sent({"x": np.array([[1.0, 2.0]])}, outputs=outputs))


@pytest.mark.parametrize("datatype", ARRAYS)
def test_reads_every_datatype(datatype: str) -> None:
    request = CODEC.decode(*sent({"x": ARRAYS[datatype]}, datatype=datatype))

    assert isinstance(request.payload, Tensor)
    assert request.payload.values.dtype == ARRAYS[datatype].dtype
    assert request.payload.values.flags.writeable
    assert request.payload.values.flags.aligned
    np.testing.assert_array_equal(request.payload.values, ARRAYS[datatype])


def test_reads_columns_of_numbers_and_strings() -> None:
    strings = np.array([["red"], ["grün"]], dtype=object)
    request = CODEC.decode(*sent({"alcohol": np.array([[12.1], [9.8]]), "style": strings}))

    assert isinstance(request.payload, Columns)
    assert request.payload.values["alcohol"].tolist() == [12.1, 9.8]
    assert request.payload.values["style"] == ["red", "grün"]
    assert request.parameters == {}


def test_reads_tensors_in_json_beside_binary_ones() -> None:
    binary, headers = sent({"x": np.array([1.0, 2.0])})
    document = orjson.loads(binary[: int(headers[HEADER])])
    document["inputs"].insert(0, {"name": "y", "shape": [2], "datatype": "INT64", "data": [3, 4]})
    head = orjson.dumps(document)

    request = CODEC.decode(head + np.array([1.0, 2.0]).tobytes(), {HEADER: str(len(head))})

    assert isinstance(request.payload, Columns)
    assert [values.tolist() for values in request.payload.values.values()] == [[3, 4], [1.0, 2.0]]


def test_the_client_s_default_asks_for_binary_outputs() -> None:
    table = {"score": np.array([0.5, np.nan]), "label": ["grün", None]}

    encoded = CODEC.encode(answer(table), question())

    assert encoded.content_type == b"application/octet-stream"
    result = received(encoded)
    np.testing.assert_array_equal(result.as_numpy("score"), [[0.5], [np.nan]])
    assert result.as_numpy("label").tolist() == [["grün".encode()], [b""]]
    assert result.get_response()["parameters"]["mlops_arm"] == "b"


@pytest.mark.parametrize("datatype", ARRAYS)
def test_writes_every_datatype(datatype: str) -> None:
    result = received(CODEC.encode(answer(ARRAYS[datatype]), question()))

    assert result.get_output("output-1")["datatype"] == datatype
    np.testing.assert_array_equal(result.as_numpy("output-1"), ARRAYS[datatype])


def test_an_output_says_for_itself_whether_it_is_binary() -> None:
    asked = [
        triton.InferRequestedOutput("low", binary_data=True),
        triton.InferRequestedOutput("high", binary_data=False),
    ]

    encoded = CODEC.encode(answer({"low": [1.5], "high": [2.5]}), question(outputs=asked))

    result = received(encoded)
    assert result.as_numpy("low").tolist() == [[1.5]]
    assert "data" not in result.get_output("low")
    assert result.get_output("high")["data"] == [2.5]


def test_the_only_output_may_be_called_as_mlserver_does() -> None:
    for binary in (True, False):
        asked = [triton.InferRequestedOutput("predict", binary_data=binary)]

        encoded = CODEC.encode(answer(np.array([1.5])), question(outputs=asked))

        assert received(encoded).as_numpy("predict").tolist() == [[1.5]]
        assert (encoded.content_type == b"application/octet-stream") is binary


def test_json_requests_of_the_client_need_no_header() -> None:
    asked = [triton.InferRequestedOutput("output-1", binary_data=False)]
    body, headers = sent({"x": np.array([[1.0, 2.0]])}, binary=False, outputs=asked)
    assert headers == {}

    encoded = CODEC.encode(answer(np.array([1.5])), CODEC.decode(body, headers))

    assert encoded.headers == ()
    assert received(encoded).as_numpy("output-1").tolist() == [[1.5]]


def body_of(
    parameters: Json, data: bytes, datatype: str = "FP64", n_elements: int = 2
) -> tuple[bytes, dict[str, str]]:
    """A request with one binary input `x`, and its header."""
    entry = {"name": "x", "shape": [n_elements], "datatype": datatype, "parameters": parameters}
    head = orjson.dumps({"inputs": [entry]})
    return head + data, {HEADER: str(len(head))}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (body_of({"binary_data_size": 8}, b"8" * 8), "8 bytes of binary data, but it takes 16"),
        (body_of({"binary_data_size": 16}, b"8" * 8), "16 bytes of binary data announced, 8 are"),
        (body_of({"binary_data_size": 16}, b"8" * 17), "1 bytes of binary data belong to no input"),
        (body_of({"binary_data_size": -1}, b""), "must be a number of bytes"),
        (body_of({"binary_data_size": True}, b"8"), "must be a number of bytes"),
        (body_of({"binary_data_size": 2}, b"\1\0", "BYTES"), "ends within element 0"),
        (body_of({"binary_data_size": 6}, b"\3\0\0\0ab", "BYTES"), "ends within element 0"),
        (body_of({"binary_data_size": 5}, b"\1\0\0\0\xff", "BYTES", 1), "element 0 is not UTF-8"),
        (body_of({"binary_data_size": 5}, b"\1\0\0\0a", "BYTES"), "1 elements of binary data"),
        (body_of({}, b"8" * 16), "neither `data` nor `binary_data_size`"),
        ((b"{}", {HEADER: "-1"}), "must be a number of bytes up to 2"),
        ((b"{}", {HEADER: "3"}), "must be a number of bytes up to 2"),
        ((b"{}", {HEADER: "9" * 5000}), "must be a number of bytes up to 2"),
        ((b"{}", {HEADER: "²"}), "must be a number of bytes up to 2"),
        ((b"{}", {HEADER: "0"}), "The body is empty"),
    ],
)
def test_says_what_is_wrong(body: tuple[bytes, dict[str, str]], reason: str) -> None:
    assert reason.lower() in refusal(CODEC, body[0], **body[1]).lower()


@given(
    st.binary(max_size=40),
    st.sampled_from(["BYTES", "BOOL", "INT16", "FP64"]),
    st.integers(-1, 40) | st.none(),
    st.integers(0, 5),
    st.integers(-2, 2),
)
def test_any_binary_data_is_read_or_refused(
    data: bytes, datatype: str, size: int | None, n_elements: int, off: int
) -> None:
    announced = len(data) if size is None else size
    body, headers = body_of({"binary_data_size": announced}, data, datatype, n_elements)

    try:
        request = CODEC.decode(body, {HEADER: str(int(headers[HEADER]) + off)})
    except ProtocolError:
        return

    assert request.n_rows == n_elements
