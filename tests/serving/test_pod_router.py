"""`--router` without a cluster: the rendered ConfigMap, our server as its container runs it, and
model servers behind it.

The revision is the one that is rendered. In it, and in nothing else, the host names that a
cluster's DNS would know are replaced by ports of this machine. Behind KServe's are two real model
servers, as the rendered ServingRuntime runs them. In place of Seldon's executor and of its Envoy is
a stand-in that checks what they route by and passes it on to the same two.
"""

from __future__ import annotations

import json
import re
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlops.deployment.targets import TARGETS, Rendered
from mlops.deployment.targets.kubernetes import config
from mlops.journal.sql import SqlJournal
from mlops.journal.url import journal_url
from mlops.spec.deployment import Arm, DeploymentSpec, Shadow
from mlops.spec.model import ModelVersion
from tests.deployment.matrix import options
from tests.servers import unused_port
from tests.serving.models import COLUMNS, ROWS
from tests.serving.pods import Pod, can_confine, get, new_pod, post
from tests.waiting import wait_until

BODY = {"dataframe_split": {"columns": list(COLUMNS), "data": ROWS[:1]}}
_HOST = re.compile(r'"remote": "(?:v2|seldon)\+http://([^/"]+)')


def model(version: int) -> ModelVersion:
    return ModelVersion("m", f"wine/{version}", f"s3://models/{version}", "wine", version)


SPEC = DeploymentSpec(
    "wine",
    (Arm("modelA", model(1), 0.5), Arm("modelB", model(2), 0.5)),
    sticky_by="header:X-Customer",
    shadows=(Shadow("copy", model(2)),),
)


def rendered(target: str, spec: DeploymentSpec = SPEC) -> Rendered:
    given = options(target, cluster_router=True, cluster_namespace="shop")
    made: Rendered = TARGETS.load(target)().render(spec, replace(given, revision=3))
    return made


def revision(made: Rendered) -> str:
    text: str = yaml.safe_load(made.files["configmap.yaml"])["data"]["revision.json"]
    return text


def here(made: Rendered, ports: Mapping[str, int]) -> Any:
    """Return the rendered revision with the hosts of arms replaced by this machine's.

    Args:
        made: What was rendered.
        ports: Name of an arm or shadow to the port that stands for its host.
    """
    found = json.loads(revision(made))
    for each in (*found["spec"]["arms"], *found["spec"]["shadows"]):
        remote = each["model"]["remote"]
        host = re.sub(r"//[^/]+", f"//127.0.0.1:{ports[each['name']]}", remote, count=1)
        each["model"]["remote"] = host
    return found


@contextmanager
def model_server(pod: Pod, path: Path, port: int) -> Iterator[None]:
    """Run a model as the ServingRuntime does."""
    environment = {
        "MLSERVER_MODEL_NAME": "wine",
        "MLSERVER_MODEL_URI": str(path),
        "MLSERVER_HTTP_PORT": str(port),
    }
    with pod.running(port, "model", "--host=127.0.0.1", **environment):
        yield


@dataclass(frozen=True)
class Behind:
    """The two models, and the second one's server, which runs only when it is started."""

    first: int
    second: int
    start_second: Callable[[], None]


@pytest.fixture(scope="module")
def behind(models: dict[str, Path]) -> Iterator[Behind]:
    # As the user that runs the tests: the models' folder is closed to others.
    with new_pod({}, confined=False) as pod, ExitStack() as stack:
        first, second = unused_port(), unused_port()
        stack.enter_context(model_server(pod, models["a"], first))
        started: list[int] = []

        def start() -> None:
            if not started:
                stack.enter_context(model_server(pod, models["b"], second))
                started.append(second)

        yield Behind(first, second, start)


def drawn(port: int, arm: str, **headers: str) -> int:
    """Predict until the arm is drawn; return the status."""
    for _ in range(100):
        try:
            _, got = post(port, "/invocations", BODY, **headers)
            status = 200
        except urllib.error.HTTPError as error:
            got = {key.lower(): value for key, value in error.headers.items()}
            status = error.code
            error.close()
        if got["x-mlops-arm"] == arm:
            return status
    raise AssertionError(f"{arm} was never drawn")


def credited(pod: Pod) -> dict[str, int]:
    """Count the outcomes of each arm in the pod's journal."""
    journal = SqlJournal(journal_url(f"sqlite:///{pod.folder / 'journal/journal.db'}", "wine"))
    try:
        found = Counter(each.arm for each in journal.observations() if each.truth is not None)
        return {arm.name: found[index] for index, arm in enumerate(SPEC.arms)}
    finally:
        journal.close()


def test_kserve_splits_and_credits_and_an_arm_may_be_away(
    behind: Behind, tmp_path: Path, free_port: int
) -> None:
    made = rendered("kserve")
    hosts = _HOST.findall(revision(made))
    names = [yaml.safe_load(text)["metadata"]["name"] for text in made.files.values()]
    assert hosts == [f"{n}-predictor.shop.svc" for n in names if re.match("wine-(model|copy)", n)]
    ports = {"modelA": behind.first, "modelB": behind.second, "copy": behind.first}
    with (
        new_pod(here(made, ports), confined=can_confine()) as pod,
        pod.running(free_port, "serve", *pod.places(free_port)),
    ):
        # It is ready, and one arm answers, while the other is away.
        assert drawn(free_port, "modelA") == 200
        assert drawn(free_port, "modelB") in (502, 503)
        behind.start_second()
        wait_until(lambda: drawn(free_port, "modelB") == 200, 20)
        # What the arms take is known, though it was not when it started.
        wait_until(lambda: get(free_port, "/v2/models/wine")["inputs"], 20)
        assert [each["name"] for each in get(free_port, "/v2/models/wine")["inputs"]] == [*COLUMNS]
        assert get(free_port, "/v2/models/wine")["versions"] == ["modelA", "modelB"]

        arms: Counter[str] = Counter()
        values: dict[str, set[float]] = {}
        for _ in range(40):
            answer, headers = post(free_port, "/invocations", BODY)
            arm = headers["x-mlops-arm"]
            arms[arm] += 1
            values.setdefault(arm, set()).add(round(answer["predictions"][0], 6))
            if arm == "modelA":
                truth = {"request_id": headers["x-mlops-request-id"], "truth": 6}
                said, _ = post(free_port, "/feedback", truth)
                assert said["outcome"]["arm"] == "modelA"
        # Two different models answer, each as itself.
        assert arms.keys() == {"modelA", "modelB"}
        assert [len(found) for found in values.values()] == [1, 1]
        assert values["modelA"] != values["modelB"]
        wait_until(lambda: credited(pod) == {"modelA": arms["modelA"], "modelB": 0})

        by_customer = {
            customer: {
                post(free_port, "/invocations", BODY, **{"x-customer": customer})[1]["x-mlops-arm"]
                for _ in range(5)
            }
            for customer in map(str, range(12))
        }
        assert {len(found) for found in by_customer.values()} == {1}
        assert set().union(*by_customer.values()) == {"modelA", "modelB"}
        with urllib.request.urlopen(f"http://127.0.0.1:{free_port}/metrics") as answered:
            metrics = answered.read().decode()
        assert re.search(r'mlops_shadow_requests_total\{[^}]*shadow="copy"', metrics), metrics


class _Seldon(BaseHTTPRequestHandler):
    """Stands in for what Seldon has before a model: refuses what that would not route.

    The path of the executor names the graph's node. Envoy routes by the header `seldon-model`
    alone; the agent behind it gives the model the name that it has there.
    """

    protocol_version = "HTTP/1.1"
    routes: Mapping[str, int] = {}
    service = ""
    seen: list[tuple[str, str]] = []  # noqa: RUF012 - emptied by the test

    def do_GET(self) -> None:
        self._pass(None)

    def do_POST(self) -> None:
        self._pass(self.rfile.read(int(self.headers["content-length"])))

    def _pass(self, body: bytes | None) -> None:
        _, _, _, name, *rest = self.path.split("/")
        route = self.headers.get("seldon-model") or self.service
        self.seen.append((route, name))
        port = self.routes.get(route)
        if port is None:
            self._answer(404, b"")
            return
        url = "/".join((f"http://127.0.0.1:{port}/v2/models/wine", *rest))
        request = urllib.request.Request(url, body, {"content-type": "application/json"})
        with urllib.request.urlopen(request) as answered:
            self._answer(answered.status, answered.read())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def seldon(routes: Mapping[str, int], name: str = "") -> Iterator[int]:
    """Run the stand-in, as a Service called `name`; return its port."""
    handler = type("Handler", (_Seldon,), {"routes": routes, "service": name})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("target", ["seldon", "seldon2"])
def test_seldon_is_asked_by_what_it_routes_by(target: str, behind: Behind, free_port: int) -> None:
    behind.start_second()
    spec = replace(SPEC, shadows=())
    made = rendered(target, spec)
    hosts = _HOST.findall(revision(made))
    upstream = {"modelA": behind.first, "modelB": behind.second}
    _Seldon.seen.clear()
    with ExitStack() as stack:
        if target == "seldon":
            assert [re.sub("-[0-9a-f]{6}-", "-", host) for host in hosts] == [
                "wine-model-a-default.shop.svc:8000",
                "wine-model-b-default.shop.svc:8000",
            ]
            pairs = zip(upstream.items(), hosts, strict=True)
            ports = {
                arm: stack.enter_context(seldon({host: port}, host)) for (arm, port), host in pairs
            }
        else:
            assert set(hosts) == {"seldon-mesh.shop.svc"}
            names = [
                document["metadata"]["name"]
                for document in map(yaml.safe_load, made.files.values())
                if document["kind"] == "Model"
            ]
            routes = dict(zip(names, upstream.values(), strict=True))
            ports = dict.fromkeys(upstream, stack.enter_context(seldon(routes)))
        pod = stack.enter_context(new_pod(here(made, ports), confined=False))
        stack.enter_context(pod.running(free_port, "serve", *pod.places(free_port)))
        answers = [post(free_port, "/invocations", BODY) for _ in range(20)]
        by_arm = {headers["x-mlops-arm"]: answer["predictions"] for answer, headers in answers}
        assert len(by_arm) == 2
        assert by_arm["modelA"] != by_arm["modelB"]
        _, headers = answers[0]
        said, _ = post(
            free_port, "/feedback", {"request_id": headers["x-mlops-request-id"], "truth": 6}
        )
        assert said["outcome"]["arm"] == headers["x-mlops-arm"]
    # The name in the path is that of the graph's node, or of the Model.
    assert {name for _, name in _Seldon.seen} == ({"model"} if target == "seldon" else set(names))


def test_the_revision_says_nothing_of_where_its_models_are_if_it_loads_them() -> None:
    """A revision that names no server is read as before."""
    document = config(SPEC, options())
    assert {each["model"]["remote"] for each in document["spec"]["arms"]} == {""}
