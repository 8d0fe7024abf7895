"""Public gRPC clients with their defaults: Triton's, KServe's, and one that protoc made."""

from __future__ import annotations

import json
import queue
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

import mlops
from tests.clients.conftest import mixed_answers
from tests.environments import client_python
from tests.serving.models import COLUMNS, ROWS, records
from tests.serving.server import Json, Server

triton = pytest.importorskip("tritonclient.grpc")
utils = pytest.importorskip("tritonclient.utils")
# tritonclient is untyped.
Client: TypeAlias = Any
ARRAY = np.array(ROWS, dtype=np.float64)
PROTOS = Path(mlops.__file__).parent / "protocols" / "protobuf"


def address(server: Server) -> str:
    return f"127.0.0.1:{server.launch.grpc_port}"


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    client = triton.InferenceServerClient(address(server))
    yield client
    client.close()


def tensor(name: str, values: np.ndarray[Any, Any], datatype: str = "FP64") -> Any:
    made = triton.InferInput(name, list(values.shape), datatype)
    made.set_data_from_numpy(values)
    return made


def columns() -> list[Any]:
    return [tensor(name, ARRAY[:, [at]]) for at, name in enumerate(COLUMNS)]


def expected(server: Server, arm: str) -> Any:
    return server.predict(records(ROWS), x_mlops_arm=arm).json["predictions"]


# Triton.


def test_health_and_metadata(client: Client) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("wine")
    assert client.is_model_ready("wine", "a")
    assert client.get_server_metadata().name == "mlops"
    metadata = client.get_model_metadata("wine", as_json=True)
    assert [item["name"] for item in metadata["inputs"]] == list(COLUMNS)
    for call in (client.is_model_ready, client.get_model_metadata):
        with pytest.raises(utils.InferenceServerException, match="Model beer not found") as caught:
            call("beer")
        assert caught.value.status() == "StatusCode.NOT_FOUND"


@pytest.mark.parametrize("arm", ["a", "b"])
@pytest.mark.parametrize("inputs", [columns, lambda: [tensor("input-0", ARRAY)]])
def test_an_answer(server: Server, client: Client, arm: str, inputs: Any) -> None:
    result = client.infer(
        "wine", inputs(), request_id="mine", headers={"x-mlops-arm": arm}, client_timeout=20
    )
    response = result.get_response()
    assert (response.id, response.parameters["mlops_arm"].string_param) == ("mine", arm)
    answers = result.as_numpy(response.outputs[0].name)
    assert answers.shape == (len(ROWS), 1)
    assert answers.ravel().tolist() == pytest.approx(expected(server, arm), rel=1e-12)


def test_a_version_and_a_named_output(server: Server, client: Client) -> None:
    name = client.get_model_metadata("wine").outputs[0].name
    result = client.infer(
        "wine",
        columns(),
        model_version="b",
        outputs=[triton.InferRequestedOutput(name)],
        compression_algorithm="gzip",
    )
    assert result.as_numpy(name).ravel().tolist() == pytest.approx(expected(server, "b"))


@pytest.mark.parametrize("datatype", ["FP64", "FP32", "FP16"])
def test_a_tensor_of_floats_fits_whole_numbers(mixed: Server, datatype: str) -> None:
    whole = [[0.5, 1.5, 2.0], [7.0, 0.25, 40.0]]
    rows = np.array(whole, dtype=utils.triton_to_np_dtype(datatype))
    with triton.InferenceServerClient(address(mixed)) as client:
        result = client.infer("wine", [tensor("x", rows, datatype)], model_version="first")
        name = result.get_response().outputs[0].name
        answers = result.as_numpy(name).ravel().tolist()
        assert answers == pytest.approx(mixed_answers("first", whole))
        with pytest.raises(utils.InferenceServerException, match="`c`") as caught:
            client.infer("wine", [tensor("x", rows + rows.dtype.type(0.5), datatype)])
        assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"


def test_requests_without_waiting(client: Client) -> None:
    answered: queue.Queue[tuple[Any, Any]] = queue.Queue()
    for _ in range(8):
        client.async_infer("wine", columns(), lambda result, error: answered.put((result, error)))
    told = [answered.get(timeout=60) for _ in range(8)]
    assert not any(error for _, error in told)
    assert len({result.get_response().id for result, _ in told}) == 8


def test_what_triton_alone_has_is_not_served(client: Client) -> None:
    for call in (client.get_model_config, client.get_inference_statistics, client.load_model):
        with pytest.raises(utils.InferenceServerException) as caught:
            call("wine")
        assert caught.value.status() == "StatusCode.UNIMPLEMENTED"


# KServe.

_KSERVE = """
import asyncio, json, sys
import numpy as np
from kserve import InferInput, InferRequest
from kserve.inference_client import InferenceGRPCClient

async def main(url, rows):
    client = InferenceGRPCClient(url)
    said = {
        "live": await client.is_server_live(),
        "ready": [await client.is_server_ready(), await client.is_model_ready("wine")],
    }
    for way in ("typed", "raw"):
        tensor = InferInput(name="x", shape=[len(rows), 3], datatype="FP64")
        tensor.set_data_from_numpy(np.array(rows), binary_data=way == "raw")
        request = InferRequest(model_name="wine", infer_inputs=[tensor])
        answer = await client.infer(request, headers=[("x-mlops-arm", "a")])
        said[way] = answer.outputs[0].as_numpy().ravel().tolist()
        said[way + " id"] = answer.parameters["mlops_request_id"].string_param
    await client.close()
    print(json.dumps(said))

asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))
"""


def run(python: Path, script: str, *arguments: str, cwd: Path | None = None) -> Json:
    """Run a script; what it prints last is JSON."""
    done = subprocess.run(
        [python, "-W", "ignore", "-c", script, *arguments],
        capture_output=True,
        text=True,
        timeout=180,
        cwd=cwd,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_kserve(server: Server) -> None:
    said = run(client_python("kserve-client"), _KSERVE, address(server), json.dumps(ROWS))
    assert said["live"] is True
    assert said["ready"] == [True, True]
    for way in ("typed", "raw"):
        assert said[way] == pytest.approx(expected(server, "a"), rel=1e-12)
        feedback = {"request_id": said[f"{way} id"], "reward": 1}
        assert server.post("/feedback", feedback).json["counts"] == {"accepted": 1}


# What protoc makes of the files that we ship.

_STUBS = """
import json, sys
import grpc
import feedback_pb2, feedback_pb2_grpc, open_inference_pb2 as pb, open_inference_pb2_grpc as stubs

with grpc.insecure_channel(sys.argv[1]) as channel:
    request = pb.ModelInferRequest(model_name="wine")
    tensor = request.inputs.add(name="x", datatype="FP64", shape=[1, 3])
    tensor.contents.fp64_contents.extend([1, 2, 3])
    answer = stubs.GRPCInferenceServiceStub(channel).ModelInfer(request)
    request_id = answer.parameters["mlops_request_id"].string_param
    outcome = feedback_pb2.Outcome(request_id=request_id, row=0, number=6, reward=-1)
    told = feedback_pb2_grpc.FeedbackStub(channel).Send(
        feedback_pb2.FeedbackRequest(outcomes=[outcome])
    )
    print(json.dumps({"arm": answer.model_version, "credited": told.arm, **told.counts}))
"""


def test_generated_stubs_and_the_set_that_we_ship(server: Server, tmp_path: Path) -> None:
    python = client_python("protoc")
    protos = sorted(path.name for path in PROTOS.glob("*.proto"))
    command = [str(python), "-m", "grpc_tools.protoc", f"-I{PROTOS}"]
    described = tmp_path / "descriptors.binpb"
    options = ["--include_imports", f"--descriptor_set_out={described}"]
    subprocess.run([*command, *options, *protos], check=True, timeout=60)
    assert described.read_bytes() == (PROTOS / "descriptors.binpb").read_bytes()
    options = [f"--python_out={tmp_path}", f"--grpc_python_out={tmp_path}"]
    subprocess.run([*command, *options, *protos], check=True, timeout=60)
    said = run(python, _STUBS, address(server), cwd=tmp_path)
    assert said["credited"] == said["arm"]
    assert said["accepted"] == 1


def test_messages_work_with_the_oldest_runtime() -> None:
    script = (
        "import json, sys, importlib.util, google.protobuf\n"
        "spec = importlib.util.spec_from_file_location('protobuf_messages', sys.argv[1],\n"
        "    submodule_search_locations=[])\n"
        "made = importlib.util.module_from_spec(spec)\n"
        "sys.modules['protobuf_messages'] = made\n"
        "spec.loader.exec_module(made)\n"
        "message = made.message_class('inference.ModelInferRequest')(model_name='wine')\n"
        "message.parameters['k'].int64_param = 1\n"
        "message.inputs.add(name='x', shape=[1]).contents.fp64_contents.extend([1.5])\n"
        "same = type(message).FromString(message.SerializeToString()) == message\n"
        "print(json.dumps([google.protobuf.__version__, same]))\n"
    )
    said = run(client_python("old-protobuf"), script, str(PROTOS / "__init__.py"))
    assert said == ["4.25.0", True]
