"""Seldon Core v1: payloads of its specification, and its own Python client where it is installed.

Payloads are those that `reference/inference-protocols.md` takes from `openapi/engine.oas3.json`,
`proto/prediction.proto` and the Python wrapper of seldon-core 1.18.2. The client is licensed under
the BSL and used in this test only; it needs setuptools<81, numpy<2 and click<8.1, so it lives in an
environment of its own.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
from pathlib import Path

import pytest

from mlops.spec.request_id import read
from tests.requirements import require
from tests.serving.models import COLUMNS, ROWS, records
from tests.serving.server import KEY, Json, Reply, Server

_CACHED = Path.home() / ".cache" / "mlops-tests" / "seldon-client" / "bin" / "python"
_SCRIPT = """
import json, sys
import numpy as np
from seldon_core.seldon_client import SeldonClient

where, rows, names = sys.argv[1], np.array(json.loads(sys.argv[2])), json.loads(sys.argv[3])
said = {}
for namespace in (None, "prod"):
    for payload in ("ndarray", "tensor"):
        client = SeldonClient(gateway="ambassador", gateway_endpoint=where, deployment_name="wine",
                              namespace=namespace, payload_type=payload, client_return_type="proto")
        answer = client.predict(data=rows, names=names, headers={"X-Mlops-Arm": "a"})
        drawn = client.predict(data=rows[:1], names=names)
        assert answer.success and drawn.success, (answer.msg, drawn.msg)
        fed = [
            client.feedback(prediction_request=drawn.request, prediction_response=drawn.response,
                            reward=reward)
            for reward in (0, 1)
        ]
        assert all(one.success for one in fed), [one.msg for one in fed]
        data = answer.response.data
        values = [row[0] if hasattr(row, "values") else row for row in data.ndarray] \\
            if payload == "ndarray" else list(data.tensor.values)
        said[f"{namespace} {payload}"] = {
            "values": values,
            "id": drawn.response.meta.tags["mlops_request_id"].string_value,
            "tags": [list(one.response.meta.tags) for one in fed],
        }
bad = SeldonClient(gateway_endpoint=where, deployment_name="wine").predict(data=rows[:, :1])
said["bad"] = [bad.success, bad.msg]
print(json.dumps(said))
"""
_NUMBERS = itertools.count()
PREDICTIONS = "/api/v1.0/predictions"
FEEDBACK = "/api/v1.0/feedback"


def flat(rows: list[list[float]]) -> list[float]:
    return [cell for row in rows for cell in row]


MESSAGES = {
    "ndarray": {"data": {"ndarray": ROWS}},
    "ndarray with names": {"data": {"names": COLUMNS, "ndarray": ROWS}},
    "tensor": {"data": {"names": COLUMNS, "tensor": {"shape": [4, 3], "values": flat(ROWS)}}},
    "tensor in strings": {
        "data": {"tensor": {"shape": [4, 3], "values": [str(cell) for cell in flat(ROWS)]}}
    },
    "whole meta": {
        "status": {"code": 0, "info": "", "reason": "", "status": "SUCCESS"},
        "meta": {
            "puid": "",
            "tags": {"user": "7", "weight": 1.5, "list": [1, "a"]},
            "routing": {"router": 1},
            "requestPath": {"classifier": "reg/img:1"},
            "metrics": [{"key": "m", "type": "COUNTER", "value": 1.0, "tags": {}}],
        },
        "data": {"names": [], "ndarray": ROWS},
    },
    "jsonData": {"jsonData": records(ROWS)},
}


def values(document: Json) -> list[float]:
    data = document["data"]
    return list(data["ndarray"] if "ndarray" in data else data["tensor"]["values"])


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES.keys())
@pytest.mark.parametrize("version", ["v1.0", "v0.1"])
def test_its_messages_are_answered(server: Server, message: Json, version: str) -> None:
    reply = server.post(f"/api/{version}/predictions", message, x_mlops_arm="a")
    assert reply.status == 200, reply.body
    expected = server.predict(records(ROWS), x_mlops_arm="a").json["predictions"]
    assert values(reply.json) == pytest.approx(expected)
    assert reply.headers["seldon-puid"] == reply.json["meta"]["puid"]
    assert message.get("meta", {}).get("tags", {}).items() <= reply.json["meta"]["tags"].items()


@pytest.mark.parametrize(
    "message",
    [
        {"strData": "a wine"},
        {"binData": "eA=="},
        {"customData": {"@type": "type.googleapis.com/x", "value": ""}},
        {"data": {"tftensor": {"dtype": "DT_DOUBLE"}}},
        {"data": {"ndarray": ROWS, "tensor": {"shape": [1], "values": [1]}}},
        {"data": {"ndarray": ROWS}, "jsonData": 1},
        {"wrong": 1},
        [1],
    ],
)
def test_what_holds_no_rows_is_refused_in_its_words(server: Server, message: Json) -> None:
    reply = server.post(PREDICTIONS, message)
    assert reply.status == 400
    status = reply.json["status"]
    assert (status["code"], status["reason"]) == (-1, "MICROSERVICE_BAD_DATA")


# Feedback.


def predicted(server: Server, **meta: Json) -> tuple[Json, Reply]:
    message = {"meta": meta, "data": {"names": COLUMNS, "ndarray": ROWS[:1]}}
    reply = server.post(PREDICTIONS, message)
    server.journal().close()
    return message, reply


def taken(server: Server, feedback: Json) -> Json:
    reply = server.post(FEEDBACK, feedback)
    assert reply.status == 200, reply.body
    assert reply.json["data"] == {"ndarray": []}
    return reply.json["meta"]["tags"]


@pytest.mark.parametrize("reward", [1.0, 0, "0.5", -1e300])
def test_the_whole_answer_is_sent_back(server: Server, reward: Json) -> None:
    request, reply = predicted(server)
    feedback = {"request": request, "response": reply.json, "reward": reward}
    assert taken(server, feedback) == {"accepted": 1}
    assert taken(server, feedback) == {"duplicate": 1}
    rid = read(KEY, reply.request_id)
    with contextlib.closing(server.journal()) as journal:
        stored = [o for o in journal.observations() if o.nonce == rid.nonce]
    assert [(("a", "b")[o.arm], o.reward) for o in stored] == [(reply.arm, float(reward))]


def test_only_the_routing_and_the_id_are_sent_back(server: Server) -> None:
    _, reply = predicted(server)
    meta = {"puid": reply.json["meta"]["puid"], "routing": reply.json["meta"]["routing"]}
    feedback = {"response": {"meta": meta}, "reward": 1, "truth": {"data": {"ndarray": [[5.0]]}}}
    assert taken(server, feedback) == {"accepted": 1}


def test_a_puid_of_the_clients_own_is_enough(server: Server) -> None:
    puid = f"seldon-{next(_NUMBERS)}"
    request, _ = predicted(server, puid=puid)
    assert taken(server, {"request": request, "response": {}, "reward": 1}) == {"accepted": 1}


def test_its_own_client(server: Server) -> None:
    python = Path(os.environ.get("MLOPS_SELDON_PYTHON", str(_CACHED)))
    reason = f"no Python with `seldon-core` at {python}; name one in MLOPS_SELDON_PYTHON"
    require("seldon-client", python.exists(), reason)
    where = f"127.0.0.1:{server.port}"
    done = subprocess.run(
        [python, "-W", "ignore", "-c", _SCRIPT, where, json.dumps(ROWS), json.dumps(COLUMNS)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    success, message = said.pop("bad")
    assert not success
    assert message.startswith("400")
    expected = server.predict(records(ROWS), x_mlops_arm="a").json["predictions"]
    assert set(said) == {"None ndarray", "None tensor", "prod ndarray", "prod tensor"}
    for answer in said.values():
        assert answer["values"] == pytest.approx(expected)
        assert len(answer["id"]) == 48
        # The first reward, 0, counts; the second comes too late.
        assert answer["tags"] == [["accepted"], ["duplicate"]]
