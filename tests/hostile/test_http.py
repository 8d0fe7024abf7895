"""HTTP as no honest client speaks it, and as odd but honest ones do."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator

import pytest

from mlops.serving.slow_clients import MAX_HEADER_BYTES
from tests.hostile.wire import DOORS, GOOD, MIB, Wire, exchange, nothing_happens_to, request
from tests.serving.models import ROWS, records
from tests.serving.server import Reply, Server

PAGES = ("/ping", "/metrics", "/openapi.json", "/v2/models/wine")


@pytest.fixture(autouse=True)
def still_well(server: Server) -> Iterator[None]:
    """After each test the server answers as if nothing had been."""
    with nothing_happens_to(server):
        yield


# Methods.


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE"])
@pytest.mark.parametrize("path", DOORS)
def test_doors_take_nothing_but_post(server: Server, path: str, method: str) -> None:
    with Wire(server) as wire:
        reply = wire.send(request(path, method=method)).reply(head=method == "HEAD")
        assert (reply.status, reply.headers["allow"]) == (405, "POST")
        assert wire.send(request("/ping", method="GET")).reply().body == b"\n"


@pytest.mark.parametrize("method", ["POST", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE"])
@pytest.mark.parametrize("path", PAGES)
def test_pages_are_only_read(server: Server, path: str, method: str) -> None:
    assert exchange(server, request(path, b"{}", method=method)).status == 405


@pytest.mark.parametrize("path", PAGES)
def test_head_is_get_without_a_body(server: Server, path: str) -> None:
    with Wire(server) as wire:
        assert wire.send(request(path, method="HEAD")).reply(head=True).status == 200
        assert wire.send(request(path, method="GET")).reply().status == 200


@pytest.mark.parametrize("method", ["BREW", "get", "CONNECT", "PRI", "G\0T", "\xff"])
def test_unknown_methods_are_refused(server: Server, method: str) -> None:
    assert exchange(server, request("/ping", method=method)).status == 400


# Paths.


@pytest.mark.parametrize(
    "path",
    [
        "/docs/../../../../etc/passwd",
        "/../../etc/passwd",
        "/..%2f..%2f..%2fetc%2fpasswd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/docs/..%5c..%5cetc%5cpasswd",
        "//etc/passwd",
        "/static/../openapi.json.j2",
        "/openapi.json%00",
        "/openapi.json%0d%0aX-Evil:1",
        "/seldon/../../etc/passwd",
        "/v2/models/%2e%2e%2f",
        "/v1/models/../../etc:predict",
        "/%ff%fe",
        "/%",
        "/ping/",
        "/docs/",
        "*",
    ],
)
def test_paths_lead_nowhere_else(server: Server, path: str) -> None:
    for method in ("GET", "OPTIONS"):
        reply = exchange(server, request(path, method=method))
        assert reply.status in (404, 405), reply
        assert b"root:" not in reply.body
        assert not {"x-evil", "location"} & set(reply.headers)


@pytest.mark.parametrize("path", ["/\xff", "/a b", "", "ping", "http://", "http://[/ping"])
def test_what_is_no_path_is_refused(server: Server, path: str) -> None:
    assert exchange(server, request(path, method="GET")).status in (400, 404)


# Headers.


@pytest.mark.parametrize(
    ("size", "status"), [(60_000, 404), (MAX_HEADER_BYTES, 431), (200_000, 431), (3_000_000, 431)]
)
def test_long_paths_are_refused(server: Server, size: int, status: int) -> None:
    assert exchange(server, request("/" + "a" * size, method="GET")).status == status


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (b"X-Long: " + b"a" * 60_000, 200),
        (b"X-Long: " + b"a" * 70_000, 431),
        (b"X-Long: " + b"a" * 3_000_000, 431),
        (b"X" * 70_000 + b": a", 431),
        (b"\r\n".join(b"X-%d: a" % number for number in range(10_000)), 431),
        (b"Idempotency-Key: " + b"k" * 60_000, 200),
        (b"Idempotency-Key: " + b"k" * 1_000_000, 431),
        (b"X-Request-Id: " + b"i" * 256, 200),
        (b"X-Request-Id: " + b"i" * 257, 400),
        (b"X-Request-Id: " + b"i" * 1_000_000, 431),
        (b"X-Request-Id: caf\xe9", 200),
        (b"X-Request-Id: a\tb", 400),
        (b"X-Request-Id: a\x01b", 400),
        (b"X-Request-Id: a\x00b", 400),
        (b"X-Request-Id: a\rX-Evil: 1", 400),
        (b"X-Mlops-Arm: a", 200),
        (b"X-Mlops-Arm: caf\xe9", 400),
        (b"X-Mlops-Arm: \xff\xfe", 400),
        (b"X-Mlops-Arm: a\x01b", 400),
        (b"X-Mlops-Arm: a\rX-Evil: 1", 400),
        (b"X-Mlops-Arm: " + b"a" * 60_000, 400),
        (b"Inference-Header-Content-Length: " + b"9" * 10_000, 200),
        (b"Content-Length: -1", 400),
        (b"Content-Length: 1e3", 400),
        (b"Content-Length: \xb2", 400),
        (b"Content-Length: " + b"9" * 400, 400),
        (b"Content-Length: 99999999999", 413),
        (b"Content-Length: 5\r\nContent-Length: 6", 400),
        (b"Content-Length: 5\r\nTransfer-Encoding: chunked", 400),
        (b"Transfer-Encoding: gzip, chunked, x", 400),
        (b" Folded: a", 400),
        (b"No colon", 400),
        (b": no name", 400),
    ],
)
def test_headers_are_taken_or_refused(server: Server, header: bytes, status: int) -> None:
    reply = exchange(server, request("/invocations", GOOD, header))
    assert reply.status == status
    assert "x-evil" not in reply.headers


def test_large_headers_in_small_pieces_are_refused(server: Server) -> None:
    with Wire(server) as wire:
        wire.send(b"GET /ping HTTP/1.1\r\nHost: x\r\n")
        for number in range(70):
            wire.send(b"X-%d: %b\r\n" % (number, b"a" * 1000))
        assert wire.reply().status == 431
        assert wire.closed


def test_a_body_is_not_counted_as_headers(server: Server) -> None:
    """Two pipelined requests whose border is somewhere in the middle of what is read at once."""
    body = GOOD.ljust(200_000)
    both = request("/invocations", body) + request("/invocations", body)
    for cut in (len(both) // 2 + 20, len(both) // 2 + 100):
        with Wire(server) as wire:
            wire.send(both[:cut])
            wire.send(both[cut:])
            assert [wire.reply().status for _ in range(2)] == [200, 200]


# Ids of the caller's own, in bodies.


def by_body(server: Server, client_id: str) -> list[Reply]:
    inputs = [{"name": "x", "shape": [1, 3], "datatype": "FP64", "data": [1, 2, 3]}]
    message = {"data": {"ndarray": [[1, 2, 3]]}, "meta": {"puid": client_id}}
    return [
        server.post("/api/v1.0/predictions", message),
        server.post("/v2/models/wine/infer", {"id": client_id, "inputs": inputs}),
    ]


@pytest.mark.parametrize("client_id", ["i" * 256, "café \U0001f377", "'; drop table decisions; --"])
def test_ids_come_back_as_they_were(server: Server, client_id: str) -> None:
    seldon, infer = by_body(server, client_id)
    assert seldon.json["meta"]["puid"] == infer.json["id"] == client_id
    assert seldon.headers["seldon-puid"] == (
        client_id if client_id.isascii() else seldon.request_id
    )


@pytest.mark.parametrize("client_id", ["i" * 257, "i" * 1_000_000, "a\r\nX-Evil: 1", "a\0", "\x7f"])
def test_ids_that_cannot_be_kept_are_refused(server: Server, client_id: str) -> None:
    for reply in by_body(server, client_id):
        assert reply.status == 400
        assert "x-evil" not in reply.headers
        assert len(reply.body) < 500
    for path, body in [
        ("/feedback", {"client_id": client_id[:10_000], "reward": 1}),
        ("/api/v1.0/feedback", {"response": {"meta": {"puid": client_id}}, "reward": 1}),
    ]:
        reply = server.post(path, body)
        # No prediction has that id.
        assert "unknown" in reply.json.get("counts", reply.json.get("meta", {}).get("tags"))


# Messages.


def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    rows = [[float(number), 1.0, 2.0] for number in range(200)]
    sent = [request("/invocations", json.dumps({"instances": [row]}).encode()) for row in rows]
    alone = [server.predict(records([row]), x_mlops_arm="a").json for row in rows[:3]]
    assert alone[0] != alone[1]
    arm = b"X-Mlops-Arm: a"
    sent = [request("/invocations", json.dumps({"instances": [row]}).encode(), arm) for row in rows]
    with Wire(server) as wire:
        wire.send(b"".join(sent))
        answers = [wire.reply() for _ in rows]
    assert [answer.json for answer in answers[:3]] == alone
    assert len({answer.body for answer in answers}) == len(rows)


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize("packed", [False, True])
def test_chunks_of_any_size_make_a_body(server: Server, size: int, packed: bool) -> None:
    body = gzip.compress(GOOD) if packed else GOOD
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    chunks = b"".join(b"%x;note=1\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    headers = [b"Transfer-Encoding: chunked", b"Trailer: X"]
    headers += [b"Content-Encoding: gzip"] if packed else []
    with Wire(server) as wire:
        data = request("/invocations", chunks + b"0\r\nX: 1\r\n\r\n", *headers)
        for at in range(0, len(data), 50):
            wire.send(data[at : at + 50])
        assert wire.reply().status == 200
        assert wire.send(request("/ping", method="GET")).reply().status == 200


@pytest.mark.parametrize("chunk", [b"x\r\n", b"-1\r\n", b"f" * 100 + b"\r\n", b"5\r\nabcdefg\r\n"])
def test_broken_chunks_are_refused(server: Server, chunk: bytes) -> None:
    with Wire(server) as wire:
        wire.send(request("/invocations", chunk, b"Transfer-Encoding: chunked"))
        assert wire.reply().status == 400
        assert wire.closed


def test_a_caller_that_asks_before_it_sends_is_told_to_go_on(server: Server) -> None:
    with Wire(server) as wire:
        length = b"Content-Length: %d" % len(GOOD)
        wire.send(request("/invocations", b"", length, b"Expect: 100-continue"))
        assert wire.reply().status == 100
        assert wire.send(GOOD).reply().status == 200


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket", b"TLS/1.0"])
def test_an_offer_of_another_protocol_is_declined(server: Server, protocol: bytes) -> None:
    """Java's own client offers HTTP/2 with its first request, also where that has a body."""
    offer = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: " + protocol, b"HTTP2-Settings: AA")
    with Wire(server) as wire:
        for _ in range(3):
            wire.send(request("/invocations", GOOD, *offer))
            assert wire.reply().status == 200
        wire.send(request("/ping", b"", *offer, method="GET") * 50)
        assert {wire.reply().body for _ in range(50)} == {b"\n"}
        data = request("/invocations", GOOD, *offer)
        wire.send(data[:100])
        wire.send(data[100:-20])
        assert wire.send(data[-20:]).reply().status == 200


def test_callers_that_leave_are_forgotten(server: Server) -> None:
    large = request("/invocations", b'{"instances":[' + b"[1,2,3]," * 50_000 + b"[1,2,3]]}")
    for part in (b"", b"POST", large[:30], large[:-1], large):
        for _ in range(5):
            with Wire(server) as wire:
                wire.send(part)


def test_old_versions_of_http_are_answered(server: Server) -> None:
    with Wire(server) as wire:
        reply = wire.send(b"GET /ping HTTP/1.0\r\n\r\n").reply()
        assert (reply.status, reply.headers["connection"]) == (200, "close")
        assert wire.closed


def test_predictions_are_still_right(server: Server) -> None:
    replies = [server.predict(records(ROWS[:1]), x_mlops_arm="b") for _ in range(3)]
    assert len({reply.body for reply in replies}) == 1


@pytest.mark.parametrize("path", ["/ping", "/invocations"])
def test_who_has_asked_and_closes_one_side_gets_every_answer(server: Server, path: str) -> None:
    one = request(path, method="GET") if path == "/ping" else request(path, GOOD)
    with Wire(server) as wire:
        wire.send(one * 1_000)
        wire.end()
        assert {wire.reply().status for _ in range(1_000)} == {200}
        assert wire.closed


def test_a_body_far_beyond_the_limit_is_told_so(server: Server) -> None:
    """Only then has a client that sends all before it reads seen anything but a reset."""
    assert exchange(server, request("/invocations", b"x" * 70 * MIB)).status == 413


@pytest.mark.parametrize("hosts", [0, 2])
def test_a_request_has_one_host(server: Server, hosts: int) -> None:
    lines = b"Host: localhost\r\n" * hosts
    assert exchange(server, b"GET /ping HTTP/1.1\r\n" + lines + b"\r\n").status == 400
