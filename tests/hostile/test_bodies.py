"""Bodies that no honest client sends, through every door."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator

import pytest

from tests.hostile.wire import (
    DOORS,
    GOOD,
    MAX_BODY,
    PLACES,
    Wire,
    exchange,
    nothing_happens_to,
    request,
)
from tests.serving.models import COLUMNS
from tests.serving.server import Server

_JSON = b"Content-Type: application/json"


@pytest.fixture(autouse=True)
def still_well(server: Server) -> Iterator[None]:
    """After each test the server answers as if nothing had been."""
    with nothing_happens_to(server):
        yield


CELLS = {
    "NaN": b"NaN",
    "Infinity": b"Infinity",
    "minus Infinity": b"-Infinity",
    "1e400": b"1e400",
    "ten to the 400": b"1" + b"0" * 400,
    "a million digits": b"7" * 1_000_000,
    "deep list": b"[" * 100_000 + b"]" * 100_000,
    "deep object": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "half a surrogate": b'"\\ud800"',
    "bad UTF-8": b'"\xff\xfe"',
    "raw newline": b'"a\nb"',
    "octal": b"010",
}
ODD_CELLS = {
    "null": b"null",
    "true": b"true",
    "largest double": b"1.7976931348623157e308",
    "smallest double": b"5e-324",
    "minus zero": b"-0.0",
    "beyond 64 bits": b"18446744073709551616",
    "text": b'"red"',
    "NUL": b'"\\u0000"',
    "lines": b'"a\\r\\nX-Evil: 1"',
    "emoji": '"\U0001f377"'.encode(),
    "a megabyte": b'"' + b"x" * 1_000_000 + b'"',
    "list": b"[1]",
    "empty list": b"[]",
    "ragged": b"[[1], [1, 2], 3]",
    "object": b'{"a": 1}',
    "empty object": b"{}",
    "1,000 lists": b"[" * 1_000 + b"]" * 1_000,
    "30 lists": b"[" * 30 + b"1" + b"]" * 30,
}
ALL_PLACES = [*DOORS.items(), *PLACES]


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS.keys())
def test_what_is_not_json_is_refused(server: Server, cell: bytes) -> None:
    # MLflow's own client writes these literals, so that its protocol has to take them.
    literal = cell in (b"NaN", b"Infinity", b"-Infinity")
    for path, body in ALL_PLACES:
        reply = server.post(path, body.replace(b"CELL", cell))
        allowed = (200, 400) if literal and path == "/invocations" else (400,)
        assert reply.status in allowed, (path, body, reply.body[:200])


@pytest.mark.parametrize("cell", ODD_CELLS.values(), ids=ODD_CELLS.keys())
def test_what_is_odd_is_taken_or_refused(server: Server, cell: bytes) -> None:
    for path, body in ALL_PLACES:
        reply = server.post(path, body.replace(b"CELL", cell))
        told = (path, body, reply.status, reply.body[:200])
        assert reply.status in (200, 400, 404, 413, 422), told
        assert "x-evil" not in reply.headers
        json.loads(reply.body)


BODIES = {
    "empty": lambda good: b"",
    "null": lambda good: b"null",
    "byte order mark": lambda good: b"\xef\xbb\xbf" + good,
    "UTF-16": lambda good: good.decode().encode("utf-16"),
    "cut": lambda good: good[:-1],
    "twice": lambda good: good * 2,
    "NUL after it": lambda good: good + b"\0",
    "NULs": lambda good: b"\0" * 1000,
    "random": lambda good: bytes(range(256)) * 100,
    "brackets": lambda good: b"[" * 100_000,
    "a list of it": lambda good: b"[" + good + b"]",
}


@pytest.mark.parametrize("spoil", BODIES.values(), ids=BODIES.keys())
@pytest.mark.parametrize("door", DOORS)
def test_spoilt_bodies_are_refused(
    server: Server, door: str, spoil: Callable[[bytes], bytes]
) -> None:
    body = spoil(DOORS[door].replace(b"CELL", b"1"))
    assert server.post(door, body).status == 400
    assert server.call("POST", door, body).status == 400


def test_of_a_repeated_key_the_last_counts(server: Server) -> None:
    once = server.post("/invocations", b'{"instances": [[4, 5, 6]]}', x_mlops_arm="a")
    twice = b'{"instances": [[1, 2, 3]], "instances": [[4, 5, 6]]}'
    assert server.post("/invocations", twice, x_mlops_arm="a").json == once.json


@pytest.mark.parametrize(
    "rows",
    [b"[]", b"[[]]", b"[[], []]", b"[[1, 2, 3], [1, 2]]", b"[[1, 2, 3], 4]", b"[[1, 2, 3, 4]]"],
)
def test_no_rows_and_ragged_rows_are_refused(server: Server, rows: bytes) -> None:
    bodies = {
        "/invocations": b'{"instances": %b}',
        "/api/v1.0/predictions": b'{"data": {"ndarray": %b}}',
        "/v1/models/wine:predict": b'{"instances": %b}',
    }
    for path, body in bodies.items():
        assert server.post(path, body % rows).status == 400
    for shape in (b"[0, 3]", b"[2, 3]", b"[-1, 3]", b"[3]", b"[1, 3, 0]"):
        tensor = b'{"inputs": [{"name": "x", "shape": %b, "datatype": "FP64", "data": [1, 2]}]}'
        assert server.post("/v2/models/wine/infer", tensor % shape).status == 400


def test_a_million_rows_are_predicted(server: Server) -> None:
    rows = b",".join([b"[1,2,3]"] * 1_000_000)
    reply = server.post("/invocations", b'{"instances":[%b]}' % rows)
    assert reply.status == 200
    assert len(reply.json["predictions"]) == 1_000_000


def test_a_million_outcomes_are_refused(server: Server) -> None:
    ones = b",".join([b"1"] * 1_000_000)
    bodies = {
        "/feedback": b'{"client_id": "x", "truth": [%b]}',
        "/api/v1.0/feedback": (
            b'{"response": {"meta": {"puid": "x"}}, "truth": {"data": {"ndarray": [%b]}}}'
        ),
    }
    for path, body in bodies.items():
        assert server.post(path, body % ones).status == 413
        server.hang_up()
    lines = b'{"client_id": "x", "truth": 1}\n' * 500_000
    reply = server.call("POST", "/feedback", lines, {"content-type": "application/x-ndjson"})
    assert reply.status == 413
    server.hang_up()


@pytest.mark.parametrize(
    "header",
    [b"text/plain", b"application/xml", b"", b";", b"application/json; charset=utf-16", b"\xff"],
)
def test_other_content_types_are_refused_or_not_looked_at(server: Server, header: bytes) -> None:
    for path, body in DOORS.items():
        data = request(path, body.replace(b"CELL", b"1"), b"Content-Type: " + header)
        assert exchange(server, data).status in (200, 400, 404, 415)


# The size, however it is sent.


@pytest.mark.parametrize(("size", "status"), [(MAX_BODY, 200), (MAX_BODY + 1, 413)])
@pytest.mark.parametrize("way", ["chunked", "gzip", "deflate"])
def test_the_limit_is_16_mib_however_it_comes(
    server: Server, way: str, size: int, status: int
) -> None:
    body = GOOD.ljust(size)
    if way == "chunked":
        pieces = (body[at : at + 100_000] for at in range(0, size, 100_000))
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
        data = request("/invocations", chunks + b"0\r\n\r\n", b"Transfer-Encoding: chunked")
    else:
        packed = gzip.compress(body) if way == "gzip" else zlib.compress(body)
        data = request("/invocations", packed, b"Content-Encoding: " + way.encode())
    assert exchange(server, data).status == status


# Content codings.


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "GZIP", "deflate", "identity", ""])
def test_packed_bodies_are_unpacked(server: Server, door: str, coding: str) -> None:
    body = DOORS[door].replace(b"CELL", b"1")
    packers: dict[str, Callable[[bytes], bytes]]
    packers = {"deflate": zlib.compress, "identity": bytes, "": bytes}
    pack = packers.get(coding, gzip.compress)
    plain = server.post(door, body)
    packed = server.call("POST", door, pack(body), {"content-encoding": coding})
    assert packed.status == plain.status < 500
    assert len(packed.body) == len(plain.body)


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "gzip;q=1", "x" * 1000])
def test_unknown_packings_are_refused(server: Server, coding: str) -> None:
    for path, body in DOORS.items():
        reply = server.call("POST", path, body, {"content-encoding": coding})
        assert reply.status == 415
        assert reply.headers["accept-encoding"] == "gzip, deflate"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        GOOD,
        gzip.compress(GOOD)[:-1],
        gzip.compress(GOOD)[:10],
        gzip.compress(GOOD) + b"x",
        gzip.compress(GOOD[:5]) + gzip.compress(GOOD[5:]),
        gzip.compress(gzip.compress(GOOD)),
        zlib.compress(GOOD),
    ],
    ids=["empty", "plain", "cut", "header", "more", "two members", "twice", "deflate"],
)
def test_what_is_not_gzip_is_refused(server: Server, body: bytes) -> None:
    reply = server.call("POST", "/invocations", body, {"content-encoding": "gzip"})
    assert reply.status == 400


def test_a_bomb_is_not_unpacked(server: Server) -> None:
    packer = zlib.compressobj(1, wbits=31)
    piece = bytes(MAX_BODY)
    bomb = b"".join([*(packer.compress(piece) for _ in range(16)), packer.flush()])
    before = memory_kib(server)
    for _ in range(5):
        reply = server.call("POST", "/invocations", bomb, {"content-encoding": "gzip"})
        assert reply.status == 413
        server.hang_up()
    assert memory_kib(server) - before < 100 * 1024


def memory_kib(server: Server) -> int:
    """Most memory the process ever had."""
    with open(f"/proc/{server.process.pid}/status") as file:  # noqa: PTH123 - not a real file
        line = next(line for line in file if line.startswith("VmHWM"))
    return int(line.split()[1])


def test_bodies_that_end_too_early_or_too_late(server: Server) -> None:
    with Wire(server) as wire:
        wire.send(request("/invocations", GOOD, b"Content-Length: 5"))
        assert wire.reply().status == 400
        # The rest reads as another request, which it is not.
        assert wire.reply().status == 400
        assert wire.closed
    for _ in range(20):
        with Wire(server) as wire:
            wire.send(request("/invocations", GOOD, b"Content-Length: 1000000"))


def test_columns_of_other_names_are_named(server: Server) -> None:
    names = [*COLUMNS[:2], "x" * 1_000_000]
    document = {"dataframe_split": {"columns": names, "data": [[1, 2, 3]]}}
    reply = server.post("/invocations", document)
    assert reply.status == 400
    assert "sulphates" in reply.json["message"]
    assert len(reply.body) < 1000
