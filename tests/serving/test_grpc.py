"""gRPC beside HTTP: one data plane, so one set of rules, answers and one journal."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import mlflow.pyfunc
import numpy as np
import pytest

from mlops.journal.exporting import JoinedRow
from mlops.protocols.protobuf import Message, message_class
from mlops.serving.grpc_server import PROTOCOL
from mlops.serving.request_bodies import MAX_BODY, SMALL_BODY
from mlops.spec.request_id import read
from tests.protocols.grpc_messages import (
    FIELDS,
    REQUEST,
    elements,
    message_of,
    parameters,
)
from tests.serving.grpc_client import FEEDBACK, GrpcClient
from tests.serving.models import COLUMNS, ROWS, records
from tests.serving.server import (
    KEY,
    Json,
    Server,
    make_launch,
    reweighted,
    running,
    served,
)
from tests.serving.test_runners import SLEEPER
from tests.waiting import wait_until

V2 = "/v2/models/wine/infer"
TOKEN = "a-token-of-32-letters-or-so"
TABLE: Json = {
    "inputs": [
        {
            "name": name,
            "datatype": "FP64",
            "shape": [len(ROWS), 1],
            "data": [row[at] for row in ROWS],
        }
        for at, name in enumerate(COLUMNS)
    ]
}


def decisions(server: Server) -> dict[bytes, JoinedRow]:
    """The first row of each decision in the journal, by its identity."""
    return {row.nonce: row for row in server.journal().joined_rows() if row.row == 0}


def refusals(server: Server) -> float:
    return server.metrics().get(("mlops_refused_requests_total", (("protocol", PROTOCOL),)), 0)


def array(datatype: str, data: list[Any]) -> Json:
    return {
        "inputs": [{"name": "x", "datatype": datatype, "shape": [len(data) // 3, 3], "data": data}]
    }


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[GrpcClient]:
    client = GrpcClient(server.launch.grpc_port)
    yield client
    client.close()


def over_http(server: Server, document: Json, arm: str) -> Json:
    return server.post(V2, document, x_mlops_arm=arm)


def test_health_and_metadata_are_those_of_http(server: Server, client: GrpcClient) -> None:
    assert client.call("ServerLive").message.live
    assert client.call("ServerReady").message.ready
    ready, about = (
        message_class("inference.ModelReadyRequest"),
        message_class("inference.ModelMetadataRequest"),
    )
    assert client.call("ModelReady", ready(name="wine")).message.ready
    assert client.call("ModelReady", ready(name="wine", version="b")).message.ready
    assert client.call("ServerMetadata").message.name == server.get("/v2").json["name"]
    theirs = server.get("/v2/models/wine").json
    ours = client.call("ModelMetadata", about(name="wine")).message
    for key in ("name", "platform"):
        assert getattr(ours, key) == theirs[key]
    assert list(ours.versions) == theirs["versions"]
    for key in ("inputs", "outputs"):
        found = [
            {"name": each.name, "datatype": each.datatype, "shape": list(each.shape)}
            for each in getattr(ours, key)
        ]
        assert found == theirs[key]
    for name, request in (("ModelReady", ready), ("ModelMetadata", about)):
        unknown = client.call(name, request(name="beer"))
        assert (unknown.code, unknown.details) == ("NOT_FOUND", "Model beer not found")
        unknown = client.call(name, request(name="wine", version="1"))
        assert unknown.code == "NOT_FOUND"
        assert unknown.details == server.get("/v2/models/wine/versions/1").json["error"]


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("arm", ["a", "b"])
def test_the_answer_is_that_of_http(
    server: Server, client: GrpcClient, arm: str, raw: bool
) -> None:
    theirs = over_http(server, {**TABLE, "id": "mine"}, arm).json
    reply = client.infer(message_of({**TABLE, "id": "mine"}, raw=raw), x_mlops_arm=arm)
    ours = reply.message
    assert (ours.model_name, ours.model_version, ours.id) == ("wine", arm, "mine")
    said = parameters(ours.parameters)
    assert {**said, "mlops_request_id": ""} == {**theirs["parameters"], "mlops_request_id": ""}
    assert reply.trailing == {
        "x-mlops-request-id": said["mlops_request_id"],
        "x-mlops-arm": arm,
        "x-mlops-revision": "1",
    }
    assert elements(ours) == {
        output["name"]: (output["datatype"], output["shape"], output["data"])
        for output in theirs["outputs"]
    }
    # A version is an arm, as in a path.
    assert client.infer(message_of(TABLE, raw=raw, version=arm)).arm == arm


@pytest.mark.parametrize("datatype", sorted({*FIELDS, "FP16"}))
def test_every_datatype(server: Server, client: GrpcClient, datatype: str) -> None:
    data = ["1", "2", "3"] if datatype == "BYTES" else [1, 0, 1]
    document = array(datatype, data)
    ways = [True] if datatype == "FP16" else [False, True]
    answers = [client.infer(message_of(document, raw=raw), x_mlops_arm="a") for raw in ways]
    theirs = over_http(server, array("FP32", data) if datatype == "FP16" else document, "a")
    if theirs.status != 200:
        assert {reply.code for reply in answers} == {"INVALID_ARGUMENT"}
        assert {reply.details for reply in answers} == {theirs.json["error"]}
        assert datatype == "BYTES"
        return
    for reply in answers:
        [output] = theirs.json["outputs"]
        assert elements(reply.message)[output["name"]][2] == pytest.approx(output["data"])


def test_outputs_by_name(client: GrpcClient) -> None:
    name = client.infer(message_of(TABLE, raw=True)).message.outputs[0].name
    for wanted in (name, "predict"):
        reply = client.infer(message_of({**TABLE, "outputs": [{"name": wanted}]}, raw=True))
        assert [output.name for output in reply.message.outputs] == [wanted]
    reply = client.infer(message_of({**TABLE, "outputs": [{"name": "x"}]}, raw=True))
    assert reply.code == "INVALID_ARGUMENT"
    assert "There is no output 'x'" in reply.details
    assert reply.arm in "ab"


FAULTS: list[tuple[Json, str, str]] = [
    ({"inputs": TABLE["inputs"][:1]}, "", ""),
    ({"inputs": [{**TABLE["inputs"][0], "name": "x"}, *TABLE["inputs"][1:]]}, "", ""),
    ({"inputs": [{**TABLE["inputs"][0], "shape": [3, 1]}, *TABLE["inputs"][1:]]}, "", ""),
    ({"inputs": [{**TABLE["inputs"][0], "datatype": "FP8"}]}, "", ""),
    ({**TABLE, "id": "x" * 300}, "", ""),
    (TABLE, "", "no such arm"),
]


@pytest.mark.parametrize(("document", "version", "arm"), FAULTS)
def test_faults_are_those_of_http(
    server: Server, client: GrpcClient, document: Json, version: str, arm: str
) -> None:
    theirs = server.post(V2, document, **({"x_mlops_arm": arm} if arm else {}))
    message = message_of({"inputs": []}, raw=False)
    if document["inputs"][0]["datatype"] == "FP8":
        message.inputs.add(name=COLUMNS[0], datatype="FP8", shape=[4, 1])
    else:
        message = message_of(document, raw=False)
    reply = client.infer(message, **({"x_mlops_arm": arm} if arm else {}))
    assert (theirs.status, reply.code) == (400, "INVALID_ARGUMENT")
    assert reply.details == theirs.json["error"]


def test_unknown_names_and_bytes_that_are_no_message(client: GrpcClient, server: Server) -> None:
    refused = server.metrics()[
        ("mlops_refused_requests_total", (("protocol", "open-inference-grpc"),))
    ]
    assert client.infer(message_of(TABLE, raw=True, model="beer")).code == "NOT_FOUND"
    assert client.infer(message_of(TABLE, raw=True, version="1")).code == "NOT_FOUND"
    assert client.infer(b"\xff\xff\xff").code == "INVALID_ARGUMENT"
    assert client.call("ModelReady", b"\xff").code == "INVALID_ARGUMENT"
    after = server.metrics()[
        ("mlops_refused_requests_total", (("protocol", "open-inference-grpc"),))
    ]
    assert after == refused + 4
    # The only model may go unnamed, as in HTTP's path.
    assert client.infer(message_of(TABLE, raw=True, model="")).code == "OK"


@pytest.mark.parametrize("packed", [False, True])
def test_a_message_has_the_limit_of_a_body(server: Server, packed: bool) -> None:
    client = GrpcClient(
        server.launch.grpc_port,
        compression=grpc.Compression.Gzip if packed else grpc.Compression.NoCompression,
    )
    rows = 5_000
    document = array("FP64", [1.0, 2.0, 3.0] * rows)
    fits = message_of(document, raw=True)
    assert SMALL_BODY < fits.ByteSize() < MAX_BODY
    reply = client.infer(fits, x_mlops_arm="a")
    [(datatype, shape, data)] = elements(reply.message).values()
    assert (datatype, shape) == ("FP64", [rows, 1])
    assert set(np.round(data, 9)) == {14.0}
    # Packed, these are 16 kB, and unpacked more than a message may have.
    reply = client.infer(REQUEST(raw_input_contents=[bytes(MAX_BODY)]))
    assert reply.code == "RESOURCE_EXHAUSTED"
    client.close()


def test_a_retry_and_a_unit_of_metadata(client: GrpcClient) -> None:
    message = message_of(TABLE, raw=True)
    ids = {client.infer(message, idempotency_key="k-1").arm for _ in range(8)}
    assert len(ids) == 1
    nonces = {
        read(KEY, client.infer(message, idempotency_key="k-2").request_id).nonce for _ in range(3)
    }
    assert len(nonces) == 1


def test_a_thousand_requests_of_both_transports_are_one_experiment(
    server: Server, client: GrpcClient
) -> None:
    before = set(decisions(server))
    message = message_of(TABLE, raw=True)
    arms: dict[bytes, str] = {}
    for number in range(1_000):
        over_grpc = bool(number % 2)
        answer = client.infer(message) if over_grpc else server.post(V2, TABLE)
        arms[read(KEY, answer.request_id).nonce] = answer.arm
    assert len(arms) == 1_000
    rows = {nonce: row for nonce, row in decisions(server).items() if nonce not in before}
    assert {nonce: "ab"[row.arm] for nonce, row in rows.items()} == arms
    assert {(row.propensity, row.status) for row in rows.values()} == {(0.5, 200)}
    assert {str(row.features) for row in rows.values()} == {str(records(ROWS)[0])}
    for protocol in ("open-inference", PROTOCOL):
        drawn = Counter(row.arm for row in rows.values() if row.protocol == protocol)
        assert drawn.total() == 500
        # Within five standard deviations of an even draw.
        assert abs(drawn[0] - 250) < 5 * (500 * 0.25) ** 0.5


def test_sixty_four_streams_at_once(client: GrpcClient) -> None:
    expected = {
        arm: elements(client.infer(message_of(TABLE, raw=True), x_mlops_arm=arm).message)
        for arm in "ab"
    }

    def ask(number: int) -> bool:
        reply = client.infer(message_of(TABLE, raw=bool(number % 2)))
        return elements(reply.message) == expected[reply.arm]

    with ThreadPoolExecutor(64) as pool:
        assert all(pool.map(ask, range(640)))


# Feedback.


def test_feedback(server: Server, client: GrpcClient) -> None:
    reply = client.infer(message_of(TABLE, raw=True))
    told = client.feedback({"request_id": reply.request_id, "row": 0, "number": 6.0})
    assert (told.code, told.message.arm, told.message.revision) == ("OK", reply.arm, 1)
    assert dict(told.message.counts) == {"accepted": 1}
    again = client.feedback({"request_id": reply.request_id, "row": 0, "number": 6.0})
    assert dict(again.message.counts) == {"duplicate": 1}
    over = server.post("/feedback", {"request_id": reply.request_id, "row": 0, "truth": 6})
    assert over.json["counts"] == {"duplicate": 1}
    many = client.feedback(
        {"request_id": reply.request_id, "row": 1, "reward": -0.5},
        {"request_id": "no id of ours", "reward": 1.0},
        {"request_id": reply.request_id, "row": 9, "reward": 1.0},
    )
    assert many.code == "OK"
    assert dict(many.message.counts) == {"accepted": 1, "forged": 1, "no_such_row": 1}
    assert [(each.index, each.status) for each in many.message.problems] == [
        (1, "forged"),
        (2, "no_such_row"),
    ]


def test_feedback_by_an_id_of_the_caller_s_own(client: GrpcClient) -> None:
    message = message_of({key: value for key, value in TABLE.items() if key != "id"}, raw=True)
    client.infer(message, x_mlops_client_id="order-grpc")
    told = client.feedback({"client_id": "order-grpc", "row": 0, "reward": 1.0})
    assert (told.code, dict(told.message.counts)) == ("OK", {"accepted": 1})


@pytest.mark.parametrize(
    ("outcome", "code", "status"),
    [
        ({"request_id": "no id of ours", "reward": 1.0}, "INVALID_ARGUMENT", 400),
        ({"client_id": "nobody's", "reward": 1.0}, "NOT_FOUND", 404),
        ({"reward": 1.0}, "INVALID_ARGUMENT", 400),
        ({"request_id": "x"}, "INVALID_ARGUMENT", 400),
    ],
)
def test_feedback_that_is_refused(
    server: Server, client: GrpcClient, outcome: Json, code: str, status: int
) -> None:
    theirs = server.post("/feedback", outcome)
    reply = client.feedback(outcome)
    assert (theirs.status, reply.code) == (status, code)
    said = theirs.json.get("error") or theirs.json["problems"][0]["error"]
    assert reply.details == said


# A server with a token, and a model that sleeps as long as it is told.


@pytest.fixture(scope="module")
def sleeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("sleeper")
    script = folder / "sleeper.py"
    script.write_text(SLEEPER)
    models = {name: folder / name for name in "ab"}
    for path in models.values():
        mlflow.pyfunc.save_model(path, python_model=str(script), pip_requirements=["mlflow"])
    launch = make_launch(folder, served(models, sticky_by="header:X-User"), token=TOKEN, grpc=True)
    with running(launch, folder) as process:
        yield process


@pytest.fixture(scope="module")
def guarded(sleeper: Server) -> Iterator[GrpcClient]:
    client = GrpcClient(sleeper.launch.grpc_port)
    yield client
    client.close()


BEARER: dict[str, Any] = {"authorization": f"Bearer {TOKEN}"}


def sleep(seconds: float) -> Message:
    [entry] = array("FP64", [0.0, 0.0, seconds])["inputs"]
    return message_of(
        {"inputs": [{**entry, "name": "seconds", "shape": [1, 1], "data": [seconds]}]}, raw=True
    )


def test_a_token_is_asked_for(guarded: GrpcClient) -> None:
    assert guarded.call("ServerLive").message.live
    assert guarded.call("ServerReady").message.ready
    wrong: list[dict[str, Any]] = [{}, {"authorization": "Bearer wrong"}, {"authorization": TOKEN}]
    for metadata in wrong:
        for reply in (
            guarded.infer(sleep(0), **metadata),
            guarded.call("ServerMetadata", **metadata),
            guarded.call("Send", service=FEEDBACK, **metadata),
            # Refused before it is read.
            guarded.infer(REQUEST(raw_input_contents=[bytes(MAX_BODY)]), **metadata),
        ):
            assert reply.code == "UNAUTHENTICATED"
    assert guarded.infer(sleep(0), **BEARER).code == "OK"
    assert guarded.call("ServerMetadata", **BEARER).code == "OK"


def test_a_caller_that_waits_no_longer_leaves_a_decision(
    sleeper: Server, guarded: GrpcClient
) -> None:
    before = set(decisions(sleeper))
    started = time.monotonic()
    reply = guarded.infer(sleep(5), timeout=2, **BEARER)
    assert reply.code == "DEADLINE_EXCEEDED"
    assert time.monotonic() - started < 5
    wait_until(lambda: len(decisions(sleeper)) > len(before))
    assert [r.status for n, r in decisions(sleeper).items() if n not in before] == [504]
    # Others are answered meanwhile.
    assert guarded.infer(sleep(0), **BEARER).code == "OK"


def test_a_unit_of_the_metadata_sticks(sleeper: Server, guarded: GrpcClient) -> None:
    units = {}
    for number in range(40):
        user = {"x_user": f"u{number}", **BEARER}
        arms = {guarded.infer(sleep(0), **user).arm for _ in range(3)}
        document = {"dataframe_records": [{"seconds": 0.0}]}
        arms.add(sleeper.post("/invocations", document, **user).arm)
        assert len(arms) == 1
        units[number] = arms.pop()
    assert set(units.values()) == {"a", "b"}


def test_a_stop_lets_calls_end(models: dict[str, Path], tmp_path: Path, sleeper: Server) -> None:
    spec = sleeper.launch.served
    launch = make_launch(tmp_path, spec, grpc=True)
    with running(launch, tmp_path) as process:
        client = GrpcClient(launch.grpc_port)
        assert client.infer(sleep(0)).trailing["x-mlops-revision"] == "1"
        assert process.swap(reweighted(spec, 1.0, 0.0)).status == 200
        reply = client.infer(sleep(0))
        assert (reply.arm, reply.trailing["x-mlops-revision"]) == ("a", "2")
        replies: list[Any] = []
        thread = threading.Thread(target=lambda: replies.append(client.infer(sleep(1.5))))
        thread.start()
        wait_until(lambda: process.admin("GET", "/status").json["arms"][0]["running"] == 1)
        assert process.stop() == 0
        thread.join()
        assert replies[0].code == "OK"
        client.close()
