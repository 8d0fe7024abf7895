"""Asks both servers, and says where they differ."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.compatibility.models import Case
from tests.compatibility.payloads import Payload, payloads

_CONNECTIONS = 8


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, and the JSON of the body or its text."""

    status: int
    value: Any


@dataclass(frozen=True, slots=True)
class Comparison:
    """One request to one model, and both answers."""

    model: str
    payload: Payload
    theirs: Answer
    ours: Answer

    @property
    def kind(self) -> str:
        """`same`, `same error`, `200→400` and the like, `NaN is null` or `value`."""
        if self.theirs.status != self.ours.status:
            return f"{self.theirs.status}→{self.ours.status}"
        if self.theirs.status != 200:
            return "same error"
        if same(self.theirs.value, self.ours.value):
            return "same"
        nulled = json.loads(json.dumps(self.theirs.value), parse_constant=lambda _: None)
        return "NaN is null" if same(nulled, self.ours.value) else "value"

    @property
    def path(self) -> str:
        """Names it in the list of differences."""
        return f"{self.model}/{self.payload.name}"


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal, type by type: 1 is not 1.0, and NaN is NaN."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


@dataclass(frozen=True, slots=True)
class Running:
    """Both servers of all models."""

    port: int
    cases: Sequence[Case]
    examples: Sequence[Any]
    idle: list[http.client.HTTPConnection] = field(default_factory=list)

    def compare(self) -> list[Comparison]:
        """Send every payload to both."""
        todo = [(n, case, p) for n, case in enumerate(self.cases) for p in payloads(case)]
        with ThreadPoolExecutor(_CONNECTIONS) as pool:
            return list(pool.map(lambda each: self._both(*each), todo))

    def _both(self, number: int, case: Case, payload: Payload) -> Comparison:
        theirs, ours = (
            self.ask(f"/{server}/{number}/invocations", payload) for server in ("mlflow", "ours")
        )
        return Comparison(case.name, payload, theirs, ours)

    def documented(self, number: int) -> Iterator[tuple[str, str, bytes]]:
        """Yield path, media type and body of every request that a model's OpenAPI page shows."""
        with urllib.request.urlopen(
            f"http://127.0.0.1:{self.port}/ours/{number}/openapi.json"
        ) as page:
            document = json.load(page)
        for path, item in document["paths"].items():
            if "post" not in item or "feedback" in path:
                continue
            content = item["post"].get("requestBody", {}).get("content", {})
            for media, about in content.items():
                for example in about.get("examples", {}).values():
                    value = example["value"]
                    body = value if isinstance(value, str) else json.dumps(value)
                    yield (
                        path.replace("{model}", "m").replace("{version}", "a"),
                        media,
                        body.encode(),
                    )

    def ask(self, path: str, payload: Payload) -> Answer:
        """Send one payload, over a connection that is kept."""
        try:
            connection = self.idle.pop()
        except IndexError:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("POST", path, payload.body, {"content-type": payload.media})
        response = connection.getresponse()
        body = response.read()
        self.idle.append(connection)
        try:
            return Answer(response.status, json.loads(body))
        except ValueError:
            return Answer(response.status, body.decode("utf-8", "replace"))


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Running]:
    """Save the models into a folder, and serve them until the block ends."""
    command = [sys.executable, "-m", "tests.compatibility.serve", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        try:
            found = json.loads(process.stdout.readline())
            cases = [Case(**case) for case in found["cases"]]
            both = Running(found["port"], cases, found["examples"])
            yield both
            for connection in both.idle:
                connection.close()
        finally:
            process.kill()
