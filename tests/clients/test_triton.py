"""Triton's HTTP client with its defaults, which are binary tensors both ways."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
import pytest

from tests.clients.conftest import mixed_answers
from tests.serving.models import COLUMNS, ROWS, records
from tests.serving.server import Server

http = pytest.importorskip("tritonclient.http")
utils = pytest.importorskip("tritonclient.utils")
# tritonclient is untyped.
Client: TypeAlias = Any
ARRAY = np.array(ROWS, dtype=np.float64)


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    client = http.InferenceServerClient(f"127.0.0.1:{server.port}")
    yield client
    client.close()


def tensor(name: str, values: np.ndarray[Any, Any], **how: bool) -> Any:
    made = http.InferInput(name, list(values.shape), "FP64")
    made.set_data_from_numpy(values, **how)
    return made


def columns(**how: bool) -> list[Any]:
    return [tensor(name, ARRAY[:, [at]], **how) for at, name in enumerate(COLUMNS)]


def expected(server: Server, arm: str) -> Any:
    return server.predict(records(ROWS), x_mlops_arm=arm).json["predictions"]


def test_health_and_metadata(client: Client) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("wine")
    assert client.is_model_ready("wine", "a")
    assert not client.is_model_ready("wine", "1")
    assert not client.is_model_ready("beer")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    metadata = client.get_model_metadata("wine")
    assert [item["name"] for item in metadata["inputs"]] == list(COLUMNS)
    assert {item["datatype"] for item in metadata["inputs"]} == {"FP64"}


@pytest.mark.parametrize("arm", ["a", "b"])
def test_an_array_with_defaults(server: Server, client: Client, arm: str) -> None:
    result = client.infer("wine", [tensor("input-0", ARRAY)], headers={"X-Mlops-Arm": arm})
    document = result.get_response()
    assert document["parameters"]["mlops_arm"] == arm
    name = document["outputs"][0]["name"]
    assert "binary_data_size" in document["outputs"][0]["parameters"]
    answer = result.as_numpy(name)
    assert answer.shape == (len(ROWS), 1)
    assert answer.ravel().tolist() == pytest.approx(expected(server, arm), rel=1e-12)


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_columns_and_a_named_output(
    server: Server, client: Client, binary_in: bool, binary_out: bool
) -> None:
    name = client.get_model_metadata("wine")["outputs"][0]["name"]
    result = client.infer(
        "wine",
        columns(binary_data=binary_in),
        model_version="a",
        outputs=[http.InferRequestedOutput(name, binary_data=binary_out)],
        request_id="mine",
    )
    assert result.get_response()["id"] == "mine"
    assert ("data" in result.get_output(name)) is not binary_out
    assert result.as_numpy(name).ravel().tolist() == pytest.approx(expected(server, "a"), rel=1e-12)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_packed_request(server: Server, client: Client, coding: str) -> None:
    result = client.infer(
        "wine",
        columns(),
        headers={"X-Mlops-Arm": "a"},
        request_compression_algorithm=coding,
        response_compression_algorithm=coding,
    )
    name = result.get_response()["outputs"][0]["name"]
    assert result.as_numpy(name).ravel().tolist() == pytest.approx(expected(server, "a"), rel=1e-12)


def test_requests_without_waiting(client: Client) -> None:
    pending = [client.async_infer("wine", columns()) for _ in range(8)]
    ids = {one.get_result().get_response()["id"] for one in pending}
    assert len(ids) == 8


def test_the_id_of_the_answer_takes_feedback(server: Server, client: Client) -> None:
    document = client.infer("wine", columns()).get_response()
    assert server.post("/feedback", {"request_id": document["id"], "reward": 1}).json["counts"] == {
        "accepted": 1
    }


def test_what_triton_alone_has(client: Client) -> None:
    assert client.get_model_repository_index() == [
        {"name": "wine", "version": version, "state": "READY", "reason": ""} for version in "ab"
    ]
    config = client.get_model_config("wine")
    assert config == client.get_model_config("wine", "b")
    assert [(item["name"], item["data_type"]) for item in config["input"]] == [
        (name, "TYPE_FP64") for name in COLUMNS
    ]
    calls = (
        client.get_inference_statistics,
        client.get_trace_settings,
        client.get_log_settings,
        client.get_system_shared_memory_status,
        lambda: client.load_model("wine"),
        lambda: client.get_model_metadata("wine", "1"),
        lambda: client.get_model_config("beer"),
    )
    for call in calls:
        with pytest.raises(
            utils.InferenceServerException, match=r"There is no|not found"
        ) as caught:
            call()
        assert caught.value.status() == "404"


def test_errors_are_told(client: Client) -> None:
    with pytest.raises(utils.InferenceServerException, match="alcohol"):
        client.infer("wine", columns()[:1])
    with pytest.raises(utils.InferenceServerException, match="beer"):
        client.infer("beer", columns())


# Floats to a column of whole numbers.

WHOLE = [[0.5, 1.5, 2.0], [7.0, 0.25, 40.0]]


@pytest.mark.parametrize("datatype", ["FP64", "FP32", "FP16"])
@pytest.mark.parametrize("binary", [True, False])
def test_a_tensor_of_floats_fits_whole_numbers(mixed: Server, datatype: str, binary: bool) -> None:
    if datatype == "FP16" and not binary:
        pytest.skip("FP16 has no JSON form")
    rows = np.array(WHOLE, dtype=utils.triton_to_np_dtype(datatype))
    tensor = http.InferInput("x", list(rows.shape), datatype)
    tensor.set_data_from_numpy(rows, binary_data=binary)
    with http.InferenceServerClient(f"127.0.0.1:{mixed.port}") as client:
        result = client.infer("wine", [tensor], model_version="first")
        answers = result.as_numpy(result.get_response()["outputs"][0]["name"]).ravel().tolist()
        assert answers == pytest.approx(mixed_answers("first", WHOLE))
        tensor.set_data_from_numpy(rows + rows.dtype.type(0.5), binary_data=binary)
        with pytest.raises(utils.InferenceServerException, match="`c`") as caught:
            client.infer("wine", [tensor])
        assert caught.value.status() == "400"


def test_booleans_are_numbers(mixed: Server) -> None:
    rows = np.array([[True, False, True]])
    tensor = http.InferInput("x", [1, 3], "BOOL")
    tensor.set_data_from_numpy(rows)
    with http.InferenceServerClient(f"127.0.0.1:{mixed.port}") as client:
        result = client.infer("wine", [tensor], model_version="first")
    answers = result.as_numpy(result.get_response()["outputs"][0]["name"]).ravel().tolist()
    assert answers == pytest.approx(mixed_answers("first", rows.astype(float).tolist()))
