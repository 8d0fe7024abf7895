"""The OpenAPI document says what the server does, and the page that shows it works."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from email.message import Message
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import jsonschema
import numpy as np
import pytest
import uvicorn
from openapi_spec_validator import validate

from mlops.journal.sql import SqlJournal
from mlops.journal.writer import JournalWriter
from mlops.policies import POLICIES
from mlops.policies.drawing import Draws
from mlops.protocols.base import Kind, Payload, ProtocolError
from mlops.runtimes.base import LoadedModel
from mlops.serving.access import Gate
from mlops.serving.app import App
from mlops.serving.browsers import Guard
from mlops.serving.dataplane import DataPlane
from mlops.serving.feedback_service import FeedbackService
from mlops.serving.metrics import Metrics
from mlops.serving.pages import Pages
from mlops.serving.recording import Recorder
from mlops.serving.request_bodies import MemoryBudget
from mlops.serving.revision import LiveArm, LiveRevision, runner_of
from mlops.serving.routes import POST_PATHS, find_route
from mlops.serving.shadows import Shadows
from mlops.spec.deployment import Arm, DeploymentSpec, Revision
from mlops.spec.model import ModelVersion
from mlops.spec.request_id import ForgedRequestIdError, read
from mlops.spec.server import Served
from mlops.tables.signature import Column, Signature
from tests.requirements import require

GUARD = Guard("127.0.0.1", (), secured=False)

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

Json: TypeAlias = Any

KEY = b"k" * 32
TOKEN = "a-token-of-enough-length"
#: A name that is markup, and would close the script element or a shell's quotes.
HOSTILE = "</script><img src=x onerror=document.title='broken'>'\"$HOME`id`"
COLUMNS = Signature(
    columns=(Column("alcohol", "double"), Column("grapes", "long"), Column(HOSTILE, "string")),
    output_type="float64",
)
ROWS = Signature(columns=(Column("a", "double"), Column("b", "double")), output_type="float64")
NAMED = {"columns": list(COLUMNS.names), "data": [[9.4, 3, "red"]]}
SIGNATURES = [
    pytest.param(COLUMNS, NAMED, id="columns"),
    pytest.param(COLUMNS, {**NAMED, "data": [[float("nan"), 3, None]]}, id="missing cells"),
    pytest.param(COLUMNS, {**NAMED, "data": [[{"a": [1]}, [2], "red"]]}, id="nested cells"),
    pytest.param(ROWS, {"data": [[1.5, 2.0]]}, id="no names"),
    pytest.param(ROWS, {"columns": [0, 1], "data": [[1.5, 2.0]]}, id="numbered columns"),
    pytest.param(Signature(), NAMED, id="no signature"),
    pytest.param(COLUMNS, None, id="no example"),
]


class Constant:
    """Predicts 5.6 for every row, or fails in the way it is told."""

    def __init__(self, failure: Kind | None = None) -> None:
        self.failure = failure

    def predict(self, payload: Payload, parameters: Mapping[str, Any]) -> np.ndarray[Any, Any]:
        if self.failure is not None:
            raise ProtocolError(self.failure, "The model is a fake.")
        return np.full(payload.n_rows, 5.6)


@dataclass
class House:
    """A server of a fake model: its parts, and how to call it."""

    live: LiveRevision
    model: Constant
    pages: Pages
    metrics: Metrics
    url: str = ""
    token: str = ""

    def document(self) -> Json:
        return asyncio.run(self.pages._document())

    def call(
        self,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Message, bytes]:
        request = urllib.request.Request(self.url + path, body, dict(headers or {}))
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        opener = urllib.request.build_opener(_StayHere)
        try:
            with opener.open(request, timeout=60) as reply:
                return reply.status, reply.headers, reply.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read()


class _StayHere(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: object) -> None:
        return None


def build(signature: Signature, split: Json, *, secured: bool = False, sticky: str = "") -> House:
    """Put a revision of two arms and its pages together."""
    arms = tuple(
        Arm(name, ModelVersion(name, f"models:/wine/{name}{HOSTILE}", "/nowhere"), weight)
        for name, weight in (("old", 0.9), ("new", 0.1))
    )
    spec = DeploymentSpec("wine", arms, sticky_by=sticky)
    model = Constant()
    loaded = LoadedModel(model, signature, "native", None, 0.1, ())
    live = LiveRevision(
        Served(Revision(7, spec), ("/a", "/b")),
        tuple(
            LiveArm(arm, index, loaded, runner_of(loaded, arm.name))
            for index, arm in enumerate(arms)
        ),
        POLICIES.load("weighted")([0.9, 0.1]),
        Draws([0.9, 0.1]),
        b"salt",
    )
    metrics = Metrics("wine", dict)
    writer: Any = _NoWriter()
    recorder = Recorder(writer, metrics, Shadows(KEY, writer, metrics), "all")
    plane = DataPlane(live, KEY, recorder)
    example = None if split is None else {"dataframe_split": split}
    return House(
        live, model, Pages(plane, metrics, lambda: example, secured=lambda: secured), metrics
    )


class _NoWriter:
    """Stands where nothing is written."""


@pytest.fixture
def house(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[House]:
    """A server that answers on a port of this machine; parametrise it with a token."""
    token: str = getattr(request, "param", "")
    built = build(COLUMNS, NAMED)
    journal = SqlJournal(f"sqlite:///{tmp_path / 'journal.db'}")
    writer = JournalWriter(journal, lambda stored: None)
    shadows = Shadows(KEY, writer, built.metrics)
    plane = DataPlane(built.live, KEY, Recorder(writer, built.metrics, shadows, "all"))
    example = {"dataframe_split": NAMED}
    pages = Pages(plane, built.metrics, lambda: example, secured=lambda: bool(token))
    revision = built.live.served.revision
    desk = FeedbackService(plane, built.metrics, {revision.number: revision.spec})
    app = App(
        plane,
        desk,
        writer,
        built.metrics,
        pages.application(),
        Gate(token),
        MemoryBudget(0),
        GUARD,
    )
    server = uvicorn.Server(
        uvicorn.Config(app, port=0, ws="none", lifespan="off", log_config=None, loop="asyncio")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield replace(built, pages=pages, url=f"http://127.0.0.1:{port}", token=token)
    server.should_exit = True
    thread.join()
    plane.close()
    writer.close()
    journal.close()


def operations(document: Json) -> list[tuple[str, str, Json]]:
    return [
        (path, method, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
    ]


def follow(document: Json, node: Json) -> Json:
    if "$ref" in node:
        for key in node["$ref"].removeprefix("#/").split("/"):
            document = document[key]
        return document
    return node


def check(document: Json, schema: Json, value: Json) -> None:
    """Check a JSON value against a schema of the document."""
    whole = {**schema, "components": document["components"]}
    jsonschema.Draft202012Validator(whole).validate(value)


def filled(path: str) -> str:
    return path.replace("{model}", "wine").replace("{version}", "old")


def bodies(operation: Json) -> list[tuple[str, Json]]:
    """Media type and value of every example of a request."""
    return [
        (media, example["value"])
        for media, content in operation["requestBody"]["content"].items()
        for example in content.get("examples", {}).values()
    ]


def encoded(value: Json) -> bytes:
    return value.encode() if isinstance(value, str) else json.dumps(value).encode()


# The document


@pytest.mark.parametrize(("signature", "split"), SIGNATURES)
@pytest.mark.parametrize("secured", [False, True])
def test_the_document_is_valid_whatever_the_models_are(
    signature: Signature, split: Json, secured: bool
) -> None:
    document = build(signature, split, secured=secured, sticky="header:X-User").document()
    validate(document)
    assert "NaN" not in json.dumps(document)


@pytest.mark.parametrize(("signature", "split"), SIGNATURES)
def test_examples_fit_their_own_schemas(signature: Signature, split: Json) -> None:
    document = build(signature, split).document()
    for _, _, operation in operations(document):
        for media, content in operation.get("requestBody", {"content": {}})["content"].items():
            for example in content.get("examples", {}).values():
                assert media != "application/json" or not isinstance(example["value"], str)
                check(document, content["schema"], example["value"])
        for reply in operation["responses"].values():
            for content in follow(document, reply).get("content", {}).values():
                examples = [one["value"] for one in content.get("examples", {}).values()]
                examples += [content["example"]] if "example" in content else []
                for value in examples:
                    check(document, content["schema"], value)


def test_every_path_is_in_the_server_and_every_path_of_the_server_is_in_it() -> None:
    house = build(COLUMNS, NAMED)
    served = {
        (route.path, method.lower())  # type: ignore[attr-defined] # BaseRoute has no path
        for route in house.pages.application().routes
        for method in route.methods - {"HEAD"}  # type: ignore[attr-defined] # as above
    }
    served |= {(path, "post") for path in POST_PATHS}
    assert {(path, method) for path, method, _ in operations(house.document())} == served
    assert all(find_route(filled(path)) is not None for path in POST_PATHS)


@pytest.mark.parametrize(
    ("split", "forms"),
    [
        (NAMED, {"mlflow": 4, "open-inference": 1, "seldon-v1": 2, "kserve-v1": 2}),
        (NAMED | {"data": [[1, 2, 3]]}, {"seldon-v1": 3, "open-inference": 0}),
        (NAMED | {"data": [[1.0, [2], "red"]]}, {"seldon-v1": 1, "open-inference": 0}),
        ({"data": [[1.5, 2.0]]}, {"mlflow": 2, "open-inference": 1, "seldon-v1": 2}),
    ],
    ids=["mixed", "numbers where text is asked", "nested", "no names"],
)
def test_forms_that_a_protocol_cannot_carry_are_left_out(
    split: Json, forms: dict[str, int]
) -> None:
    house = build(COLUMNS if "columns" in split else ROWS, split)
    examples = asyncio.run(house.pages._current_examples(house.live))
    assert {name: len(examples.forms[name]) for name in forms} == forms


def test_examples_are_made_once_for_each_revision() -> None:
    house = build(COLUMNS, NAMED)
    first = asyncio.run(house.pages._current_examples(house.live))
    assert asyncio.run(house.pages._current_examples(house.live)) is first
    assert asyncio.run(house.pages._current_examples(replace(house.live))) is not first


def test_a_model_that_refuses_its_example_is_shown_without_answers() -> None:
    house = build(COLUMNS, NAMED)
    house.model.failure = Kind.MISMATCH
    document = house.document()
    answer = document["paths"]["/invocations"]["post"]["responses"]["200"]["content"]
    assert "example" not in answer["application/json"]
    validate(document)


def test_the_id_in_the_examples_is_of_our_form_but_refused() -> None:
    document = build(COLUMNS, NAMED).document()
    header = document["components"]["headers"]["RequestId"]
    assert re.fullmatch(header["schema"]["pattern"], header["example"])
    with pytest.raises(ForgedRequestIdError):
        read(KEY, header["example"])


# The document against the server


def test_every_example_is_answered_as_documented(house: House) -> None:
    document = json.loads(house.call("/openapi.json")[2])
    predict = encoded({"dataframe_split": NAMED})
    placeholder = document["components"]["headers"]["RequestId"]["example"]
    tried = 0
    for path, method, operation in operations(document):
        for media, value in bodies(operation) if method == "post" else [("", None)]:
            body = None if value is None else encoded(value)
            if body is not None and placeholder.encode() in body:
                # Of one request each: a second outcome would contradict the first.
                media_type = {"Content-Type": "application/json"}
                _, headers, _ = house.call("/invocations", predict, media_type)
                body = body.replace(placeholder.encode(), headers["X-Mlops-Request-Id"].encode())
            status, headers, answer = house.call(filled(path), body, {"Content-Type": media})
            expected = next(iter(operation["responses"]))
            assert str(status) == expected, (path, media, answer)
            reply = operation["responses"][expected]
            for name, header in reply.get("headers", {}).items():
                assert headers[name], (path, name)
                check(document, follow(document, header)["schema"], _number(headers[name], header))
            content = reply.get("content", {})
            if not content:
                assert answer == b""
            for documented, entry in content.items():
                assert headers.get_content_type() == documented
                is_json = documented == "application/json"
                check(document, entry["schema"], json.loads(answer) if is_json else answer.decode())
            tried += 1
    assert tried > len(operations(document))


def _number(text: str, header: Json) -> Json:
    return int(text) if header.get("$ref", "").endswith("/Revision") else text


def test_what_it_shows_as_an_answer_is_the_answer(house: House) -> None:
    document = json.loads(house.call("/openapi.json")[2])
    for path in ("/invocations", "/v1/models/{model}:predict", "/v2/models/infer"):
        operation = document["paths"][path]["post"]
        body = encoded(bodies(operation)[0][1])
        headers = {"Content-Type": "application/json", "X-Mlops-Arm": "old"}
        _, _, answer = house.call(filled(path), body, headers)
        shown = operation["responses"]["200"]["content"]["application/json"]["example"]
        placeholder = document["components"]["headers"]["RequestId"]["example"]
        got = json.loads(answer)
        minted = got.get("id", placeholder)
        assert json.loads(json.dumps(shown).replace(placeholder, minted)) == got


@pytest.mark.parametrize("kind", [Kind.MISMATCH, Kind.MODEL_FAILED, Kind.DEADLINE])
def test_every_failure_has_the_documented_shape(house: House, kind: Kind) -> None:
    document = json.loads(house.call("/openapi.json")[2])
    house.model.failure = kind
    for path, method, operation in operations(document):
        parameters = [follow(document, one)["name"] for one in operation.get("parameters", [])]
        if method != "post" or "X-Mlops-Arm" not in parameters:
            continue
        media, value = bodies(operation)[0]
        _documented(document, house, path, operation, encoded(value), {"Content-Type": media})


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"not JSON", {"Content-Type": "application/json"}),
        (b"", {"Content-Type": "application/json"}),
        (b"<a/>", {"Content-Type": "application/xml"}),
        (b"{}", {"Content-Length": str(10**10), "Content-Type": "application/json"}),
        (b'{"request_id": "x", "reward": 1}', {"Content-Type": "application/json"}),
        (b'{"client_id": "nobody", "reward": 1}', {"Content-Type": "application/json"}),
    ],
    ids=["not JSON", "empty", "XML", "too large", "forged", "unknown"],
)
def test_bad_bodies_are_answered_as_documented(
    house: House, body: bytes, headers: dict[str, str]
) -> None:
    document = json.loads(house.call("/openapi.json")[2])
    for path, method, operation in operations(document):
        if method == "post" and operation["requestBody"].get("required"):
            _documented(document, house, path, operation, body, headers)


def test_refused_feedback_is_answered_as_documented(house: House) -> None:
    document = json.loads(house.call("/openapi.json")[2])
    operation = document["paths"]["/feedback"]["post"]
    media = {"Content-Type": "application/json"}
    for client_id in ("once", "twice", "twice"):
        predict = encoded({"dataframe_split": NAMED})
        house.call("/invocations", predict, {**media, "X-Request-Id": client_id})
    refused: list[tuple[Json, int]] = [
        ({"client_id": "once", "row": 5}, 422),
        ({"client_id": "twice"}, 409),
        ({"client_id": "never"}, 404),
    ]
    for outcome, expected in refused:
        body = encoded({**outcome, "reward": 1})
        assert house.call("/feedback", body, media)[0] == expected
        _documented(document, house, "/feedback", operation, body, media)


def test_an_unknown_model_is_answered_as_documented(house: House) -> None:
    document = json.loads(house.call("/openapi.json")[2])
    for path, method, operation in operations(document):
        if "{model}" in path:
            body = b"{}" if method == "post" else None
            _documented(document, house, path.replace("{model}", "nope"), operation, body, {})


def _documented(
    document: Json,
    house: House,
    path: str,
    operation: Json,
    body: bytes | None,
    headers: Mapping[str, str],
) -> None:
    """Check that a failure has a status and a body that the document knows."""
    status, answered, answer = house.call(filled(path), body, headers)
    assert status >= 400, (path, answer)
    reply = follow(document, operation["responses"][str(status)])
    schema = reply["content"][answered.get_content_type()]["schema"]
    is_json = answered.get_content_type() == "application/json"
    check(document, schema, json.loads(answer) if is_json else answer.decode())


@pytest.mark.parametrize("house", [TOKEN], indirect=True)
def test_with_a_token_the_document_tells_which_paths_ask_for_it(house: House) -> None:
    document = json.loads(house.call("/openapi.json")[2])
    assert document["security"] == [{"bearer": []}]
    stranger = replace(house, token="")
    for path, method, operation in operations(document):
        status, headers, _ = stranger.call(filled(path), b"{}" if method == "post" else None)
        is_open = operation.get("security") == []
        assert (status == 401) is not is_open, path
        assert ("401" in operation["responses"]) is not is_open
        assert is_open or headers["WWW-Authenticate"] == "Bearer"


def test_without_a_token_the_document_names_no_security() -> None:
    text = json.dumps(build(COLUMNS, NAMED).document())
    assert "bearer" not in text
    assert '"401"' not in text


# The page


def page(house: House) -> str:
    return house.call("/docs")[2].decode()


def test_the_page_loads_nothing_from_elsewhere(house: House) -> None:
    status, headers, body = house.call("/docs")
    text = body.decode()
    assert status == 200
    own = re.sub(r'<script type="application/json".*', "", text)
    assert not re.search(r"https?:|[\"'(]//[a-z]|@import", own)
    assert not re.search(r"url\(|\ssrc=", own.split("<script")[0])
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy
    assert "unsafe" not in policy


def test_the_page_embeds_the_document_and_no_markup_of_names(house: House) -> None:
    text = page(house)
    embedded = re.search(r'<script type="application/json" id="document">(.*?)</script>', text)
    assert embedded
    assert json.loads(embedded[1]) == json.loads(house.call("/openapi.json")[2])
    assert text.count("</script>") == 2
    assert "<img" not in text


# The page in a browser


def click(browser: Chrome, selector: str) -> str:
    """Press a button of the page; return the answer that then stands below it."""
    box = selector.rpartition(" ")[0]
    browser.execute_script("document.querySelector(arguments[0]).click()", selector)
    for _ in range(200):
        text: str = browser.execute_script(
            "return document.querySelector(arguments[0] + ' .result').innerText", box
        )
        if text and "Sending" not in text:
            return text
        time.sleep(0.05)
    raise AssertionError(f"No answer below `{selector}`.")


def complaints(browser: Chrome) -> list[Json]:
    """What the browser's console says: errors of the script, and what the policy forbade."""
    entries: list[Json] = browser.get_log("browser")  # type: ignore[no-untyped-call] # selenium's
    return entries


def test_the_two_steps_of_feedback_work_in_the_page(house: House, browser: Chrome) -> None:
    browser.get(house.url + "/docs")
    assert browser.title == "wine · API"
    assert browser.execute_script("return document.querySelector('#step-2 .go').disabled")
    answer = click(browser, "#step-1 .go")
    assert "200 OK" in answer
    assert '{"predictions": [5.6]}' in answer
    assert re.search(r"x-mlops-request-id\s+[A-Za-z0-9_-]{48}", answer)
    answer = click(browser, "#step-2 .go")
    assert '"accepted": 1' in answer
    assert complaints(browser) == []


def test_every_operation_can_be_tried_in_the_page(house: House, browser: Chrome) -> None:
    browser.get(house.url + "/docs")
    click(browser, "#step-1 .go")
    for path, method, operation in operations(house.document()):
        identity = f"#op-{operation['operationId']}"
        browser.execute_script("document.querySelector(arguments[0]).open = true", identity)
        time.sleep(0.05)
        answer = click(browser, f"{identity} .go")
        assert answer.startswith("200 "), (path, method, answer)
        # Unfold everything, twice for what is folded inside.
        for _ in range(3):
            browser.execute_script(
                "document.querySelectorAll(arguments[0] + ' .fold').forEach(f => f.open = true)",
                identity,
            )
            time.sleep(0.02)
    assert browser.title == "wine · API"
    assert browser.execute_script("return document.images.length") == 0
    assert complaints(browser) == []


def test_an_arm_can_be_asked_in_the_page(house: House, browser: Chrome) -> None:
    browser.get(house.url + "/docs#op-invocations")
    time.sleep(0.1)
    browser.execute_script(
        "[...document.querySelectorAll('#op-invocations select')]"
        ".find(s => [...s.options].some(o => o.value === 'new')).value = 'new'"
    )
    assert re.search(r"x-mlops-arm\s+new", click(browser, "#op-invocations .go"))


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_its_window(house: House, browser: Chrome, width: int) -> None:
    window = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", window)
    browser.get(house.url + "/docs")
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    time.sleep(0.3)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("house", ["", TOKEN], indirect=True, ids=["open", "token"])
def test_the_shell_script_of_the_page_works(house: House, browser: Chrome, tmp_path: Path) -> None:
    require("curl", shutil.which("curl") and shutil.which("bash"), "curl or bash is not on PATH")
    if house.token:
        browser.execute_cdp_cmd("Network.enable", {})
        headers = {"headers": {"Authorization": f"Bearer {house.token}"}}
        browser.execute_cdp_cmd("Network.setExtraHTTPHeaders", headers)
    browser.get(house.url + "/docs")
    browser.execute_script("document.querySelector('.script details').open = true")
    time.sleep(0.1)
    script = browser.execute_script("return document.querySelector('#script').textContent")
    assert house.token not in script or not house.token
    environment = {"MLOPS_TOKEN": house.token, "PATH": "/usr/bin:/bin", "HOME": "/"}
    done = subprocess.run(
        ["bash", "-euc", script], capture_output=True, cwd=tmp_path, env=environment, check=True
    )
    assert json.loads(done.stdout)["counts"] == {"accepted": 1}
