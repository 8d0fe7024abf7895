"""What every codec in the table `CODECS` keeps to."""

from __future__ import annotations

import copy
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlops.protocols import CODECS
from mlops.protocols.base import InferenceRequest, Kind, Prediction, ProtocolError
from mlops.protocols.http_status import http_status
from tests.protocols.answers import REQUEST_ID, Json, answer

NAMES = sorted(CODECS)


@dataclass(frozen=True, slots=True)
class Sample:
    """A request of two rows, where its rows stand, and what no rows and ragged rows look like."""

    document: dict[str, Any]
    path: tuple[str | int, ...]
    none: Any
    ragged: Any


#: A codec without a sample fails the kit.
SAMPLES = {
    "seldon-v1": Sample(
        {
            "data": {"names": ["a", "b"], "ndarray": [[1.5, 2], [3, 4]]},
            "meta": {"puid": "mine", "tags": {"k": 1}},
        },
        ("data", "ndarray"),
        [],
        [[1, 2], [3]],
    ),
    "open-inference": Sample(
        {
            "id": "mine",
            "parameters": {"content_type": "pd", "binary_data_output": False},
            "inputs": [
                {
                    "name": "a",
                    "shape": [2, 1],
                    "datatype": "FP64",
                    "parameters": {"content_type": "np"},
                    "data": [1.5, 3],
                },
                {"name": "b", "shape": [2], "datatype": "BYTES", "data": ["x", "y"]},
            ],
            "outputs": [],
        },
        ("inputs", 0, "data"),
        [],
        [1, [2]],
    ),
    "kserve-v1": Sample({"instances": [[1.5, 2], [3, 4]]}, ("instances",), [], [[1, 2], [3]]),
    "mlflow": Sample(
        {
            "dataframe_split": {"columns": ["a", "b"], "index": [0, 1], "data": [[1.5, 2], [3, 4]]},
            "params": {"k": 1},
        },
        ("dataframe_split", "data"),
        None,
        [[1, 2], [3]],
    ),
}
HEADERS = ["content-type", "inference-header-content-length", "seldon-puid", "x-request-id"]
WORDS = sorted(
    {"inputs", "instances", "dataframe_records", "dataframe_split", "params", "columns", "index"}
    | {"data", "names", "ndarray", "tensor", "tftensor", "shape", "values", "jsonData", "meta"}
    | {"name", "datatype", "parameters", "content_type", "binary_data_size", "outputs", "id"}
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(
        [0, 1, 2, "FP64", "FP32", "FP16", "INT8", "BYTES", "BOOL", "pd", "np", "base64"]
    )
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)


def paths(value: Json, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every place in a JSON value but its root."""
    places = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in places:
        yield (*path, key)
        if isinstance(inner, dict | list):
            yield from paths(inner, (*path, key))


def replaced(document: Json, path: tuple[str | int, ...], value: Json) -> Json:
    """A copy of a JSON value with another value in one place."""
    document = copy.deepcopy(document)
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return document


def decoded(name: str, body: bytes, headers: dict[str, str]) -> InferenceRequest | ProtocolError:
    """What a codec makes of a body; any other exception fails the test."""
    try:
        return CODECS.load(name).decode(body, headers)
    except ProtocolError as error:
        return error


def check_decoding(name: str, body: bytes, headers: dict[str, str]) -> None:
    """A body gives a request with rows, which can be answered, or a `ProtocolError`."""
    codec = CODECS.load(name)
    match decoded(name, body, headers):
        case ProtocolError() as error:
            assert error.kind in {Kind.MALFORMED, Kind.UNSUPPORTED_MEDIA}
            assert len(error.message) < 400
            assert codec.encode_error(error).status in {400, 415}
        case InferenceRequest() as request:
            assert request.n_rows >= (name != "mlflow")
            assert codec.encode(answer(np.zeros(request.n_rows)), request).status == 200


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    """The name of a codec."""
    return str(request.param)


@pytest.fixture
def sample(name: str) -> Sample:
    """A request in that protocol."""
    return SAMPLES[name]


def test_reads_many_rows(name: str, sample: Sample) -> None:
    request = CODECS.load(name).decode(orjson.dumps(sample.document), {})

    assert request.n_rows == 2


@pytest.mark.parametrize("fault", ["none", "ragged"])
def test_refuses_no_rows_and_ragged_rows(name: str, sample: Sample, fault: str) -> None:
    document = replaced(sample.document, sample.path, getattr(sample, fault))

    with pytest.raises(ProtocolError) as caught:
        CODECS.load(name).decode(orjson.dumps(document), {})

    assert caught.value.kind is Kind.MALFORMED


# The kinds of bodies are learned on first use, which a busy machine does slowly.
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(body=st.binary(max_size=200), data=st.data())
@pytest.mark.parametrize("codec", NAMES)
def test_any_bytes_are_read_or_refused(codec: str, body: bytes, data: st.DataObject) -> None:
    values = st.text(max_size=10) | st.integers(0, 300).map(str) | st.just("text/csv")
    headers = data.draw(st.dictionaries(st.sampled_from(HEADERS), values))

    check_decoding(codec, body, headers)


@given(document=VALUES)
@pytest.mark.parametrize("codec", NAMES)
def test_any_json_is_read_or_refused(codec: str, document: Json) -> None:
    check_decoding(codec, orjson.dumps(document), {})


@given(data=st.data())
@pytest.mark.parametrize("codec", NAMES)
def test_a_request_with_any_value_in_any_place_is_read_or_refused(
    codec: str, data: st.DataObject
) -> None:
    document = SAMPLES[codec].document
    path = data.draw(st.sampled_from(list(paths(document))))

    check_decoding(codec, orjson.dumps(replaced(document, path, data.draw(VALUES))), {})


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"inputs":' * 100_000, b"9" * 100_000])
def test_refuses_bombs(name: str, body: bytes) -> None:
    assert isinstance(decoded(name, body, {}), ProtocolError)


@pytest.mark.parametrize("depth", [40, 300, 1000])
def test_depth_in_any_place_is_no_matter_or_refused(name: str, sample: Sample, depth: int) -> None:
    # orjson reads 1,024 levels and writes 254, `repr` goes as deep as Python's stack.
    for bomb in (b"[" * depth + b"1" + b"]" * depth, b'{"a":' * depth + b"1" + b"}" * depth):
        for path in paths(sample.document):
            document = orjson.dumps(replaced(sample.document, path, "bomb"))
            check_decoding(name, document.replace(b'"bomb"', bomb), {})
            if path[-1] in {"k", *sample.path[-1:]}:
                assert isinstance(
                    decoded(name, document.replace(b'"bomb"', bomb), {}), ProtocolError
                )


def test_what_is_refused_is_refused_quickly(name: str, sample: Sample) -> None:
    # Each of these took minutes in code that looked innocent.
    names = [str(i) for i in range(100_000)]
    started = time.process_time()

    decoded(name, orjson.dumps({"data": {"names": [*names, names[-1]], "ndarray": [[1]]}}), {})
    decoded(name, orjson.dumps({"dataframe_split": {"columns": names * 2, "data": [[1]]}}), {})
    decoded(name, b"a\n" + b"1" * 100_000 + b"x\n", {"content-type": "text/csv"})
    decoded(name, b"{}", {"inference-header-content-length": "1" * 100_000})

    assert time.process_time() - started < 2.0


PREDICTIONS = {
    "floats": np.array([0.1, np.nan]),
    "singles": np.array([0.5, np.inf], dtype=np.float32),
    "halves": np.array([0.5, 1.5], dtype=np.float16),
    "integers": np.array([1, 2]),
    "bytes": np.array([1, 2], dtype=np.uint8),
    "booleans": np.array([True, False]),
    "strings": np.array(["red", "grün"]),
    "objects": np.array(["red", None], dtype=object),
    "numbers as objects": np.array([1, 2.5], dtype=object),
    "times": np.array(["2026-01-02", "NaT"], dtype="M8[ns]"),
    "probabilities": np.array([[0.1, 0.9], [0.5, 0.5]]),
    "transposed": np.array([[0.1, 0.9], [0.5, 0.5]]).T,
    "foreign byte order": np.array([0.5, 1.5], dtype=">f8"),
    "cube": np.zeros((2, 3, 2)),
    "table": {"a": np.array([1.5, np.nan]), "b": np.array(["x", None], dtype=object)},
    "table of lists": {"a": [1, 2], "b": ["x", None], "c": [True, False]},
    "list of strings": ["red", "white"],
    "list of objects": [{"label": "red", 1: np.float32(0.5)}, {"label": "white"}],
}


@pytest.mark.parametrize("prediction", PREDICTIONS.values(), ids=PREDICTIONS)
def test_writes_every_form_of_prediction(name: str, sample: Sample, prediction: Prediction) -> None:
    codec = CODECS.load(name)
    request = codec.decode(orjson.dumps(sample.document), {})

    encoded = codec.encode(answer(prediction, client_id=request.client_id), request)

    assert encoded.status == 200
    assert encoded.content_type == b"application/json"
    assert isinstance(orjson.loads(encoded.body), dict)
    # What orjson makes of a missing time.
    assert b"1677" not in encoded.body


def test_a_prediction_that_cannot_be_written_is_the_model_s_failure(
    name: str, sample: Sample
) -> None:
    codec = CODECS.load(name)
    request = codec.decode(orjson.dumps(sample.document), {})

    with pytest.raises(ProtocolError) as caught:
        codec.encode(answer([object(), object()]), request)

    assert caught.value.kind is Kind.MODEL_FAILED


@pytest.mark.parametrize("kind", Kind)
def test_errors_tell_status_and_message(name: str, kind: Kind) -> None:
    # A lone surrogate, as from a model's own error, has no UTF-8.
    encoded = CODECS.load(name).encode_error(ProtocolError(kind, 'Row 3 is "bad" \ud800.'))

    assert encoded.status == http_status(kind)
    text = encoded.body.decode()
    if encoded.content_type == b"application/json":
        text = str(orjson.loads(encoded.body))
    assert 'Row 3 is "bad" ?.' in text


def test_a_caller_s_id_is_read(name: str, sample: Sample) -> None:
    request = CODECS.load(name).decode(
        orjson.dumps(sample.document), {"content-type": "application/json", "x-request-id": "mine"}
    )

    assert request.client_id == "mine"
    assert request.client_id != REQUEST_ID


def test_a_caller_s_id_in_our_own_header(name: str, sample: Sample) -> None:
    """It goes before `X-Request-Id`, which gateways set, and after an id of the body's own."""
    ours = {"content-type": "application/json", "x-mlops-client-id": "order 7"}
    told = {**ours, "x-request-id": "set by nginx"}
    bare = {key: value for key, value in sample.document.items() if key not in {"id", "meta"}}
    decode = CODECS.load(name).decode

    assert decode(orjson.dumps(bare), told).client_id == "order 7"
    own = "mine" if bare.keys() != sample.document.keys() else "order 7"
    assert decode(orjson.dumps(sample.document), told).client_id == own
    assert decode(orjson.dumps(bare), {**ours, "x-mlops-client-id": ""}).client_id is None


def test_the_table_of_names_imports_no_codec() -> None:
    imports = "import sys, mlops.protocols, mlops.protocols.base"
    check = "assert not {'numpy', 'orjson'} & sys.modules.keys()"

    subprocess.run([sys.executable, "-c", f"{imports}; {check}"], check=True)


def test_codecs_import_no_framework() -> None:
    heavy = "{'pandas', 'mlflow', 'starlette', 'sklearn', 'scipy'}"
    load = "[CODECS.load(name) for name in CODECS]"
    imports = f"import sys; from mlops.protocols import CODECS; {load}"
    check = f"assert not {heavy} & sys.modules.keys()"

    subprocess.run([sys.executable, "-c", f"{imports}; {check}"], check=True)
