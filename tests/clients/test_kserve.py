"""KServe: the requests of its client, and the client itself where it is installed.

Requests are those of `InferenceRESTClient` in `kserve/inference_client.py` of KServe 0.20.0; rows
as in the examples of its V1 documentation, once as lists and once as objects.
"""

from __future__ import annotations

import json
import subprocess

import orjson
import pytest
import requests

from tests.clients.conftest import mixed_answers
from tests.environments import client_python
from tests.serving.models import ROWS, records
from tests.serving.server import Json, Server

_SCRIPT = """
import asyncio, json, sys
from kserve import InferInput, InferRequest, InferenceRESTClient, RESTConfig

async def main(url, rows):
    v1 = InferenceRESTClient(RESTConfig(protocol="v1"))
    v2 = InferenceRESTClient(RESTConfig(protocol="v2"))
    tensor = InferInput(name="x", shape=[len(rows), 3], datatype="FP64", data=rows)
    headers = {"X-Mlops-Arm": "a"}
    v1_answer = await v1.infer(url, {"instances": rows}, model_name="wine", headers=headers)
    request = InferRequest(model_name="wine", infer_inputs=[tensor])
    v2_answer = await v2.infer(url, request, model_name="wine", headers=headers)
    print(json.dumps({
        "v1": v1_answer["predictions"],
        "v2": v2_answer.outputs[0].as_numpy().ravel().tolist(),
        "live": [await v1.is_server_live(url), await v2.is_server_live(url)],
        "ready": [
            await v1.is_model_ready(url, "wine"),
            await v2.is_model_ready(url, "wine"),
            await v2.is_server_ready(url),
        ],
    }))

asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))
"""


def url(server: Server) -> str:
    return f"http://127.0.0.1:{server.port}"


def infer(server: Server, document: Json, arm: str = "a") -> requests.Response:
    return requests.post(
        f"{url(server)}/v1/models/wine:predict",
        data=orjson.dumps(document),
        headers={"content-type": "application/json", "X-Mlops-Arm": arm},
        timeout=60,
    )


@pytest.mark.parametrize("rows", [ROWS, records(ROWS)], ids=["lists", "objects"])
@pytest.mark.parametrize("key", ["instances", "inputs"])
def test_a_v1_request_is_answered(server: Server, key: str, rows: Json) -> None:
    answer = infer(server, {key: rows})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    mlflow = server.predict(records(ROWS), x_mlops_arm="a").json
    assert answer.json() == mlflow


def test_faults_have_one_message(server: Server) -> None:
    documents: list[Json] = [{"instances": [[1.0]]}, {"rows": ROWS}, {"instances": []}]
    for document in documents:
        answer = infer(server, document)
        assert answer.status_code == 400
        assert list(answer.json()) == ["error"]


def test_health(server: Server) -> None:
    alive = requests.get(f"{url(server)}/", timeout=60, allow_redirects=False)
    assert (alive.status_code, alive.json()) == (200, {"status": "alive"})
    browser = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    page = requests.get(f"{url(server)}/", headers=browser, timeout=60, allow_redirects=False)
    assert (page.status_code, page.headers["location"]) == (307, "docs")
    ready = requests.get(f"{url(server)}/v1/models/wine", timeout=60)
    assert ready.json() == {"name": "wine", "ready": True}
    assert requests.get(f"{url(server)}/v1/models", timeout=60).json() == {"models": ["wine"]}


_WHOLE = """
import asyncio, json, sys
import numpy as np
from kserve import InferInput, InferRequest, InferenceRESTClient, RESTConfig

async def main(url, rows):
    v1 = InferenceRESTClient(RESTConfig(protocol="v1"))
    v2 = InferenceRESTClient(RESTConfig(protocol="v2"))
    headers = {"X-Mlops-Arm": "first"}
    answer = await v1.infer(url, {"instances": rows}, model_name="wine", headers=headers)
    said = {"v1": answer["predictions"]}
    for datatype, kind in (("FP32", np.float32), ("FP64", np.float64)):
        tensor = InferInput(name="x", shape=[len(rows), 3], datatype=datatype)
        tensor.set_data_from_numpy(np.array(rows, dtype=kind), binary_data=False)
        request = InferRequest(model_name="wine", infer_inputs=[tensor])
        answer = await v2.infer(url, request, model_name="wine", headers=headers)
        said[datatype] = answer.outputs[0].as_numpy().ravel().tolist()
    print(json.dumps(said))

asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))
"""


def run(script: str, server: Server, rows: Json) -> Json:
    """Run a script of KServe's client against a server; what it prints last is JSON."""
    python = client_python("kserve-client")
    done = subprocess.run(
        [python, "-W", "ignore", "-c", script, url(server), json.dumps(rows)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_floats_fit_whole_numbers(mixed: Server) -> None:
    rows = [[0.5, 1.5, 2.0], [7.0, 0.25, 40.0]]
    for answers in run(_WHOLE, mixed, rows).values():
        assert answers == pytest.approx(mixed_answers("first", rows))


def test_its_own_client(server: Server) -> None:
    said = run(_SCRIPT, server, ROWS)
    expected = server.predict(records(ROWS), x_mlops_arm="a").json["predictions"]
    assert said["v1"] == pytest.approx(expected)
    assert said["v2"] == pytest.approx(expected)
    assert said["live"] == [True, True]
    assert said["ready"] == [True, True, True]
