"""Starting, swapping, stopping and dying."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import math
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from mlops.journal.records import Decision
from mlops.spec.request_id import read
from mlops.spec.server import Launch, Served, served_to_dict, write_launch
from tests.serving.models import COLUMNS, ROWS, records, save_linear
from tests.serving.server import KEY, Server, is_private, make_launch, reweighted, running, served

ONE = records(ROWS[:1])
TOKEN = "a token of enough length"
Start = Callable[[Launch], Server]


@pytest.fixture(scope="module")
def swapper(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose revisions these tests may swap."""
    folder = tmp_path_factory.mktemp("swapper")
    with running(make_launch(folder, served(models)), folder) as server:
        yield server


def live(server: Server) -> Served:
    return server.state.launch.served


def swap(server: Server, new: Served) -> Served:
    """Swap in a revision under the next number."""
    number = live(server).revision.number + 1
    new = replace(new, revision=replace(new.revision, number=number))
    reply = server.swap(new)
    assert reply.status == 200, reply.body
    assert reply.json["revision"] == number
    return new


# Administration.


def test_the_socket_is_the_owners(swapper: Server) -> None:
    assert is_private(swapper.launch.socket)


def test_the_status_says_what_is_live(swapper: Server) -> None:
    status = swapper.admin("GET", "/status").json
    assert (status["name"], status["pid"]) == ("wine", swapper.process.pid)
    assert status["url"] == f"http://127.0.0.1:{swapper.port}"
    assert [arm["name"] for arm in status["arms"]] == ["a", "b"]
    assert {arm["path_taken"] for arm in status["arms"]} == {"numpy"}


def test_administration_is_not_on_the_public_port(swapper: Server) -> None:
    assert swapper.get("/status").status == 404
    assert swapper.post("/revision", served_to_dict(live(swapper))).status == 404
    assert swapper.post("/note", {"text": "x"}).status == 404


@pytest.mark.parametrize("body", [b"", b"nonsense", b"[]", b"{}", b"7", b"\xff"])
@pytest.mark.parametrize("path", ["/revision", "/note"])
def test_administrative_nonsense_is_refused(swapper: Server, path: str, body: bytes) -> None:
    reply = swapper.admin("POST", path, body)
    assert reply.status == 409
    assert reply.json["error"]["code"] == "invalid"


def test_a_note_is_written_down(swapper: Server) -> None:
    assert swapper.admin("POST", "/note", {"text": "a word to the reader"}).status == 200
    journal = swapper.journal()
    notes = [e.spec for e in journal.revision_events() if e.event == "note"]
    journal.close()
    assert {"text": "a word to the reader"} in notes


# Swaps.


def test_new_weights_load_nothing(swapper: Server, models: dict[str, Path]) -> None:
    swap(swapper, served(models))
    loads = swapper.log.count("loading ")
    hidden = models["a"].with_name("hidden")
    models["a"].rename(hidden)  # reading the folder fails now
    try:
        swap(swapper, reweighted(live(swapper), 0.9, 0.1))
    finally:
        hidden.rename(models["a"])
    assert swapper.log.count("loading ") == loads
    number = live(swapper).revision.number
    drawn = Counter[str]()
    for i in range(400):
        reply = swapper.predict(ONE, idempotency_key=f"weights-{i}")
        drawn[reply.arm] += 1
        rid = read(KEY, reply.request_id)
        assert rid.revision == number
        assert rid.propensity == pytest.approx(0.9 if reply.arm == "a" else 0.1)
    assert abs(drawn["a"] - 360) < 5.5 * math.sqrt(400 * 0.9 * 0.1)


def test_a_weight_of_zero_gets_nothing(swapper: Server, models: dict[str, Path]) -> None:
    swap(swapper, reweighted(served(models), 0.0, 1.0))
    assert {swapper.predict(ONE).arm for _ in range(100)} == {"b"}
    # A tester still can.
    assert swapper.predict(ONE, x_mlops_arm="a").arm == "a"


def test_a_model_that_fails_leaves_the_running_revision(
    swapper: Server, models: dict[str, Path], tmp_path: Path
) -> None:
    before, state = live(swapper), Path(swapper.launch.state_file).read_bytes()
    for name, text in {"yaml": "flavors: [", "list": "[]", "flavours": "flavors: {}"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "MLmodel").write_text(text)
    picky = save_linear(tmp_path / "picky", [1, 1, 1])
    (picky / "input_example.json").write_text('{"columns": ["alcohol"], "data": [["x"]]}')
    info = {"artifact_path": "input_example.json", "type": "dataframe", "pandas_orient": "split"}
    mlmodel = yaml.safe_load((picky / "MLmodel").read_text())
    mlmodel["saved_input_example_info"] = info
    (picky / "MLmodel").write_text(yaml.safe_dump(mlmodel))
    for folder in (tmp_path / "missing", *tmp_path.iterdir()):
        bad = served({"a": models["a"], "b": folder}, number=99)
        reply = swapper.swap(bad)
        assert reply.status == 409
        assert reply.json["error"]["code"] == "invalid"
        assert str(folder) in reply.json["error"]["message"]
    assert live(swapper) == before
    assert Path(swapper.launch.state_file).read_bytes() == state
    assert swapper.predict(ONE).headers["x-mlops-revision"] == str(before.revision.number)


def test_arms_that_take_other_columns_are_refused(
    swapper: Server, models: dict[str, Path], tmp_path: Path
) -> None:
    import pandas as pd
    from sklearn.linear_model import LinearRegression

    from tests.serving.models import save_sklearn

    features = pd.DataFrame([[1.0, 2.0], [2.0, 1.0]], columns=["alcohol", "colour"])
    other = save_sklearn(tmp_path / "other", LinearRegression().fit(features, [1, 2]), features)
    reply = swapper.swap(served({"a": models["a"], "b": other}, number=99))
    assert reply.status == 409
    assert "`colour`" in reply.json["error"]["message"]


def test_units_stick_by_header(swapper: Server, models: dict[str, Path]) -> None:
    old = swap(swapper, served(models, sticky_by="header:X-User"))
    users = [f"user-{i}" for i in range(300)]
    arms = {user: swapper.predict(ONE, x_user=user).arm for user in users}
    assert set(arms.values()) == {"a", "b"}
    assert abs(sum(arm == "a" for arm in arms.values()) - 150) < 5.5 * math.sqrt(75)
    for user in users[:50]:
        # Whatever else the request says.
        again = swapper.predict(records(ROWS[1:2]), x_user=user, idempotency_key=f"k-{user}")
        assert again.arm == arms[user]
    # New weights are for new units.
    new = swap(swapper, reweighted(old, 0.9, 0.1))
    for user in users:
        again = swapper.predict(ONE, x_user=user)
        assert again.arm == arms[user]
        assert read(KEY, again.request_id).propensity == pytest.approx(0.5)
    strangers = Counter(swapper.predict(ONE, x_user=f"new-{i}").arm for i in range(200))
    assert abs(strangers["a"] - 180) < 5.5 * math.sqrt(200 * 0.9 * 0.1)
    # An arm without traffic keeps no unit.
    swap(swapper, reweighted(new, 1.0, 0.0))
    assert {swapper.predict(ONE, x_user=user).arm for user in users} == {"a"}
    journal = swapper.journal()
    first = [t for t in journal.traffic() if t.revision == old.revision.number]
    journal.close()
    assert sum(traffic.drawn for traffic in first) == 350
    assert sum(traffic.units for traffic in first) == 300


def test_units_that_were_answered_just_before_a_change_keep_their_arm(
    swapper: Server, models: dict[str, Path]
) -> None:
    fresh = reweighted(served(models, sticky_by="header:X-User", reward="absolute-error"), 1, 0)
    old = swap(swapper, fresh)
    users = [f"newcomer-{i}" for i in range(20)]
    assert {swapper.predict(ONE, x_user=user).arm for user in users} == {"a"}
    swap(swapper, reweighted(old, 0.01, 0.99))
    # At once: a moment later it has read again what came into the journal during the change.
    assert {swapper.predict(ONE, x_user=user).arm for user in users} == {"a"}


def test_units_that_another_replica_still_meets_keep_their_arm(
    swapper: Server, models: dict[str, Path]
) -> None:
    old = swap(swapper, served(models, sticky_by="header:X-User", reward="absolute-error"))
    new = swap(swapper, reweighted(old, 0.99, 0.01))
    time.sleep(0.5)
    # A replica that has not got the new weights yet sends these to `b`, and writes it down.
    salt = hashlib.blake2b(new.revision.spec.experiment.encode(), digest_size=16).digest()
    users = [f"late-{i}" for i in range(60)]
    rows = [
        Decision(
            os.urandom(12), time.time_ns() // 1_000_000, old.revision.number, 1, 0.5, 1, 900, 200,
            "mlflow", unit=hashlib.blake2b(u.encode(), key=KEY, salt=salt, digest_size=8).digest(),
            predictions=[1.0],
        )
        for u in users
    ]  # fmt: skip
    journal = swapper.journal()
    journal.append(rows, [])
    journal.close()
    # Each user is asked about once: whom this server meets first is its own.
    for start in range(0, 57, 3):
        if {swapper.predict(ONE, x_user=u).arm for u in users[start : start + 3]} == {"b"}:
            break
        # It looks less and less often: this goes on for two minutes.
        time.sleep(0.5 * 1.25 ** (start / 3))
    reply = swapper.predict(ONE, x_user=users[-1])
    assert reply.arm == "b"
    assert read(KEY, reply.request_id).propensity == pytest.approx(0.5)


def test_units_may_be_drawn_again(swapper: Server, models: dict[str, Path]) -> None:
    fresh = served(models, sticky_by="header:X-User", reward="absolute-error")
    old = swap(swapper, fresh)
    users = [f"user-{i}" for i in range(300)]
    arms = {user: swapper.predict(ONE, x_user=user).arm for user in users}
    new = reweighted(old, 0.7, 0.3)
    spec = replace(new.revision.spec, redraw=True)
    drawn_again = replace(new, revision=replace(new.revision, spec=spec))
    swap(swapper, drawn_again)
    now = {user: swapper.predict(ONE, x_user=user).arm for user in users}
    moved = {user for user in users if now[user] != arms[user]}
    # Who had the arm that grew keeps it; a fifth of all moves to it.
    assert {arms[user] for user in moved} == {"b"}
    assert abs(len(moved) - 60) < 5.5 * math.sqrt(300 * 0.2 * 0.8)
    # From then on they keep those, and not what they had before.
    later = reweighted(drawn_again, 0.1, 0.9)
    swap(
        swapper,
        replace(
            later, revision=replace(later.revision, spec=replace(later.revision.spec, redraw=False))
        ),
    )
    assert {user: swapper.predict(ONE, x_user=user).arm for user in users} == now


def test_units_keep_their_arm_over_a_restart(
    models: dict[str, Path], tmp_path: Path, start: Start
) -> None:
    first = served(models, sticky_by="header:X-User")
    server = start(make_launch(tmp_path, first))
    users = [f"user-{i}" for i in range(60)]
    arms = {user: server.predict(ONE, x_user=user).arm for user in users}
    server.stop()
    again = start(replace(server.launch, port=0, served=reweighted(first, 0.95, 0.05)))
    assert {user: again.predict(ONE, x_user=user).arm for user in users} == arms


def test_units_stick_by_field_in_every_protocol(swapper: Server, models: dict[str, Path]) -> None:
    swap(swapper, served(models, sticky_by="field:alcohol"))
    for alcohol in range(9, 13):
        row = [7.4, float(alcohol) + 0.5, 0.5]
        columns = [
            {"name": name, "shape": [1], "datatype": "FP64", "data": [cell]}
            for name, cell in zip(COLUMNS, row, strict=True)
        ]
        arms = {
            swapper.post(path, body).arm
            for path, body in [
                ("/invocations", {"dataframe_records": records([row])}),
                ("/invocations", {"dataframe_split": {"columns": COLUMNS, "data": [row]}}),
                ("/invocations", {"inputs": {k: [v] for k, v in records([row])[0].items()}}),
                ("/api/v1.0/predictions", {"data": {"names": COLUMNS, "ndarray": [row]}}),
                ("/v2/models/wine/infer", {"inputs": columns}),
                # Rows without names are in the signature's order.
                ("/v1/models/wine:predict", {"instances": [row]}),
                ("/api/v1.0/predictions", {"data": {"tensor": {"shape": [1, 3], "values": row}}}),
            ]
            for _ in range(3)
        }
        assert len(arms) == 1


def test_a_request_without_its_unit_is_drawn_afresh(
    swapper: Server, models: dict[str, Path]
) -> None:
    swap(swapper, served(models, sticky_by="header:X-User"))
    assert {swapper.predict(ONE).arm for _ in range(40)} == {"a", "b"}


# Stopping, dying, coming back.


def test_it_stops_in_good_order(models: dict[str, Path], tmp_path: Path, start: Start) -> None:
    server = start(make_launch(tmp_path, served(models)))
    replies = [server.predict(ONE) for _ in range(25)]
    started = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - started < 15
    state = server.state
    assert state.stopped_ms is not None
    assert state.stopped_ms >= state.started_ms
    assert not Path(server.launch.socket).exists()
    assert "Traceback" not in server.log
    again = start(replace(server.launch, port=state.launch.port))
    assert again.state.stopped_ms is None
    # Nothing that waited was lost, and ids from before are still good.
    journal = again.journal()
    assert sum(traffic.drawn for traffic in journal.traffic()) == len(replies)
    assert [e.event for e in journal.revision_events()] == ["started", "stopped", "started"]
    journal.close()
    for reply in replies:
        answer = again.post("/feedback", {"request_id": reply.request_id, "reward": 1})
        assert answer.json["outcome"]["fate"] == "accepted"
        assert answer.json["outcome"]["arm"] == reply.arm


def test_what_is_on_its_way_when_it_stops_is_answered(
    models: dict[str, Path], tmp_path: Path, start: Start
) -> None:
    server = start(make_launch(tmp_path, served(models)))
    assert server.predict(ONE).status == 200
    server.process.send_signal(signal.SIGTERM)
    told, answered = time.monotonic(), 0.0
    # Over a connection that was idle then. One that is closed would be opened again.
    with contextlib.suppress(OSError, http.client.HTTPException):
        while server.predict(ONE).status == 200:
            answered = time.monotonic() - told
    assert answered > 0.25
    assert server.process.wait(20) == 0


def test_it_comes_back_after_a_kill(models: dict[str, Path], tmp_path: Path, start: Start) -> None:
    server = start(make_launch(tmp_path, served(models)))
    reply = server.predict(ONE)
    known = server.predict(ONE)
    body = {"request_id": known.request_id, "reward": 0.5}
    assert server.post("/feedback", body).json["counts"] == {"accepted": 1}
    server.kill()
    # Lock, socket and state are still there, and delay no start.
    assert Path(server.launch.socket).exists()
    assert server.state.stopped_ms is None
    again = start(replace(server.launch, port=server.port))
    assert again.post("/feedback", body).json["counts"] == {"duplicate": 1}
    answer = again.post("/feedback", {"request_id": reply.request_id, "reward": 1})
    assert answer.json["outcome"]["arm"] == reply.arm


def test_a_second_server_of_the_deployment_is_refused(server: Server, tmp_path: Path) -> None:
    code, words = _fail(replace(server.launch, port=0), tmp_path)
    assert code == 7
    assert "runs already" in words
    assert server.get("/health").status == 200


def test_a_taken_port_is_told(models: dict[str, Path], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        code, words = _fail(make_launch(tmp_path, served(models), port=port), tmp_path)
    assert code == 7
    assert f"Port {port} on 127.0.0.1 cannot be used" in words
    assert "Traceback" not in words


def test_a_missing_model_is_told(tmp_path: Path) -> None:
    code, words = _fail(make_launch(tmp_path, served({"a": tmp_path / "no"})), tmp_path)
    assert code == 3
    assert str(tmp_path / "no") in words
    assert "Traceback" not in words


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"key_file": "nowhere"}, "nowhere"),
        ({"token_file": "nowhere"}, "nowhere"),
        ({"journal_url": "nonsense"}, "journal"),
    ],
)
def test_a_launch_that_cannot_work_is_told(
    models: dict[str, Path], tmp_path: Path, change: dict[str, str], complaint: str
) -> None:
    code, words = _fail(replace(make_launch(tmp_path, served(models)), **change), tmp_path)  # type: ignore[arg-type]  # fields of text
    assert code in (3, 6)
    assert complaint in words
    assert "Traceback" not in words


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "{}", '{"schema_version": 1}'])
def test_a_broken_launch_file_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "launch.json").write_text(text)
    code, words = _run(tmp_path)
    assert code == 3
    assert "launch.json" in words
    assert "Traceback" not in words


def _fail(launch: Launch, folder: Path) -> tuple[int, str]:
    write_launch(launch, folder / "launch.json")
    return _run(folder)


def _run(folder: Path) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "mlops.serving", str(folder / "launch.json")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stderr


# A token.


def test_callers_need_the_token(models: dict[str, Path], tmp_path: Path, start: Start) -> None:
    server = start(make_launch(tmp_path, served(models), token=TOKEN))
    for reply in (
        server.predict(ONE),
        server.predict(ONE, authorization="Bearer another token of some length"),
        server.predict(ONE, authorization=TOKEN),
        server.post("/feedback", {"request_id": "x", "reward": 1}),
        server.get("/metrics"),
        server.get("/docs"),
    ):
        assert reply.status == 401
        assert "www-authenticate" in reply.headers
    assert server.predict(ONE, authorization=f"Bearer {TOKEN}").status == 200
    # The scheme's name has no case (RFC 9110, section 11.1).
    assert server.predict(ONE, authorization=f"bearer {TOKEN}").status == 200
    assert server.get("/metrics", authorization=f"Bearer {TOKEN}").status == 200
    for path in ("/health", "/ping", "/ready", "/live", "/v2/health/live", "/v2/health/ready"):
        assert server.get(path).status == 200
    assert TOKEN not in server.log
    # A terminal can interrupt it, too.
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(10) == 0
    assert server.state.stopped_ms is not None


def test_a_short_token_is_refused(models: dict[str, Path], tmp_path: Path) -> None:
    code, words = _fail(make_launch(tmp_path, served(models), token="short"), tmp_path)
    assert code == 3
    assert "too short" in words
    assert "short\n" not in words


def test_a_low_limit_of_open_files_is_raised(
    models: dict[str, Path], tmp_path: Path, start: Callable[[Launch], Server]
) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, before[1]))
    try:
        server = start(make_launch(tmp_path, served(models)))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    limits = Path(f"/proc/{server.process.pid}/limits").read_text().splitlines()
    (line,) = [each for each in limits if each.startswith("Max open files")]
    assert int(line.split()[3]) == min(before[1], 65_536)


def test_connections_leave_files_to_others(
    models: dict[str, Path], tmp_path: Path, start: Callable[[Launch], Server]
) -> None:
    server = start(make_launch(tmp_path, served(models)))
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (256, 256))
    with contextlib.ExitStack() as stack:
        idle = [
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            for _ in range(300)
        ]
        assert server.admin("GET", "/status").status == 200
        # Of many that come at once some are closed without an answer.
        late = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
        assert late.recv(1_000).startswith(b"HTTP/1.1 503")
        idle[0].sendall(b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert idle[0].recv(1_000).startswith(b"HTTP/1.1 200")
    deadline = time.monotonic() + 180
    while server.get("/ping").status != 200:
        assert time.monotonic() < deadline
