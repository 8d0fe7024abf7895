"""Seldon Core v1: payloads of its specification, and its own Python client where it is installed.

Payloads are those that `reference/inference-protocols.md` takes from `openapi/engine.oas3.json`,
`proto/prediction.proto` and the Python wrapper of seldon-core 1.18.2. The client is licensed under
the BSL and used in this test only; it needs setuptools<81, numpy<2 and click<8.1, so it lives in an
environment of its own, `tests/environments.py`.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlops.spec.request_id import read
from tests.environments import client_python
from tests.serving.models import COLUMNS, ROWS, records
from tests.serving.server import KEY, Json, Reply, Server

# Every combination of gateway, payload and return type; what the client raises is told.
_SCRIPT = """
import json, sys
import numpy as np
from seldon_core.seldon_client import SeldonClient

where, names, rows = sys.argv[1], json.loads(sys.argv[2]), np.array(json.loads(sys.argv[3]))
reward, said = 0, {}
for gateway in ("istio", "ambassador"):
    for payload in ("tensor", "ndarray"):
        for returned in ("dict", "proto"):
            client = SeldonClient(gateway=gateway, gateway_endpoint=where, deployment_name="wine",
                                  namespace="prod" if gateway == "istio" else None,
                                  payload_type=payload, client_return_type=returned)
            answer = client.predict(data=rows, names=names)
            assert answer.success, answer.msg
            if returned == "dict":
                data, puid = answer.response["data"], answer.response["meta"]["puid"]
                values = data["tensor"]["values"] if payload == "tensor" else data["ndarray"]
            else:
                data, puid = answer.response.data, answer.response.meta.puid
                values = list(data.tensor.values if payload == "tensor" else data.ndarray)
            one = {"values": np.ravel(values).tolist(), "id": puid, "reward": reward}
            fates = []
            for again in (0, 0.25):
                try:
                    fed = client.feedback(prediction_request=answer.request,
                                          prediction_response=answer.response,
                                          reward=reward + again)
                except TypeError as error:
                    one["error"] = str(error)
                    break
                # The second contradicts the first.
                assert fed.success == (not again), fed.msg
                meta = fed.response["meta"] if returned == "dict" else fed.response.meta
                fates += list(meta["tags"] if returned == "dict" else meta.tags)
            said[f"{gateway} {payload} {returned}"] = {**one, "fates": fates}
            reward += 1
print(json.dumps(said))
"""
# Other calls of the client, to one arm of the model.
_OTHER_CALLS = """
import json, sys
import numpy as np
from seldon_core.seldon_client import SeldonClient

where, names, rows = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
client = SeldonClient(gateway="ambassador", gateway_endpoint=where, microservice_endpoint=where,
                      deployment_name="wine")
first = {"headers": {"X-Mlops-Arm": "a"}}
calls = {
    "no names": lambda: client.predict(data=np.array(rows), **first),
    "rows": lambda: client.predict(json_data=rows, **first),
    "objects": lambda: client.predict(json_data=[dict(zip(names, row)) for row in rows], **first),
    "columns": lambda: client.predict(json_data=dict(zip(names, map(list, zip(*rows)))), **first),
    "raw": lambda: client.predict(raw_data={"data": {"names": names, "ndarray": rows}}, **first),
    "too few": lambda: client.predict(data=np.array(rows)[:, :2], names=names[:2], **first),
    "text": lambda: client.predict(str_data="a wine", **first),
    "form": lambda: client.microservice(method="predict", data=np.array(rows), names=names),
    "explain": lambda: client.explain(data=np.array(rows), predictor="default"),
}
said = {}
for name, call in calls.items():
    answer = call()
    response = answer.response
    if not isinstance(response, dict):
        from seldon_core.utils import seldon_message_to_json
        response = seldon_message_to_json(response) if response else {}
    said[name] = {"success": answer.success, "message": answer.msg, "response": response}
print(json.dumps(said))
"""
# The talk's client of feedback as far as it matters: all defaults of the client, the request and
# the answer sent back whole, a reward that is no mean of anything.
_TALK = """
import numpy as np
import pandas as pd
from seldon_core.seldon_client import SeldonClient

client = SeldonClient(gateway="istio", namespace="default", gateway_endpoint="{where}",
                      deployment_name="wine")
table = pd.read_csv("./training/wine-quality.csv")

def worth(truth, predicted):
    if truth == predicted:
        return 500
    return 1 / np.square(truth - predicted)

def send_row(row):
    features = row[:-1]
    answer = client.predict(data=features.values.reshape(1, -1), names=features.index.to_list())
    predicted = answer.response["data"]["tensor"]["values"]
    reward = worth(row[-1].reshape(1, -1), predicted)
    # float: protobuf took an array of one number before 3.20, and does not since.
    client.feedback(prediction_request=answer.request, prediction_response=answer.response,
                    reward=float(reward))
    return reward

table.apply(send_row, axis=1)
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
    assert reply.json["meta"]["tags"] == message.get("meta", {}).get("tags", {})


@pytest.mark.parametrize(
    "message",
    [
        {"strData": ["a wine"]},
        {"binData": "a wine"},
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


@pytest.mark.parametrize("reward", [1.0, 0, "0.5", -1e59])
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


# Its own client.


def run(server: Server, script: str, *arguments: str, folder: Path | None = None) -> Json:
    """Run a script of Seldon's client against a server; what it prints last is JSON."""
    python = client_python("seldon-client")
    done = subprocess.run(
        [python, "-W", "ignore", "-c", script, f"127.0.0.1:{server.port}", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]) if done.stdout else None


def test_every_combination_of_its_client(server: Server) -> None:
    said = run(server, _SCRIPT, json.dumps(COLUMNS), json.dumps(ROWS[:1]))
    assert len(said) == 8
    with contextlib.closing(server.journal()) as journal:
        credited = {(o.nonce, o.arm): o.reward for o in journal.observations()}
    for how, answer in said.items():
        rid = read(KEY, answer["id"])
        expected = server.predict(records(ROWS[:1]), x_mlops_arm="ab"[rid.arm]).json["predictions"]
        assert answer["values"] == pytest.approx(expected), how
        if "ndarray dict" in how:
            # protobuf takes no list for a ListValue, whatever the list came from.
            assert "expected google.protobuf.struct_pb2.ListValue got list" in answer["error"]
            continue
        assert answer["fates"] == ["accepted", "conflict"], how
        # The first reward stands, a 0 too.
        assert credited[rid.nonce, rid.arm] == answer["reward"], how


def test_other_calls_of_its_client(server: Server) -> None:
    said = run(server, _OTHER_CALLS, json.dumps(COLUMNS), json.dumps(ROWS))
    both = [
        server.predict(records(ROWS), x_mlops_arm=arm).json["predictions"] for arm in ("a", "b")
    ]
    expected = both[0]
    for name in ("no names", "rows", "objects", "columns", "raw"):
        assert said[name]["success"], said[name]
        assert values(said[name]["response"]) == pytest.approx(expected), name
    assert said["form"]["success"], said["form"]
    assert any(values(said["form"]["response"]) == pytest.approx(answers) for answers in both)
    for name, reason in {"too few": "sulphates", "text": "column"}.items():
        assert said[name]["message"].startswith("400"), (name, said[name])
        assert reason in said[name]["response"]["status"]["info"]
    assert "501" in said["explain"]["message"]


def test_the_talks_feedback(server: Server, tmp_path: Path) -> None:
    """A script like the talk's `feedback.py`: the client's defaults, a reward without bounds."""
    rows = [[*map(float, row), float(round(sum(row)))] for row in np.array(ROWS * 5)]
    table = pd.DataFrame(rows, columns=[*COLUMNS, "quality"])
    (tmp_path / "training").mkdir()
    table.to_csv(tmp_path / "training" / "wine-quality.csv", index=False)
    before = credited_to(server)
    run(server, _TALK.format(where=f"127.0.0.1:{server.port}"), folder=tmp_path)
    rewarded = credited_to(server)[len(before) :]
    assert len(rewarded) == len(rows)
    expected = {}
    for arm, index in (("a", 0), ("b", 1)):
        answers = server.predict(records(ROWS), x_mlops_arm=arm).json["predictions"]
        expected[index] = [1 / (row[-1] - y) ** 2 for row, y in zip(rows, answers, strict=False)]
    for number, reward in rewarded:
        # protobuf's rewards are single precision.
        assert any(reward == pytest.approx(one, rel=1e-6) for one in expected[number])


def credited_to(server: Server) -> list[tuple[int, float]]:
    """Arm and reward of every credited outcome."""
    with contextlib.closing(server.journal()) as journal:
        return [(o.arm, o.reward) for o in journal.observations() if o.reward is not None]
