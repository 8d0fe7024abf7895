"""A real server process on a free port of this machine, and a plain client for it."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

from prometheus_client.parser import text_string_to_metric_families

from mlops.journal.records import Observation
from mlops.journal.sql import SqlJournal
from mlops.journal.url import journal_url
from mlops.spec.deployment import Arm, DeploymentSpec, Revision
from mlops.spec.model import ModelVersion
from mlops.spec.request_id import read
from mlops.spec.server import Launch, Served, ServerState, read_state, served_to_dict, write_launch
from tests.servers import unused_port
from tests.waiting import wait_until

Json: TypeAlias = Any
_START_TIMEOUT_S = 240.0
_STOP_TIMEOUT_S = 20.0
# The server closes connections that idle for 30 s.
_MAX_IDLE_S = 15.0
KEY = bytes(range(32))


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP answer; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Json:
        return json.loads(self.body)

    @property
    def request_id(self) -> str:
        return self.headers["x-mlops-request-id"]

    @property
    def arm(self) -> str:
        return self.headers["x-mlops-arm"]


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over the administration socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(self._path)


class Server:
    """One server process in a folder of its own, and what can be asked of it."""

    def __init__(self, launch: Launch, folder: Path) -> None:
        self.launch = launch
        self.folder = folder
        self._log = (folder / "log").open("ab")
        self._connection: http.client.HTTPConnection | None = None
        self._used_s = 0.0
        write_launch(launch, folder / "launch.json")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mlops.serving", str(folder / "launch.json")],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )

    @property
    def port(self) -> int:
        return self.state.launch.port

    @property
    def state(self) -> ServerState:
        return read_state(Path(self.launch.state_file))

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def wait(self) -> Server:
        """Return once the server is ready."""
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log
            if Path(self.launch.state_file).exists() and self.state.pid == self.process.pid:
                return self
            time.sleep(0.02)
        raise AssertionError(f"not ready in time:\n{self.log}")

    def call(
        self,
        method: str,
        path: str,
        body: Json = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send one request over a kept connection; what is not bytes or text goes as JSON."""
        if not isinstance(body, bytes | None):
            body = json.dumps(body).encode()
        if time.monotonic() > self._used_s + _MAX_IDLE_S:
            self.hang_up()
        self._used_s = time.monotonic()
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            return _exchange(self._connection, method, path, body, headers or {})
        except BaseException:
            self.hang_up()
            raise

    def post(self, path: str, body: Json, **headers: str) -> Reply:
        """Post JSON; keywords are headers with `_` for `-`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.call("POST", path, body, {"content-type": "application/json", **named})

    def get(self, path: str, **headers: str) -> Reply:
        return self.call("GET", path, None, headers)

    def predict(self, rows: Json, **headers: str) -> Reply:
        """Predict through MLflow's door, which has the least around it."""
        return self.post("/invocations", {"dataframe_records": rows}, **headers)

    def admin(self, method: str, path: str, document: Json = None) -> Reply:
        connection = _UnixConnection(self.launch.socket)
        with contextlib.closing(connection):
            if not isinstance(document, bytes | None):
                document = json.dumps(document).encode()
            return _exchange(connection, method, path, document, {})

    def swap(self, served: Served) -> Reply:
        return self.admin("POST", "/revision", served_to_dict(served))

    def metrics(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        """Every sample of `/metrics`, by name and labels without the deployment's."""
        text = self.get("/metrics").body.decode()
        return {
            (
                sample.name,
                tuple(sorted(item for item in sample.labels.items() if item[0] != "deployment")),
            ): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def journal(self) -> SqlJournal:
        """Open the journal for reading, once everything sent so far is in it."""
        wait_until(lambda: not self.admin("GET", "/status").json["pending"])
        return SqlJournal(journal_url(self.launch.journal_url, self.launch.name))

    def hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def kill(self) -> None:
        """End it as a power cut would, as far as a process can tell."""
        self.hang_up()
        self.process.kill()
        self.process.wait()
        self._log.close()

    def stop(self) -> int:
        """Ask it to stop in good order; return its exit code."""
        self.hang_up()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(_STOP_TIMEOUT_S)
        finally:
            self.kill()


def observations(server: Server, reply: Reply) -> list[Observation]:
    """What the journal holds about one prediction."""
    nonce = read(KEY, reply.request_id).nonce
    journal = server.journal()
    try:
        return [o for o in journal.observations() if o.nonce == nonce]
    finally:
        journal.close()


def _exchange(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | None,
    headers: Mapping[str, str],
) -> Reply:
    connection.request(method, path, body, dict(headers))
    response = connection.getresponse()
    return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())


def make_launch(
    folder: Path, served: Served, *, port: int = 0, token: str = "", grpc: bool = False
) -> Launch:
    """Settle a server that lives in `folder`, with a fixed key, on a free port by default."""
    key_file = folder / "key"
    key_file.write_bytes(KEY)
    key_file.chmod(0o600)
    if token:
        (folder / "token").write_text(token + "\n")
    return Launch(
        name=served.revision.spec.name,
        served=served,
        host="127.0.0.1",
        port=port or unused_port(),
        journal_url=f"sqlite:///{folder / 'journal.db'}",
        features="all",
        state_file=str(folder / "state.json"),
        lock_file=str(folder / "lock"),
        key_file=str(key_file),
        token_file=str(folder / "token") if token else "",
        socket=str(folder / "admin.sock"),
        log_file="",
        grpc_port=unused_port() if grpc and find_spec("grpc") else 0,
    )


@contextlib.contextmanager
def running(launch: Launch, folder: Path) -> Iterator[Server]:
    """Run a server until the block ends."""
    server = Server(launch, folder)
    try:
        yield server.wait()
    finally:
        server.kill()


def served(
    models: Mapping[str, Path],
    *,
    number: int = 1,
    weights: Mapping[str, float] | None = None,
    sticky_by: str = "",
    reward: str = "squared-error",
    reward_range: tuple[float, float] | None = None,
    name: str = "wine",
) -> Served:
    """A revision with one arm per model, named after it, of equal weights unless told."""
    arms = tuple(
        Arm(
            arm,
            ModelVersion(ref=arm, label=f"{arm}/1", source=str(path), name=arm, version=1),
            weights[arm] if weights else 1 / len(models),
        )
        for arm, path in models.items()
    )
    spec = DeploymentSpec(name, arms, sticky_by=sticky_by, reward=reward, reward_range=reward_range)
    return Served(Revision(number, spec), tuple(str(path) for path in models.values()))


def reweighted(old: Served, *weights: float) -> Served:
    """The next revision, with other weights."""
    spec = old.revision.spec
    arms = tuple(replace(arm, weight=w) for arm, w in zip(spec.arms, weights, strict=True))
    return replace(old, revision=Revision(old.revision.number + 1, replace(spec, arms=arms)))


def is_private(path: str) -> bool:
    """Whether only its owner may open the file."""
    return Path(path).stat().st_mode & 0o777 == 0o600
