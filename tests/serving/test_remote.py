"""Arms whose model is in another server: a server of ours, asked in all four protocols."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from mlops.journal.records import Traffic
from mlops.protocols.base import ProtocolError, Records
from mlops.serving.models.remote import RemoteModel
from mlops.spec.deployment import Arm, DeploymentSpec, Revision, Shadow
from mlops.spec.endpoint import parse_endpoint
from mlops.spec.model import ModelVersion
from mlops.spec.refs import parse_ref
from mlops.spec.server import Served
from tests.servers import unused_port
from tests.serving.models import COLUMNS, ROWS, records
from tests.serving.server import Server, make_launch, running, served
from tests.waiting import wait_until

Json: TypeAlias = Any
TOKEN = "a token of sixteen characters and more"


def endpoint(name: str, ref: str, weight: float = 0.0) -> Arm:
    text = parse_ref(ref).text
    return Arm(name, ModelVersion(ref, text.partition("#")[0], text), weight)


def refs(port: int, name: str) -> dict[str, str]:
    return {
        "v2": f"v2+http://127.0.0.1:{port}/v2/models/{name}",
        "kserve": f"kserve+http://127.0.0.1:{port}/v1/models/{name}",
        "seldon": f"seldon+http://127.0.0.1:{port}",
        "mlflow": f"mlflow+http://127.0.0.1:{port}",
    }


@pytest.fixture(scope="module")
def upstream(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One model, model `a` of the arms."""
    folder = tmp_path_factory.mktemp("upstream")
    launch = make_launch(folder, served({"a": models["a"]}, name="up"))
    with running(launch, folder) as process:
        yield process


class _Rude(BaseHTTPRequestHandler):
    """Answers in the way that the path asks for."""

    protocol_version = "HTTP/1.1"
    seen: list[tuple[str, str]] = []  # noqa: RUF012 - emptied by the fixture

    def do_GET(self) -> None:
        self._answer(200, b"{}")

    def do_POST(self) -> None:
        how = self.path.split("/")[1]
        if how != "fine":
            self.seen.append((how, self.headers.get("authorization", "")))
        self.rfile.read(int(self.headers["content-length"]))
        if how == "redirect":
            self._answer(302, b"", location="/ok")
        elif how == "huge":
            self.send_response(200)
            self.end_headers()
            try:
                for _ in range(70):
                    self.wfile.write(b" " * 2**20)
            except OSError:
                pass
            self.close_connection = True
        elif how == "hang-up":
            self.close_connection = True
        elif how == "nonsense":
            self._answer(200, b"<html>hello</html>")
        elif how in ("short", "fine"):
            self._answer(200, b'{"predictions": [1.0]}')
        else:
            self._answer(int(how), json.dumps({"error": f"because {how}"}).encode())

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        return


MANNERS = {
    "redirect": (502, "redirects are not followed"),
    "huge": (502, "more than 67,108,864 bytes"),
    "hang-up": (502, "closed the connection"),
    "nonsense": (502, "not JSON"),
    "short": (500, "1 rows to a request of 4"),
    "400": (400, "because 400"),
    "422": (400, "because 422"),
    "401": (502, "refused our credentials"),
    "404": (502, "because 404"),
    "500": (502, "because 500"),
    "503": (503, "because 503"),
    "504": (504, "because 504"),
}


@pytest.fixture(scope="module")
def rude() -> Iterator[int]:
    """A server that misbehaves; return its port."""
    _Rude.seen.clear()
    with misbehaving(0) as port:
        yield port


@contextlib.contextmanager
def misbehaving(port: int) -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", port), _Rude)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def down() -> int:
    """A port that is unused until a test listens on it."""
    return unused_port()


@pytest.fixture(scope="module")
def router(
    models: dict[str, Path],
    upstream: Server,
    rude: int,
    down: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    """The model itself as arm `here`, and four ways to the same model in the other server.

    Half of the traffic goes to `down`, which is. Testers find an arm for each of the manners, and
    every request is copied to the other server.
    """
    folder = tmp_path_factory.mktemp("router")
    ways = refs(upstream.port, "up")
    arms = (
        Arm("here", ModelVersion("a", "a/1", str(models["a"])), 0.5),
        endpoint("down", f"mlflow+http://127.0.0.1:{down}/fine", 0.5),
        *(endpoint(name, ref) for name, ref in ways.items()),
        *(
            endpoint(how, f"mlflow+http://127.0.0.1:{rude}/{how}#token=RUDE_TOKEN")
            for how in MANNERS
        ),
    )
    shadows = (Shadow("copy", endpoint("copy", ways["v2"]).model),)
    spec = DeploymentSpec("wine", arms, shadows=shadows)
    paths = (str(models["a"]), *("" for _ in arms[1:]), "")
    launch = make_launch(folder, Served(Revision(1, spec), paths))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUDE_TOKEN", TOKEN)
        with running(launch, folder) as process:
            yield process


def routed(model: Path, away: dict[str, str]) -> Served:
    """The model itself, and endpoints, as revision 2."""
    here = Arm("here", ModelVersion("a", "a/1", str(model)), 1.0)
    arms = (here, *(endpoint(name, ref) for name, ref in away.items()))
    return Served(Revision(2, DeploymentSpec("wine", arms)), (str(model), *("" for _ in away)))


ARMS = ("v2", "kserve", "seldon", "mlflow")
#: Every form of rows, through the door that has it.
BODIES: dict[str, tuple[str, Json]] = {
    "records": ("/invocations", {"dataframe_records": records(ROWS)}),
    "split": ("/invocations", {"dataframe_split": {"columns": COLUMNS, "data": ROWS}}),
    "shuffled": (
        "/invocations",
        {
            "dataframe_split": {
                "columns": COLUMNS[::-1],
                "data": [row[::-1] for row in ROWS],
            }
        },
    ),
    "unnamed": ("/invocations", {"dataframe_split": {"data": ROWS}}),
    "array": ("/invocations", {"inputs": ROWS}),
    "columns": (
        "/invocations",
        {"inputs": {name: [row[i] for row in ROWS] for i, name in enumerate(COLUMNS)}},
    ),
    "v2 columns": (
        "/v2/models/wine/infer",
        {
            "inputs": [
                {
                    "name": name,
                    "shape": [len(ROWS), 1],
                    "datatype": "FP64",
                    "data": [row[i] for row in ROWS],
                }
                for i, name in enumerate(COLUMNS)
            ]
        },
    ),
    "v2 array": (
        "/v2/models/wine/infer",
        {
            "inputs": [
                {
                    "name": "x",
                    "shape": [len(ROWS), 3],
                    "datatype": "FP64",
                    "data": [cell for row in ROWS for cell in row],
                }
            ]
        },
    ),
    "seldon": ("/api/v1.0/predictions", {"data": {"names": COLUMNS, "ndarray": ROWS}}),
    "kserve": ("/v1/models/wine:predict", {"instances": ROWS}),
}


def values(answer: Json) -> list[float]:
    """The predictions in an answer of any of the protocols."""
    if "predictions" in answer:
        found = answer["predictions"]
    elif "outputs" in answer:
        found = answer["outputs"][0]["data"]
    else:
        found = answer["data"]["ndarray"]
    return [cell[0] if isinstance(cell, list) else cell for cell in found]


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("arm", ARMS)
def test_an_endpoint_answers_as_the_model_itself(router: Server, body: str, arm: str) -> None:
    path, document = BODIES[body]
    expected = router.post(path, document, x_mlops_arm="here")
    answer = router.post(path, document, x_mlops_arm=arm)
    assert answer.status == expected.status == 200, answer.body
    assert values(answer.json) == pytest.approx(values(expected.json))
    assert answer.arm == arm


@pytest.mark.parametrize("arm", ARMS)
def test_what_the_endpoint_refuses_is_refused(router: Server, arm: str) -> None:
    rows = [{"fixed acidity": "much", "alcohol": 9.0, "sulphates": 0.5}]
    answer = router.predict(rows, x_mlops_arm=arm)
    assert answer.status == 400
    message = answer.json["message"]
    assert f"`{arm}`" in message
    assert "fixed acidity" in message


def test_it_is_seen_that_they_are_up(router: Server) -> None:
    wait_until(lambda: ("mlops_endpoint_up", (("arm", "v2"),)) in router.metrics())
    metrics = router.metrics()
    assert [metrics[("mlops_endpoint_up", (("arm", arm),))] for arm in ARMS] == [1.0] * 4
    arms = router.admin("GET", "/status").json["arms"][:6]
    assert [arm["path_taken"] for arm in arms] == ["numpy", *["remote"] * 5]
    assert [arm["up"] for arm in arms] == [None, False, *[True] * 4]


# One that is down.


def test_one_that_is_down_breaks_no_other(router: Server, down: int) -> None:
    before = {each.arm: each for each in traffic(router)}
    # It came up although the endpoint is away, and says so.
    position = [arm.name for arm in router.launch.served.revision.spec.arms].index("down")
    assert "cannot be reached" in router.state.notes[position][0]
    by_arm: dict[str, set[int]] = {"here": set(), "down": set()}
    for _ in range(60):
        answer = router.predict(records(ROWS))
        by_arm[answer.arm].add(answer.status)
        if answer.status != 200:
            assert "The endpoint of `down`" in answer.json["message"]
    assert by_arm["here"] == {200}
    # Now and then it is asked; mostly it is left alone.
    assert 503 in by_arm["down"]
    assert by_arm["down"] <= {502, 503}
    up = ("mlops_endpoint_up", (("arm", "down"),))
    wait_until(lambda: router.metrics().get(up) == 0)
    with misbehaving(down):
        wait_until(lambda: router.predict(records(ROWS[:1]), x_mlops_arm="down").status == 200)
        assert {router.predict(records(ROWS[:1])).status for _ in range(30)} == {200}
        wait_until(lambda: router.metrics()[up] == 1, 20)
    after = {each.arm: each for each in traffic(router)}
    # Nothing was given to the other arm in its stead.
    assert after[0].errors == 0
    assert after[position].errors > 0
    drawn = [after[arm].drawn - (before[arm].drawn if arm in before else 0) for arm in after]
    assert sum(drawn) == 90


def traffic(server: Server) -> list[Traffic]:
    journal = server.journal()
    found = journal.traffic()
    journal.close()
    return found


def test_a_revision_whose_endpoint_is_down_is_refused(
    router: Server, models: dict[str, Path]
) -> None:
    away = {"gone": f"mlflow+http://127.0.0.1:{unused_port()}"}
    answer = router.swap(routed(models["a"], away))
    assert answer.status == 409
    assert "`gone` cannot be reached" in answer.json["error"]["message"]
    assert router.predict(records(ROWS), x_mlops_arm="v2").status == 200


@pytest.mark.parametrize(
    ("ref", "part"),
    [
        ("v2+http://127.0.0.1:{port}/v2/models/other", "404"),
        ("kserve+http://127.0.0.1:{port}/v1/models/other", "404"),
        ("v2+https://127.0.0.1:{port}/v2/models/up", "cannot be reached"),
        ("mlflow+http://nowhere.invalid", "cannot be reached"),
        ("mlflow+http://127.0.0.1:{port}#token=NO_SUCH_VARIABLE", "`NO_SUCH_VARIABLE`"),
    ],
)
def test_an_endpoint_that_is_wrong_is_refused(
    router: Server, upstream: Server, models: dict[str, Path], ref: str, part: str
) -> None:
    away = {"wrong": ref.format(port=upstream.port)}
    answer = router.swap(routed(models["a"], away))
    assert answer.status == 409
    assert part in answer.json["error"]["message"]


# Servers that misbehave.


@pytest.mark.parametrize("how", MANNERS)
def test_misbehaviour_is_told_with_the_arm(router: Server, how: str) -> None:
    status, part = MANNERS[how]
    answer = router.predict(records(ROWS), x_mlops_arm=how)
    assert answer.status == status
    assert part in answer.json["message"]
    assert answer.arm == how
    assert router.predict(records(ROWS), x_mlops_arm="here").status == 200


def test_a_token_goes_to_its_endpoint_and_nowhere_else(router: Server) -> None:
    router.predict(records(ROWS), x_mlops_arm="redirect")
    assert ("redirect", f"Bearer {TOKEN}") in _Rude.seen
    # Not where the redirect pointed.
    assert {how for how, _ in _Rude.seen} <= set(MANNERS)
    told = router.log + json.dumps(router.admin("GET", "/status").json)
    told += Path(router.launch.state_file).read_text() + router.get("/docs").body.decode()
    assert TOKEN not in told


def test_a_question_that_was_sent_is_not_sent_again(router: Server) -> None:
    before = len(_Rude.seen)
    for how in ("500", "503", "504"):
        router.predict(records(ROWS), x_mlops_arm=how)
    assert len(_Rude.seen) == before + 3


def test_a_fresh_connection_that_breaks_is_not_tried_again(rude: int) -> None:
    """The peer that broke it may have read the request, and may have failed because of it."""
    remote = RemoteModel(parse_endpoint(f"mlflow+http://127.0.0.1:{rude}/hang-up"), "away")

    async def ask() -> None:
        with pytest.raises(ProtocolError):
            await remote.ask(Records(records(ROWS)), {})
        await remote.close()

    before = len(_Rude.seen)
    asyncio.run(ask())
    assert len(_Rude.seen) == before + 1


def test_a_kept_connection_that_was_closed_is_opened_again() -> None:
    """As servers do that go away and come back, and those that close idle connections early."""
    listener = socket.create_server(("127.0.0.1", 0))
    asked = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as lines:
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    line = lines.readline()
                    if not line:
                        break
                    head += line
                size = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                lines.read(int(size or 0))
                asked.append(head.partition(b" ")[0])
                body = b'{"predictions": [1.0]}'
                # It promises to keep the connection, and closes it.
                connection.sendall(
                    b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
                )

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with listener:
        where = parse_endpoint(f"mlflow+http://127.0.0.1:{listener.getsockname()[1]}")
        remote = RemoteModel(where, "away")

        async def ask() -> list[Any]:
            found = [await remote.ask(Records(records(ROWS[:1])), {}) for _ in range(30)]
            await remote.close()
            return found

        assert [list(found) for found in asyncio.run(ask())] == [[1.0]] * 30
        assert asked.count(b"POST") == 30


def test_what_it_takes_is_learned_when_it_comes_up(upstream: Server) -> None:
    remote = RemoteModel(parse_endpoint(refs(upstream.port, "up")["v2"]), "late")
    assert remote.signature.names == ()

    async def probe() -> None:
        await remote.probe()
        await remote.close()

    asyncio.run(probe())
    assert remote.up
    assert remote.signature.names == tuple(COLUMNS)


def test_an_endpoint_may_be_a_shadow(router: Server, upstream: Server) -> None:
    expected = upstream.predict(records(ROWS)).json["predictions"]

    def asked() -> int:
        count: int = router.admin("GET", "/status").json["shadows"][0]["requests"]
        return count

    before = asked()
    for _ in range(10):
        router.predict(records(ROWS))
    wait_until(lambda: asked() == before + 10)
    journal = router.journal()
    pairs = list(journal.shadow_pairs([1]))[-10:]
    journal.close()
    assert {pair.status for pair in pairs} == {200}
    assert pairs[0].predictions == pytest.approx(expected)
