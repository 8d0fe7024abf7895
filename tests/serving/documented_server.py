"""A server with its OpenAPI document and page, for any signature."""

from __future__ import annotations

import asyncio
import json
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
from mlops.serving.shadows import Shadows
from mlops.spec.deployment import Arm, DeploymentSpec, Revision
from mlops.spec.model import ModelVersion
from mlops.spec.server import Served
from mlops.tables.signature import Column, Signature

if TYPE_CHECKING:
    pass


GUARD = Guard("127.0.0.1", ())
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
