"""Every prediction door, through HTTP: right answers, ids, headers, errors of the right shape."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from mlops.spec.request_id import read
from tests.serving.models import COLUMNS, ROWS, records
from tests.serving.server import KEY, Json, Reply, Server

ARMS = ("a", "b")


@dataclass(frozen=True, slots=True)
class Door:
    """One way in: where, what is asked, and where in the answer the predictions stand."""

    path: str
    question: Callable[[list[list[float]]], Json]
    answer: Callable[[Json], Json]
    media_type: str = "application/json"


def _split(rows: list[list[float]]) -> Json:
    return {"dataframe_split": {"columns": COLUMNS, "data": rows}}


def _csv(rows: list[list[float]]) -> bytes:
    lines = [COLUMNS, *rows]
    return "\n".join(",".join(map(str, line)) for line in lines).encode()


def _columns(rows: list[list[float]]) -> list[Json]:
    return [
        {"name": name, "shape": [len(rows), 1], "datatype": "FP64", "data": list(values)}
        for name, values in zip(COLUMNS, zip(*rows, strict=True), strict=True)
    ]


def _tensor(rows: list[list[float]]) -> Json:
    flat = [cell for row in rows for cell in row]
    return {"data": {"names": COLUMNS, "tensor": {"shape": [len(rows), 3], "values": flat}}}


DOORS = {
    "mlflow split": Door("/invocations", _split, lambda d: d["predictions"]),
    "mlflow records": Door(
        "/invocations", lambda r: {"dataframe_records": records(r)}, lambda d: d["predictions"]
    ),
    "mlflow instances": Door(
        "/invocations", lambda r: {"instances": r}, lambda d: d["predictions"]
    ),
    "mlflow inputs": Door(
        "/invocations",
        lambda r: {"inputs": dict(zip(COLUMNS, map(list, zip(*r, strict=True)), strict=True))},
        lambda d: d["predictions"],
    ),
    "mlflow csv": Door("/invocations", _csv, lambda d: d["predictions"], "text/csv"),
    "seldon ndarray": Door(
        "/api/v1.0/predictions",
        lambda r: {"data": {"names": COLUMNS, "ndarray": r}},
        lambda d: d["data"]["ndarray"],
    ),
    "seldon tensor": Door(
        "/api/v0.1/predictions", _tensor, lambda d: d["data"]["tensor"]["values"]
    ),
    "seldon json": Door(
        "/api/v1.0/predictions",
        lambda r: {"jsonData": records(r)},
        lambda d: d["data"]["tensor"]["values"],
    ),
    "seldon gateway": Door(
        "/seldon/prod/wine/api/v1.0/predictions",
        lambda r: {"data": {"ndarray": r}},
        lambda d: d["data"]["ndarray"],
    ),
    "seldon gateway of one namespace": Door(
        "/seldon/wine/api/v1.0/predictions",
        lambda r: {"data": {"ndarray": r}},
        lambda d: d["data"]["ndarray"],
    ),
    "v2 columns": Door(
        "/v2/models/wine/infer",
        lambda r: {"inputs": _columns(r)},
        lambda d: d["outputs"][0]["data"],
    ),
    "v2 array": Door(
        "/v2/models/wine/infer/",
        lambda r: {"inputs": [{"name": "x", "shape": [len(r), 3], "datatype": "FP64", "data": r}]},
        lambda d: d["outputs"][0]["data"],
    ),
    "v2 without a name": Door(
        "/v2/models/infer", lambda r: {"inputs": _columns(r)}, lambda d: d["outputs"][0]["data"]
    ),
    "v2 gateway": Door(
        "/seldon/prod/wine/v2/models/wine/infer",
        lambda r: {"inputs": _columns(r)},
        lambda d: d["outputs"][0]["data"],
    ),
    "v1 instances": Door(
        "/v1/models/wine:predict", lambda r: {"instances": r}, lambda d: d["predictions"]
    ),
    "v1 objects": Door(
        "/v1/models/wine:predict", lambda r: {"instances": records(r)}, lambda d: d["predictions"]
    ),
}


def ask(server: Server, door: Door, rows: list[list[float]], **headers: str) -> Reply:
    question = door.question(rows)
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return server.call("POST", door.path, question, {"content-type": door.media_type, **names})


@pytest.fixture(scope="session")
def expected(models: dict[str, Path]) -> Callable[[str, list[list[float]]], list[float]]:
    """What an arm's model says, asked without us."""
    import mlflow.sklearn
    import pandas as pd

    loaded = {arm: mlflow.sklearn.load_model(str(path)) for arm, path in models.items()}

    def predict(arm: str, rows: list[list[float]]) -> list[float]:
        answer: list[float] = loaded[arm].predict(pd.DataFrame(rows, columns=COLUMNS)).tolist()
        return answer

    return predict


Expected = Callable[[str, list[list[float]]], list[float]]


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("rows", [ROWS[:1], ROWS, ROWS * 50], ids=["one", "four", "two hundred"])
@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS.keys())
def test_answers_are_the_models(
    server: Server, expected: Expected, door: Door, rows: list[list[float]], arm: str
) -> None:
    reply = ask(server, door, rows, x_mlops_arm=arm)
    assert reply.status == 200, reply.body
    assert np.ravel(door.answer(reply.json)).tolist() == pytest.approx(expected(arm, rows))


@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS.keys())
def test_headers_tell_what_answered(server: Server, expected: Expected, door: Door) -> None:
    reply = ask(server, door, ROWS[:1])
    assert np.ravel(door.answer(reply.json)).tolist() == pytest.approx(
        expected(reply.arm, ROWS[:1])
    )
    rid = read(KEY, reply.request_id)
    assert (ARMS[rid.arm], rid.revision, rid.forced) == (reply.arm, 1, False)
    assert rid.propensity == pytest.approx(0.5)
    assert reply.headers["x-mlops-revision"] == "1"
    assert reply.headers["content-length"] == str(len(reply.body))


def test_seldon_answers_in_meta(server: Server) -> None:
    body = {"data": {"ndarray": ROWS}, "meta": {"puid": "mine", "tags": {"colour": "red"}}}
    reply = server.post("/api/v1.0/predictions", body)
    meta = reply.json["meta"]
    assert meta["puid"] == reply.headers["seldon-puid"] == "mine"
    assert meta["routing"] == {"wine": ARMS.index(reply.arm)}
    assert meta["tags"] == {"colour": "red"}
    assert meta["requestPath"] == {
        reply.arm: f"{reply.arm}/1",
        "mlops_request_id": reply.request_id,
    }


def test_seldon_makes_a_puid(server: Server) -> None:
    reply = server.post("/api/v1.0/predictions", {"data": {"ndarray": ROWS}})
    assert reply.json["meta"]["puid"] == reply.headers["seldon-puid"] == reply.request_id


def test_open_inference_answers_in_parameters(server: Server) -> None:
    reply = server.post("/v2/models/wine/infer", {"id": "mine", "inputs": _columns(ROWS)})
    document = reply.json
    assert (document["model_name"], document["id"]) == ("wine", "mine")
    assert document["model_version"] == reply.arm
    assert document["parameters"] == {
        "mlops_request_id": reply.request_id,
        "mlops_arm": reply.arm,
        "mlops_revision": 1,
        "mlops_version": f"{reply.arm}/1",
    }
    assert document["outputs"][0]["datatype"] == "FP64"


def test_open_inference_in_binary(server: Server, expected: Expected) -> None:
    data = np.array(ROWS, dtype="<f8").tobytes()
    tensor = {"name": "x", "shape": [4, 3], "datatype": "FP64"}
    head = json.dumps(
        {
            "inputs": [{**tensor, "parameters": {"binary_data_size": len(data)}}],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    name = "inference-header-content-length"
    headers = {name: str(len(head)), "x-mlops-arm": "b"}
    reply = server.call("POST", "/v2/models/wine/infer", head + data, headers)
    assert reply.status == 200, reply.body
    raw = reply.body[int(reply.headers[name]) :]
    assert np.frombuffer(raw, "<f8").tolist() == pytest.approx(expected("b", ROWS))


# Errors. One shape per protocol: (path, body that is well formed but misses a column).
SELDON, V2, V1, MLFLOW = (
    "/api/v1.0/predictions",
    "/v2/models/wine/infer",
    "/v1/models/wine:predict",
    "/invocations",
)


def _seldon_message(document: Json) -> str:
    status = document["status"]
    assert set(status) == {"code", "info", "reason", "status"}
    assert (status["code"], status["status"]) == (-1, "FAILURE")
    assert status["reason"] == "MICROSERVICE_BAD_DATA"
    return str(status["info"])


def _error_message(document: Json) -> str:
    assert set(document) == {"error"}
    return str(document["error"])


def _mlflow_message(document: Json) -> str:
    assert set(document) == {"error_code", "message"}
    assert document["error_code"] in ("BAD_REQUEST", "INVALID_PARAMETER_VALUE")
    return str(document["message"])


MESSAGES = {
    SELDON: _seldon_message,
    V2: _error_message,
    V1: _error_message,
    MLFLOW: _mlflow_message,
}
NARROW = {
    SELDON: {"data": {"names": ["alcohol"], "ndarray": [[9.4]]}},
    V2: {"inputs": [{"name": "alcohol", "shape": [1], "datatype": "FP64", "data": [9.4]}]},
    V1: {"instances": [{"alcohol": 9.4}]},
    MLFLOW: {"dataframe_split": {"columns": ["alcohol"], "data": [[9.4]]}},
}
TEXT = {
    SELDON: {"data": {"names": COLUMNS, "ndarray": [[7.4, "strong", 0.56]]}},
    V2: {
        "inputs": [
            {"name": name, "shape": [1], "datatype": kind, "data": [cell]}
            for name, kind, cell in zip(
                COLUMNS, ("FP64", "BYTES", "FP64"), (7.4, "strong", 0.56), strict=True
            )
        ]
    },
    V1: {"instances": [[7.4, "strong", 0.56]]},
    MLFLOW: {"dataframe_records": [{**records(ROWS)[0], "alcohol": "strong"}]},
}
NONSENSE = [b"", b"{", b"[1, 2]", b"null", b'{"nothing": 1}', b"\xff\xfe{}", b'{"a": NaN}']


@pytest.mark.parametrize("body", NONSENSE)
@pytest.mark.parametrize("path", MESSAGES)
def test_nonsense_is_refused(server: Server, path: str, body: bytes) -> None:
    reply = server.call("POST", path, body, {"content-type": "application/json"})
    assert reply.status == 400
    assert MESSAGES[path](reply.json)


@pytest.mark.parametrize("path", MESSAGES)
def test_a_missing_column_is_named(server: Server, path: str) -> None:
    reply = server.post(path, NARROW[path])
    assert reply.status == 400
    message = MESSAGES[path](reply.json)
    assert "fixed acidity" in message
    assert "sulphates" in message
    # An arm was drawn for it, so it is told.
    assert reply.arm in ARMS


@pytest.mark.parametrize("path", MESSAGES)
def test_text_for_a_number_is_refused(server: Server, path: str) -> None:
    reply = server.post(path, TEXT[path])
    assert reply.status == 400
    message = MESSAGES[path](reply.json)
    assert "alcohol" in message
    assert "strong" in message


@pytest.mark.parametrize("path", MESSAGES)
def test_too_large_a_body_is_refused(server: Server, path: str) -> None:
    reply = server.call("POST", path, b" " * (16 * 1024 * 1024 + 1), {})
    assert reply.status == 413
    assert "16777216" in MESSAGES[path](reply.json)
    # The rest of the body is on its way still: such a connection is not used again.
    assert reply.headers["connection"] == "close"
    server.hang_up()


def test_a_large_body_is_read(server: Server) -> None:
    body = json.dumps({"instances": ROWS[:1]}).encode().ljust(16 * 1024 * 1024)
    assert server.call("POST", V1, body, {}).status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/v2/models/beer/infer",
        "/v2/models/beer/versions/1/infer",
        "/v1/models/beer:predict",
        "/seldon/prod/wine/v2/models/beer/infer",
    ],
)
def test_an_unknown_model_is_not_found(server: Server, path: str) -> None:
    reply = server.post(path, NARROW[V2])
    assert reply.status == 404
    assert "beer" in _error_message(reply.json)


def test_an_unknown_media_type_is_refused_as_mlflow_does(server: Server) -> None:
    reply = server.call("POST", MLFLOW, b"x", {"content-type": "application/x-parquet"})
    assert reply.status == 415
    assert reply.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize("path", ["/v3/models/wine/infer", "/nothing", "/v2/models/wine/stats"])
def test_an_unknown_path_is_not_found(server: Server, path: str) -> None:
    for reply in (server.post(path, {}), server.get(path)):
        assert reply.status == 404
        assert path in _error_message(reply.json)


@pytest.mark.parametrize("version", ["1", "a%2F1", "A"])
def test_an_unknown_version_is_not_found(server: Server, version: str) -> None:
    path = f"/v2/models/wine/versions/{version}"
    for reply in (server.post(f"{path}/infer", {"inputs": _columns(ROWS)}), server.get(path)):
        assert reply.status == 404
        assert "version" in _error_message(reply.json) or version == "a%2F1"


def test_a_version_is_an_arm_and_a_choice_of_it(server: Server, expected: Expected) -> None:
    body = {"inputs": _columns(ROWS)}
    for _ in range(3):
        reply = server.post("/v2/models/wine/versions/b/infer", body)
        assert reply.json["outputs"][0]["data"] == pytest.approx(expected("b", ROWS))
        assert read(KEY, reply.request_id).forced
    assert server.get("/v2/models/wine/versions/b/ready").status == 200


def test_an_unknown_output_is_refused(server: Server) -> None:
    body = {"inputs": _columns(ROWS), "outputs": [{"name": "nope"}]}
    reply = server.post(V2, body)
    assert reply.status == 400
    assert "`output-1`" in _error_message(reply.json)


def test_nothing_is_explained_the_way_of_seldon(server: Server) -> None:
    reply = server.post("/seldon/prod/wine/api/v1.0/explain", {"instances": ROWS})
    assert reply.status == 501
    assert "no explainer" in _error_message(reply.json)


@pytest.mark.parametrize("path", [*MESSAGES, "/feedback", "/api/v1.0/feedback"])
def test_another_method_is_refused(server: Server, path: str) -> None:
    reply = server.get(path)
    assert reply.status == 405
    assert reply.headers["allow"] == "POST"
    assert server.call("DELETE", path).status == 405


@pytest.mark.parametrize("path", ["/health", "/v2", "/metrics", "/v1/models/wine"])
def test_pages_take_no_post(server: Server, path: str) -> None:
    assert server.post(path, {}).status == 405


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/ping", b"\n"),
        ("/health", b"\n"),
        ("/live", b""),
        ("/ready", b""),
        ("/api/v1.0/health/status", b""),
        ("/seldon/prod/wine/api/v1.0/status", b""),
        ("/v1/models", b'{"models":["wine"]}'),
        ("/v1/models/wine", b'{"name":"wine","ready":true}'),
        ("/v2/health/live", b'{"live":true}'),
        ("/v2/health/ready", b'{"ready":true}'),
        ("/v2/models/wine/ready", b'{"name":"wine","ready":true}'),
        ("/seldon/prod/wine/v2/models/wine/ready", b'{"name":"wine","ready":true}'),
    ],
)
def test_probes(server: Server, path: str, body: bytes) -> None:
    reply = server.get(path)
    assert (reply.status, reply.body) == (200, body)


def test_the_version_is_mlflows(server: Server) -> None:
    import mlflow

    assert server.get("/version").body.decode() == mlflow.__version__


def test_model_metadata_is_the_signature(server: Server) -> None:
    document = server.get("/v2/models/wine").json
    assert document["name"] == "wine"
    assert document["versions"] == ["a", "b"]
    assert [item["name"] for item in document["inputs"]] == list(COLUMNS)
    assert {item["datatype"] for item in document["inputs"]} == {"FP64"}
    assert server.get("/v2/models/beer").status == 404
