"""Every call of every transport, with a key of each scope: what the one table says, and no more."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest
from starlette.routing import Route as Page

from mlops.journal.writer import JournalWriter
from mlops.protocols.protobuf import methods
from mlops.serving.access import Gate
from mlops.serving.access.required_scopes import METHODS, PAGES, PROBES, Need, need_of
from mlops.serving.dataplane import DataPlane
from mlops.serving.feedback_service import FeedbackService
from mlops.serving.grpc_server import GrpcServer
from mlops.serving.metrics import Metrics
from mlops.serving.pages import Pages
from mlops.serving.request_bodies import MemoryBudget
from mlops.serving.routes import POST_PATHS, find_route
from mlops.spec.access import SCOPES, Access, Key, Scope, new_key, read_keys, write_keys
from mlops.spec.request_id import read
from tests.serving.grpc_client import GrpcClient
from tests.serving.models import ROWS, records, save_linear
from tests.serving.server import KEY, Server, make_launch, running, served

ROW = records(ROWS[:1])
BODY = {"dataframe_records": ROW}
V2 = {
    "inputs": [
        {"name": name, "shape": [1, 1], "datatype": "FP64", "data": [value]}
        for name, value in ROW[0].items()
    ]
}
PATHS = [
    *(
        (path, "POST")
        for path in (
            *POST_PATHS,
            "/predict",
            "/send-feedback",
            "/score",
            "/v1/models/{model}:explain",
            "/v2/models/{model}/explain",
        )
    ),
    ("/seldon/shops/wine/api/v1.0/feedback", "POST"),
    ("/v2/repository/index", "POST"),
    *((path, "GET") for path in PAGES if path != "/v2/repository/index"),
    ("/ui", "GET"),
    ("/ui/requests", "GET"),
    ("/ui/requests/abc", "GET"),
    ("/ui/static/page.css", "GET"),
]


@dataclass(frozen=True)
class House:
    """A server, and a key of each scope."""

    server: Server
    grpc: GrpcClient
    keys: dict[Scope, str]
    ids: dict[Scope, str]

    def bearer(self, scope: Scope | None) -> dict[str, Any]:
        return {"authorization": f"Bearer {self.keys[scope]}"} if scope else {}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("access")
    models = {name: save_linear(folder / name, [1.0, 2.0, 3.0]) for name in ("a", "b")}
    made: dict[Scope, tuple[Key, str]] = {scope: new_key(scope, [scope]) for scope in SCOPES}
    keys = folder / "wine.keys"
    keys.write_text(write_keys(key for key, _ in made.values()))
    launch = make_launch(folder, served(models), grpc=True)
    launch = replace(launch, access=Access(str(keys)))
    with running(launch, folder) as server:
        client = GrpcClient(launch.grpc_port)
        yield House(
            server,
            client,
            {scope: secret for scope, (_, secret) in made.items()},
            {scope: key.id for scope, (key, _) in made.items()},
        )
        client.close()


def _allows(scope: Scope | None, need: Need) -> bool:
    return need == "open" or (scope is not None and (need in ("any", scope) or scope == "admin"))


def _filled(path: str) -> str:
    return path.replace("{model}", "wine").replace("{version}", "a")


@pytest.mark.parametrize("scope", [None, *SCOPES])
def test_http(house: House, scope: Scope | None) -> None:
    tried = 0
    for path, method in PATHS:
        need = need_of(path, find_route(_filled(path)))
        reply = house.server.call(method, _filled(path), {}, house.bearer(scope))
        allowed = _allows(scope, need)
        refused = 401 if scope is None else 403
        # A body that means nothing is refused by who reads it.
        assert (reply.status == refused) is not allowed, (path, reply.status, reply.body)
        tried += 1
    assert tried > 35


@pytest.mark.parametrize("scope", [None, *SCOPES])
def test_grpc(house: House, scope: Scope | None) -> None:
    for path, need in METHODS.items():
        _, service, name = path.split("/")
        reply = house.grpc.call(name, service=service, **house.bearer(scope))
        refused = "UNAUTHENTICATED" if scope is None else "PERMISSION_DENIED"
        assert (reply.code == refused) is not _allows(scope, need), (path, reply)


def test_the_table_says_what_it_should() -> None:
    """The other tests hold the server to the table, and this one holds the table to its purpose."""
    needs = {path: need_of(path, find_route(_filled(path))) for path, _ in PATHS}
    predictions = {path for path, need in needs.items() if need == "predict"}
    assert predictions == {
        "/invocations", "/predict", "/api/v1.0/predictions", "/api/v0.1/predictions",
        "/v1/models/{model}:predict", "/v2/models/infer", "/v2/models/{model}/infer",
        "/v2/models/{model}/versions/{version}/infer",
    }  # fmt: skip
    assert {path for path, need in needs.items() if need == "feedback"} == {
        "/feedback", "/send-feedback", "/api/v1.0/feedback", "/api/v0.1/feedback",
        "/seldon/shops/wine/api/v1.0/feedback",
    }  # fmt: skip
    assert {path for path, need in needs.items() if need == "read"} == {
        "/report", "/report.json", "/verdict.json", "/metrics", "/prometheus", "/ui",
    }  # fmt: skip
    assert {path for path, need in needs.items() if need == "requests"} == {
        "/ui/requests", "/ui/requests/abc",
    }  # fmt: skip
    assert {path for path, need in needs.items() if need == "score"} == {
        "/score", "/v1/models/{model}:explain", "/v2/models/{model}/explain",
    }  # fmt: skip
    assert {path for path, need in needs.items() if need == "open"} == {
        *PROBES, "/ui/static/page.css",
    }  # fmt: skip
    for path in ("/ui/events", "/ui/request", "/ui/requestsx", "/ui/staticx"):
        assert need_of(path, None) == "read"
    for path in ("/nothing", "//report", "/report/", "/REPORT", "/health/x", "/seldon/a/b/report"):
        assert need_of(path, find_route(path)) == "any"
    by_need: dict[Need, set[str]] = {}
    for path, need in METHODS.items():
        by_need.setdefault(need, set()).add(path.rpartition("/")[2])
    assert by_need == {
        "open": {"ServerLive", "ServerReady"},
        "any": {"ServerMetadata", "ModelReady", "ModelMetadata"},
        "predict": {"ModelInfer"},
        "feedback": {"Send"},
    }


def test_an_explanation_of_a_request_needs_two_scopes(house: House) -> None:
    """It tells what all arms answer, and of a request that the caller may see."""
    path = "/ui/requests/abc/explanation"
    for scope in SCOPES:
        expected = 404 if scope == "admin" else 403
        assert house.server.get(path, **house.bearer(scope)).status == expected, scope
    assert house.server.get(path, **_key_of(house, "requests", "score")).status == 404


def test_paths_written_otherwise_reach_no_page_of_another_scope(house: House) -> None:
    """What the table does not know needs any key; so nothing may be there that it should know."""
    odd = ("//report", "/report/", "/./report", "/x/../report", "/%72eport", "/report%2f",
           "/report?x=1", "/REPORT", "/report.json;x", "/seldon/a/b/report", "/metrics/",
           "http://127.0.0.1/report")  # fmt: skip
    for path in odd:
        assert house.server.get(path, **house.bearer("predict")).status in (400, 403, 404), path


def test_the_table_has_every_call() -> None:
    """A page that is added has no scope until it is given one."""

    async def report() -> str:
        return ""

    plane, metrics = cast(DataPlane, None), Metrics("wine", dict)
    pages = Pages(plane, metrics, lambda: None, report=report, evidence=report, verdict=report)
    routes = [each for each in pages.application().routes if isinstance(each, Page)]
    assert {each.path for each in routes} == set(PAGES)
    served = {f"/{service}/{name}" for service, name in _services()}
    assert served == set(METHODS)
    assert set(METHODS) <= set(vars(_grpc())["_calls"])


def _services() -> list[tuple[str, str]]:
    names = ("inference.GRPCInferenceService", "mlops.v1.Feedback")
    return [(service, name) for service in names for name in methods(service)]


def _grpc() -> GrpcServer:
    nobody = cast(DataPlane, None)
    metrics = Metrics("wine", dict)
    desk = FeedbackService(nobody, metrics, {})
    return GrpcServer(nobody, desk, cast(JournalWriter, None), metrics, Gate(), MemoryBudget(0))


def test_an_arm_is_chosen_with_its_scope_only(house: House) -> None:
    both = _key_of(house, "predict", "force-arm")
    for header, path in ((True, "/invocations"), (False, "/v2/models/wine/versions/b/infer")):
        more = {"x-mlops-arm": "b"} if header else {}
        body = BODY if header else V2
        for _ in range(2):  # the second time its head is known
            refused = house.server.post(path, body, **house.bearer("predict"), **more)
            assert refused.status == 403
            assert b"force-arm" in refused.body
            assert house.server.post(path, body, **both, **more).arm == "b"
    request = methods("inference.GRPCInferenceService")["ModelInfer"][0]
    inputs = [
        {"name": n, "datatype": "FP64", "shape": [1, 1], "contents": {"fp64_contents": [value]}}
        for n, value in ROW[0].items()
    ]
    message = request(model_name="wine", model_version="b", inputs=inputs)
    assert house.grpc.infer(message, **house.bearer("predict")).code == "PERMISSION_DENIED"
    assert house.grpc.infer(message, **both).arm == "b"


def _key_of(house: House, *scopes: Scope) -> dict[str, Any]:
    """Let a key with several scopes count."""
    path = Path(house.server.launch.access.keys_file)
    key, secret = new_key("-".join(scopes), scopes)
    path.write_text(write_keys([*read_keys(path.read_bytes()), key]))
    bearer = {"authorization": f"Bearer {secret}"}
    _wait(house.server, bearer)
    return bearer


def _wait(server: Server, bearer: dict[str, str]) -> None:
    deadline = time.monotonic() + 180
    while server.get("/v2", **bearer).status == 401:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_retry_is_of_the_key_that_asked(house: House) -> None:
    """With another caller's `Idempotency-Key` anybody got an id of that caller's decision."""
    other = _key_of(house, "predict", "feedback")

    def nonce(bearer: dict[str, Any]) -> bytes:
        reply = house.server.predict(ROW, **{"idempotency-key": "order 7", **bearer})
        return read(KEY, reply.request_id).nonce

    mine = nonce(house.bearer("predict"))
    assert nonce(house.bearer("predict")) == mine
    assert nonce(other) != mine
    assert nonce(other) == nonce(other)


def test_the_journal_says_whose_key_it_was(house: House) -> None:
    reply = house.server.predict(ROW, **house.bearer("predict"))
    outcome = {"request_id": reply.request_id, "reward": 1.0}
    assert house.server.post("/feedback", outcome, **house.bearer("feedback")).status == 200
    house.server.journal().close()
    url = house.server.launch.journal_url
    with sqlite3.connect(url.removeprefix("sqlite:///")) as database:
        decided = [each for (each,) in database.execute("SELECT key_id FROM decisions")]
        told = [each for (each,) in database.execute("SELECT key_id FROM outcomes")]
    assert decided[-1] == house.ids["predict"]
    assert told == [house.ids["feedback"]]


def test_all_arms_score_off_the_books(house: House) -> None:
    before = _counted(house)
    scored = house.server.post("/score", {"rows": ROW}, **house.bearer("score"))
    assert [len(arm) for arm in scored.json["arms"]] == [1, 1]
    wrong: list[Any] = [{"rows": []}, {"rows": [{"no": 1}]}, [], b"{"]
    for body in wrong:
        assert house.server.post("/score", body, **house.bearer("score")).status == 400
    assert _counted(house) == before


def _counted(house: House) -> list[str]:
    text = house.server.get("/metrics", **house.bearer("read")).body.decode()
    return [line for line in text.splitlines() if line.startswith("mlops_requests_total")]
