"""The wine shop: a trained project, deployed, whose servers are stopped whatever happens.

`shop` runs the A/B test of the two wine models for the whole session: look, ask and send feedback,
but do not change what is deployed. `wine_shop` is a project of one's own with nothing deployed.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import secrets
import shutil
import signal
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mlops.__main__ import run
from mlops.deployment import local
from mlops.deployment.ledgers import open_ledger
from mlops.deployment.runtime_files import Places, is_alive, places, read_server_state
from mlops.policies.drawing import Draws
from mlops.registry.ledger import Ledger
from mlops.settings import Settings, load_settings
from mlops.spec.request_id import nonce_of
from mlops.spec.server import ServerState
from tests import warm_start
from tests.fixtures_training import TrainedWine
from tests.servers import unused_port
from tests.waiting import wait_until

_FOREIGN = ("MLFLOW_", "MLOPS_", "AWS_", "GOOGLE_")
_ENOUGH_S = 120.0


@dataclass(frozen=True, slots=True)
class Said:
    """What a command said.

    Attributes:
        code: Its exit code.
        out: Its stdout.
        err: Its stderr.
    """

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON document on stdout."""
        document: dict[str, Any] = json.loads(self.out)
        assert document["schema_version"] == 1
        return document

    @property
    def error(self) -> dict[str, Any]:
        """The error in it, which says the exit code that the command had."""
        error: dict[str, Any] = self.document["error"]
        assert error["exit_code"] == self.code
        return error


@dataclass(frozen=True, slots=True)
class Shop:
    """A project folder and how to work in it.

    Attributes:
        folder: The project.
        name: Its deployment.
    """

    folder: Path
    name: str = "wine"
    environ: dict[str, str] = field(default_factory=dict)

    def run(self, *words: str, stdin: str = "") -> Said:
        """Run `mlops` here, in this process."""
        out, err = io.StringIO(), io.StringIO()
        source = io.TextIOWrapper(io.BytesIO(stdin.encode()), encoding="utf-8")
        with (
            contextlib.chdir(self.folder),
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            for name in [name for name in os.environ if name.startswith(_FOREIGN)]:
                patch.delenv(name)
            for name, value in self.environ.items():
                patch.setenv(name, value)
            patch.setattr("sys.stdin", source)
            code = run(list(words))
        return Said(code, out.getvalue(), err.getvalue())

    def ok(self, *words: str, stdin: str = "") -> Said:
        """Run `mlops` here; it must succeed."""
        said = self.run(*words, stdin=stdin)
        assert said.code == 0, f"{words}: {said.code}\n{said.out}\n{said.err}"
        return said

    @property
    def settings(self) -> Settings:
        """The project's settings, nothing taken from the developer's environment."""
        return load_settings(self.folder, environ=self.environ)

    @property
    def where(self) -> Places:
        """The deployment's files."""
        return places(self.settings, self.name)

    @property
    def state(self) -> ServerState:
        """What the server last said of itself."""
        state = read_server_state(self.where)
        assert state is not None
        return state

    @property
    def ledger(self) -> Ledger:
        """The deployment's ledger."""
        return open_ledger(self.settings, self.name)

    def post(self, path: str, document: object, **headers: str) -> tuple[Any, dict[str, str]]:
        """Send JSON to the server; return the answer and its headers, names in lower case."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(
            f"{self.state.url}{path}",
            json.dumps(document).encode(),
            {"content-type": "application/json", **named},
        )
        with urllib.request.urlopen(request, timeout=_ENOUGH_S) as answer:
            return json.loads(answer.read()), {k.lower(): v for k, v in answer.getheaders()}

    def ask(self, **headers: str) -> tuple[str, str]:
        """Ask for one prediction; return the request id and the arm."""
        _, said = self.post("/invocations", self.state.request, **headers)
        return said["x-mlops-request-id"], said["x-mlops-arm"]

    def ask_evenly(self, n: int, shares: Sequence[float] = (0.5, 0.5)) -> Iterator[tuple[str, str]]:
        """Ask for `n` predictions whose arms keep to their shares all the way."""
        key = self.where.key.read_bytes()
        return even_requests(lambda retry: self.ask(idempotency_key=retry), key, n, shares)

    def kill(self) -> None:
        """Let the server die as in a crash."""
        os.kill(self.state.pid, signal.SIGKILL)
        wait_until(lambda: not is_alive(self.where))

    def close(self) -> None:
        """Let no server of this project outlive the test."""
        for lock in (self.folder / ".mlops" / "run").glob("*.lock"):
            where = Places(lock.stem, lock.parent)
            deadline = time.monotonic() + _ENOUGH_S
            while is_alive(where) and time.monotonic() < deadline:
                state = read_server_state(where)
                # One that starts has not said its process yet.
                if state is not None and state.stopped_ms is None:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(state.pid, signal.SIGKILL)
                time.sleep(0.05)
            assert not is_alive(where), f"a server of {where} is left"
        for process in local._LEFT_RUNNING:
            process.poll()


def even_requests(
    ask: Callable[[str], tuple[str, str]],
    key: bytes,
    n: int,
    shares: Sequence[float] = (0.5, 0.5),
) -> Iterator[tuple[str, str]]:
    """Send requests whose arms keep to their shares all the way; yield the id and arm of each.

    By chance alone the split is in doubt at one look of 20, and a verdict then waits; a mismatch at
    any time stays one. Nothing is forced: each request has an idempotency key that is drawn until
    it falls to the arm that is furthest behind.

    Args:
        ask: Sends one with an idempotency key.
        key: The key of the deployment, by which that decides.
        n: How many.
        shares: Of the arms, in their order.
    """
    draws = Draws(shares)
    counts = [0] * len(shares)
    for number in range(1, n + 1):
        due = max(range(len(shares)), key=lambda arm: number * shares[arm] - counts[arm])
        while True:
            retry = secrets.token_hex(8)
            if draws.choose(int.from_bytes(nonce_of(key, retry)[-8:], "big") / 2**64).arm == due:
                break
        counts[due] += 1
        yield ask(retry)


def open_shop(trained: TrainedWine, folder: Path) -> Shop:
    """Copy the trained project to `folder`; its models stay where they are."""
    shutil.copytree(trained.folder, folder, ignore=shutil.ignore_patterns("artifacts", "logs"))
    return Shop(folder)


@pytest.fixture
def wine_shop(trained_wine: TrainedWine, tmp_path: Path) -> Iterator[Shop]:
    """Return a trained project of one's own, with nothing deployed."""
    opened = open_shop(trained_wine, tmp_path / "wine")
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def shop(trained_wine: TrainedWine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Return a running A/B test of both models. Do not change what is deployed."""
    opened = open_shop(trained_wine, tmp_path_factory.mktemp("shop") / "wine")
    try:
        opened.ok("deploy", "--ab", "modelA", "modelB")
        yield opened
    finally:
        opened.close()


@pytest.fixture
def eager_consumers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let servers start the process of their consumers at once instead of after 3 s."""
    warm_start.set_in_servers(monkeypatch, {"mlops.serving.consumer_process._DELAY_S": 0.1})


@pytest.fixture
def free_port() -> int:
    """Return an unused port."""
    return unused_port()
