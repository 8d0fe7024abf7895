"""API keys: what a running server makes of a file that changes, alone and with workers."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlops.errors import InvalidInputError
from mlops.protocols.base import Kind, ProtocolError
from mlops.serving.access import Gate
from mlops.serving.access.buckets import Bucket, shared_places
from mlops.serving.access.keyring import Keyring
from mlops.serving.access.opening import open_gate
from mlops.serving.access.watch import FileWatch
from mlops.spec.access import Access, Issuer, Key, Rate, new_key, parse_rate, read_keys, write_keys
from mlops.spec.server import Launch
from tests.serving.grpc_client import GrpcClient
from tests.serving.models import ROWS, records
from tests.serving.server import Server, make_launch, running, served
from tests.waiting import wait_until

ROW = records(ROWS[:1])


def _bearer(secret: str) -> dict[str, Any]:
    return {"authorization": f"Bearer {secret}"}


def _put(path: Path, *keys: Key) -> None:
    draft = path.with_suffix(".draft")
    draft.write_text(write_keys(keys))
    draft.replace(path)


def _within_a_second(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 180  # a second, and a busy machine
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("workers", [1, 2])
def test_keys_that_change_count_without_a_restart(
    models: dict[str, Path], tmp_path: Path, workers: int
) -> None:
    path = tmp_path / "wine.keys"
    launch = make_launch(tmp_path, served(models), grpc=True)
    launch = replace(launch, access=Access(str(path)), workers=workers)
    with running(launch, tmp_path) as server:
        # There are no keys, and it listens on this machine.
        assert server.predict(ROW).status == 200
        # What a page whose name leads here has its browser send.
        assert server.predict(ROW, host="wine.example").status == 403
        key, secret = new_key("shop", ["predict"])
        _put(path, key)

        def refused(bearer: dict[str, Any]) -> bool:
            # Each over a connection of its own: both workers have to know.
            codes = []
            for _ in range(6):
                server.hang_up()
                codes.append(server.predict(ROW, **bearer).status)
            return codes == [401] * 6

        _within_a_second(lambda: refused({}))
        bearer = _bearer(secret)
        grpc = GrpcClient(launch.grpc_port)
        for _ in range(3):
            assert server.predict(ROW, **bearer).status == 200
        # No page has the key, so callers may know the server by any name.
        assert server.predict(ROW, host="wine.example", **bearer).status == 200
        assert server.predict(ROW, host="wine.example").status == 401
        assert grpc.call("ServerMetadata", **bearer).code == "OK"
        _put(path, replace(key, revoked_ms=1))
        # Also over a connection on which its head was known.
        _within_a_second(lambda: server.predict(ROW, **bearer).status == 401)
        _within_a_second(lambda: refused(bearer))
        _within_a_second(lambda: grpc.call("ServerMetadata", **bearer).code == "UNAUTHENTICATED")
        # With a file that is broken, or gone, every request is refused.
        again, other = new_key("again", ["predict"])
        _put(path, replace(key, revoked_ms=1), again)
        _within_a_second(lambda: server.predict(ROW, **_bearer(other)).status == 200)
        path.write_text("{")
        time.sleep(1.2)
        assert server.predict(ROW, **_bearer(other)).status == 200
        path.unlink()
        _within_a_second(lambda: refused(_bearer(other)))
        assert refused({})
        grpc.close()


def test_a_key_expires_on_a_connection_that_goes_on(
    models: dict[str, Path], tmp_path: Path
) -> None:
    path = tmp_path / "wine.keys"
    key, secret = new_key("shop", ["predict"], expires_ms=int(time.time() * 1000) + 600_000)
    _put(path, key)
    launch = replace(make_launch(tmp_path, served(models)), access=Access(str(path)))
    with running(launch, tmp_path) as server:
        assert server.predict(ROW, **_bearer(secret)).status == 200
        # The time begins where the server answers, however long its start took.
        _put(path, replace(key, expires_ms=int(time.time() * 1000) + 1_500))
        wait_until(lambda: server.predict(ROW, **_bearer(secret)).status == 401)
        assert b"expired" in server.predict(ROW, **_bearer(secret)).body


@pytest.mark.parametrize("workers", [1, 2])
def test_a_rate_is_of_all_workers_together(
    models: dict[str, Path], tmp_path: Path, workers: int
) -> None:
    path = tmp_path / "wine.keys"
    slow, secret = new_key("slow", ["predict", "read"], rate="30/h")
    free, other = new_key("free", ["predict"])
    _put(path, slow, free)
    launch = make_launch(tmp_path, served(models), grpc=True)
    launch = replace(launch, access=Access(str(path)), workers=workers)
    with running(launch, tmp_path) as server:
        replies = []
        for number in range(40):
            if number % 5 == 0:
                server.hang_up()
            replies.append(server.predict(ROW, **_bearer(secret)))
        codes = [reply.status for reply in replies]
        assert codes == [200] * 30 + [429] * 10
        assert 0 < int(replies[-1].headers["retry-after"]) <= 121
        assert server.get("/metrics", **_bearer(secret)).status == 429
        grpc = GrpcClient(launch.grpc_port)
        reply = grpc.call("ServerMetadata", **_bearer(secret))
        assert reply.code == "RESOURCE_EXHAUSTED"
        assert int(reply.trailing["grpc-retry-pushback-ms"]) > 0
        grpc.close()
        # Others are not held up by it.
        with ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(_fresh, server, other) for _ in range(20)]
        assert [each.result() for each in asked] == [200] * 20


def _fresh(server: Server, secret: str) -> int:
    import http.client
    import json

    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    body = json.dumps({"dataframe_records": ROW})
    headers = {"content-type": "application/json", **_bearer(secret)}
    connection.request("POST", "/invocations", body, headers)
    status = connection.getresponse().status
    connection.close()
    return status


def test_a_bucket() -> None:
    bucket = Bucket.of(Rate(10, 1.0), shared_places(), 3)
    assert [bucket.take(5.0) for _ in range(10)] == [0.0] * 10
    assert bucket.take(5.0) == pytest.approx(0.1)
    assert bucket.take(5.1001) == 0.0
    assert bucket.take(5.1001) > 0
    # After a pause there is one period's worth again, and no more.
    assert sum(bucket.take(100.0) == 0.0 for _ in range(30)) == 10
    assert parse_rate("100/s") == Rate(100, 1.0)
    for wrong in ("0/s", "1/d", "-1/s", "1e9/s", "s", "1 /s"):
        with pytest.raises(InvalidInputError):
            parse_rate(wrong)


def test_the_long_run_is_the_rate() -> None:
    bucket = Bucket.of(Rate(50, 1.0), shared_places(), 0)
    taken = sum(bucket.take(7.0 + step / 1000) == 0.0 for step in range(10_000))
    assert taken == pytest.approx(50 + 50 * 10, abs=1)


def test_a_file_whose_mode_is_mended_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "wine.keys"
    _put(path)
    looks: list[bool] = []

    def changed() -> bool:
        looks.append(True)
        return True

    watch = FileWatch([path], changed)
    watch.look()
    assert not looks
    before = path.stat().st_ctime_ns

    def mended() -> bool:
        # The kernel's clock for files ticks every few milliseconds.
        path.chmod(0o600)
        return path.stat().st_ctime_ns != before

    wait_until(mended)
    watch.look()
    watch.look()
    assert len(looks) == 1


def _kind(gate: Gate, authorization: bytes, *, need: Any = "any") -> Kind:
    with pytest.raises(ProtocolError) as refused:
        gate.admit(authorization, need)
    return refused.value.kind


def test_what_is_no_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    key, secret = new_key("shop", ["predict"])
    late, _ = new_key("late", ["predict"], expires_ms=1)
    _put(path, key, late)
    gate = Gate("the-owner's-token", Keyring(str(path), shared_places()))
    for wrong in (
        b"", secret.encode(), b"Bearer", b"Bearer " + secret[:-1].encode(), b"Basic x",
        b"Bearer " + key.digest.encode(), b"Bearer " + key.id.encode(), b"Bearer \xff\xfe",
        b"Bearer a.b.c", b"Digest " + secret.encode(), b"Bearer " + b"x" * 60_000,
    ):  # fmt: skip
        assert _kind(gate, wrong) is Kind.UNAUTHENTICATED
    assert gate.admit(b"bearer  " + secret.encode(), "predict").key_id == key.id
    assert gate.admit(b"Bearer the-owner's-token", "score").key_id == "token"
    assert _kind(gate, b"Bearer " + secret.encode(), need="read") is Kind.FORBIDDEN
    assert secret not in path.read_text()
    assert secret.split("_")[2] not in path.read_text()


def test_what_is_remembered_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    key, secret = new_key("shop", ["predict"])
    _put(path, key)
    gate = Gate(keyring=Keyring(str(path), shared_places()))
    for blanks in range(3_000):
        gate.admit(b"Bearer " + b" " * blanks + secret.encode(), "predict")
        _kind(gate, b"Bearer %d" % blanks)
    assert len(vars(gate)["_known"]) <= 1024


@pytest.mark.parametrize(
    "text",
    ["[]", "{", '{"schema_version": 2, "keys": []}', '{"schema_version": 1, "keys": [{}]}',
     '{"schema_version": 1, "keys": [{"id": "a", "name": "n", "scopes": ["all"], "digest": "x"}]}',
     '{"schema_version": 1, "keys": [{"id": "a", "name": "n", "scopes": [], "digest": "x"}]}',
     '{"schema_version": 1, "keys": [{"id": "a", "name": "n", "scopes": ["read"]}]}'],
)  # fmt: skip
def test_a_broken_file_is_refused_at_the_start(tmp_path: Path, text: str) -> None:
    (tmp_path / "keys").write_text(text)
    with pytest.raises(InvalidInputError):
        read_keys(text)
    with pytest.raises(InvalidInputError, match="keys"):
        Keyring(str(tmp_path / "keys"), shared_places())


@pytest.mark.parametrize(
    ("name", "value"),
    [("expires_ms", '"2026-12-01"'), ("expires_ms", "1e999"), ("expires_ms", "9" * 400),
     ("expires_ms", "[1]"), ("expires_ms", "NaN"), ("revoked_ms", '"x"'), ("created_ms", "null"),
     ("scopes", "[" * 100_000)],
)  # fmt: skip
def test_a_file_with_an_absurd_value_does_not_end_the_looking(
    tmp_path: Path, name: str, value: str
) -> None:
    """Whatever else it raised ended the watch, so that a key revoked later went on to count."""
    path = tmp_path / "keys"
    key, secret = new_key("shop", ["predict"])
    _put(path, key)
    ring = Keyring(str(path), shared_places())
    document = json.loads(write_keys([key]))
    document["keys"][0][name] = "VALUE"
    path.write_text(json.dumps(document).replace('"VALUE"', value))
    assert not ring.reload()
    assert ring.of_key(secret.encode())
    _put(path, replace(key, revoked_ms=1))
    assert ring.reload()
    assert ring.of_key(secret.encode()) is None


def test_a_server_of_the_network_refuses_every_caller_by_default(
    models: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    launch = replace(make_launch(tmp_path, served(models)), host="0.0.0.0")
    with pytest.raises(InvalidInputError, match="callers would not authenticate") as refused:
        open_gate(launch)
    assert "--insecure-no-auth" in (refused.value.hint or "")
    assert not open_gate(replace(launch, access=Access(unprotected=True))).required
    key, _ = new_key("shop", ["predict"])
    _put(tmp_path / "keys", key)
    assert open_gate(replace(launch, access=Access(str(tmp_path / "keys")))).required
    issuer = Issuer("https://idp", "wine", "https://idp/keys")
    assert open_gate(replace(launch, access=Access(issuer=issuer))).required
    # The program itself says so too, and ends.
    server = Server(launch, tmp_path)
    assert server.process.wait(60) == 3
    assert "callers would not authenticate" in server.log
    server.kill()
    caplog.set_level(logging.ERROR)


def test_a_launch_is_read_as_it_was_written(models: dict[str, Path], tmp_path: Path) -> None:
    from mlops.spec.access import Tls
    from mlops.spec.server import read_launch, write_launch

    issuer = Issuer("https://idp", "wine", "https://idp/keys", ("ES256",))
    launch: Launch = replace(
        make_launch(tmp_path, served(models)),
        access=Access("k", issuer, unprotected=True),
        tls=Tls("c", "k", "a"),
    )
    write_launch(launch, tmp_path / "l.json")
    assert read_launch(tmp_path / "l.json") == launch
    assert launch.url.startswith("https://")


def test_who_is_refused_is_logged_without_the_key(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "keys"
    key, secret = new_key("shop", ["predict"])
    _put(path, key)
    gate = Gate(keyring=Keyring(str(path), shared_places()))
    _kind(gate, b"Bearer " + secret.encode(), need="read")
    for _ in range(500):
        _kind(gate, b"Bearer wrong-" + secret.encode())
    (line,) = [each.getMessage() for each in caplog.records]
    assert key.id in line
    assert "403" in line
    assert secret not in line
