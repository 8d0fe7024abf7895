"""A client that sends any bytes, and bodies that try each door."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from types import TracebackType

from tests.serving.models import ROWS, records
from tests.serving.server import Reply, Server

_TIMEOUT_S = 20.0
MIB = 1024 * 1024
MAX_BODY = 16 * MIB

#: Every door, as a body whose `CELL` stands for one JSON value.
DOORS = {
    "/invocations": b'{"instances": [[CELL, 9.4, 0.56]]}',
    "/api/v1.0/predictions": b'{"data": {"ndarray": [[CELL, 9.4, 0.56]]}}',
    "/v2/models/wine/infer": (
        b'{"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP64", "data": [CELL, 9, 1]}]}'
    ),
    "/v1/models/wine:predict": b'{"instances": [[CELL, 9.4, 0.56]]}',
    "/feedback": b'{"client_id": "nobody", "reward": CELL}',
    "/api/v1.0/feedback": b'{"response": {"meta": {"puid": "nobody"}}, "reward": CELL}',
}
#: Further places where a value can stand.
PLACES = [
    ("/invocations", b'{"dataframe_split": {"data": [[CELL, 9.4, 0.56]]}}'),
    ("/invocations", b'{"dataframe_split": {"data": [[[[CELL], [CELL, 1]], 9.4, 0.56]]}}'),
    ("/invocations", b'{"dataframe_split": {"columns": [CELL], "data": [[1, 2, 3]]}}'),
    (
        "/invocations",
        b'{"dataframe_records": [{"fixed acidity": CELL, "alcohol": CELL, "sulphates": 1}]}',
    ),
    ("/invocations", b'{"inputs": {"fixed acidity": [CELL], "alcohol": [1], "sulphates": [1]}}'),
    (
        "/invocations",
        b'{"inputs": {"fixed acidity": [[1], [CELL, 2]], "alcohol": [1, 2], "sulphates": [3, 4]}}',
    ),
    ("/invocations", b'{"instances": [[1, 2, 3]], "params": {"depth": CELL}}'),
    ("/invocations", b'{"instances": [[CELL, 2, 3]], "params": {"depth": 1}}'),
    ("/invocations", b'{"instances": CELL, "params": CELL}'),
    ("/api/v1.0/predictions", b'{"jsonData": CELL}'),
    ("/api/v1.0/predictions", b'{"data": {"ndarray": [[1, 2, 3]]}, "meta": {"tags": {"a": CELL}}}'),
    ("/api/v1.0/predictions", b'{"data": {"ndarray": [[1, 2, 3]]}, "meta": {"puid": CELL}}'),
    ("/api/v1.0/predictions", b'{"data": {"tensor": {"shape": [1, 3], "values": [CELL, 2, 3]}}}'),
    ("/api/v1.0/predictions", b'{"data": {"tensor": {"shape": [CELL], "values": [1]}}}'),
    (
        "/v2/models/wine/infer",
        b'{"inputs": [{"name": "x", "shape": [CELL, 3], "datatype": "FP64", "data": [1, 2, 3]}]}',
    ),
    (
        "/v2/models/wine/infer",
        (
            b'{"id": CELL, "parameters": {"p": CELL}, "inputs": [{"name": CELL, "shape": [1, 3], '
            b'"datatype": "FP64", "data": [1, 2, 3]}], "outputs": CELL}'
        ),
    ),
    (
        "/v2/models/wine/infer",
        (
            b'{"parameters": {"p": CELL}, "inputs": [{"name": "x", "shape": [1, 3], '
            b'"datatype": "BYTES", "parameters": {"content_type": "base64"}, '
            b'"data": ["eA==", "eA==", "eA=="]}]}'
        ),
    ),
    ("/v1/models/wine:predict", b'{"inputs": CELL}'),
    ("/feedback", b'{"request_id": CELL, "client_id": CELL, "reward": 1}'),
    ("/feedback", b'{"client_id": "nobody", "truth": CELL}'),
    ("/feedback", b'{"client_id": "nobody", "truth": [CELL]}'),
    ("/feedback", b'{"client_id": "nobody", "row": CELL, "reward": 1}'),
    ("/feedback", b'{"outcomes": CELL}'),
    ("/feedback", b"CELL"),
    ("/api/v1.0/feedback", b'{"request": CELL, "response": CELL, "truth": CELL}'),
    ("/api/v1.0/feedback", b'{"response": {"meta": {"puid": "x"}}, "truth": {"jsonData": CELL}}'),
]
GOOD = DOORS["/invocations"].replace(b"CELL", b"7.4")


class Wire:
    """One connection to a server. Use as a context."""

    def __init__(self, server: Server, *, receive_buffer: int | None = None) -> None:
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(_TIMEOUT_S)
        self.socket.connect(("127.0.0.1", server.port))
        self._read = b""
        self.drip = b" "

    def __enter__(self) -> Wire:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.socket.close()

    def send(self, data: bytes) -> Wire:
        self.socket.sendall(data)
        return self

    def end(self) -> None:
        """Say that no more is sent."""
        self.socket.shutdown(socket.SHUT_WR)

    def reply(self, *, head: bool = False) -> Reply:
        """Read the next answer."""
        while b"\r\n\r\n" not in self._read:
            self._more()
        first, _, self._read = self._read.partition(b"\r\n\r\n")
        status, *lines = first.decode("latin-1").split("\r\n")
        pairs = (line.split(": ", 1) for line in lines)
        headers = {name.lower(): value for name, value in pairs}
        size = 0 if head else int(headers.get("content-length", 0))
        while len(self._read) < size:
            self._more()
        body, self._read = self._read[:size], self._read[size:]
        return Reply(int(status.split()[1]), headers, body)

    @property
    def closed(self) -> bool:
        """Whether the server sends no more and ends the connection."""
        try:
            return not self._read and not self.socket.recv(1)
        except ConnectionResetError:
            return True

    def _more(self) -> None:
        data = self.socket.recv(MIB)
        assert data, f"closed after {self._read!r}"
        self._read += data


def request(path: str, body: bytes = b"", *headers: bytes, method: str = "POST") -> bytes:
    """A whole request; without a header of its own for the size, the body gets one."""
    lines = [f"{method} {path} HTTP/1.1".encode("latin-1"), b"Host: localhost", *headers]
    if not any(h.lower().startswith((b"content-length", b"transfer-")) for h in headers):
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, b"", body])


def exchange(server: Server, data: bytes, *, head: bool = False) -> Reply:
    """Send bytes over a connection of their own and return the first answer."""
    with Wire(server) as wire:
        return wire.send(data).reply(head=head)


def assert_well(server: Server) -> None:
    """Fail unless the server predicts, takes feedback and has lost nothing."""
    reply = server.predict(records(ROWS[:1]))
    assert reply.status == 200, reply.body
    answer = server.post("/feedback", {"request_id": reply.request_id, "reward": 1})
    assert answer.json["counts"] == {"accepted": 1}, answer.body
    assert server.admin("GET", "/status").json["shed"] == 0


@contextlib.contextmanager
def nothing_happens_to(server: Server) -> Iterator[None]:
    """Check that the server is well after the block, and that no exception got into its log."""
    before = len(server.log)
    yield
    assert_well(server)
    assert "Traceback" not in server.log[before:], server.log[before:][:4000]
