from __future__ import annotations

import http.server
import json
import select
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlops.client.connection import Connection, read_token
from mlops.errors import (
    ConflictError,
    InvalidInputError,
    MlopsError,
    NotAllowedError,
    NotFoundError,
    RemoteError,
)


class Door(http.server.BaseHTTPRequestHandler):
    """Answers what the path asks for: /STATUS/BODY; remembers who called."""

    protocol_version = "HTTP/1.1"
    callers: list[tuple[int, str, str | None]]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        peer = self.client_address[1]
        self.callers.append((peer, self.path, self.headers["authorization"]))
        _, status, body = self.path.split("/", 2)
        text = body.replace("%20", " ").encode()
        if status == "hang":
            self.close_connection = True
            return
        self.send_response(int(status))
        self.send_header("content-length", str(len(text)))
        self.send_header("X-Mlops-Arm", "a")
        self.end_headers()
        self.wfile.write(text)
        # As a server does that ends a connection for having idled: without a word.
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its parent's name
        pass


@pytest.fixture
def url() -> Iterator[str]:
    Door.callers = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Door)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_connection_that_idled_away_is_opened_anew(url: str) -> None:
    with Connection(url, "secret") as connection:
        for number in range(3):
            answer, headers = connection.post(f"/200/{number}", b"{}")
            assert (answer, headers["x-mlops-arm"]) == (number, "a")
            # The server's end arrives.
            assert select.select([connection._http.sock], [], [], 120)[0]
    assert [path for _, path, _ in Door.callers] == ["/200/0", "/200/1", "/200/2"]
    assert len({peer for peer, _, _ in Door.callers}) == 3
    assert {token for _, _, token in Door.callers} == {"Bearer secret"}


def test_nothing_is_sent_twice(url: str) -> None:
    with Connection(url) as connection, pytest.raises(RemoteError):
        connection.post("/hang/x", b"{}")
    assert len(Door.callers) == 1


@pytest.mark.parametrize(
    ("path", "kind", "says"),
    [
        ("/401/no", NotAllowedError, "401"),
        ("/403/no", NotAllowedError, "403"),
        ('/404/{"error":"gone"}', NotFoundError, "gone"),
        ('/409/{"problems":[{"error":"twice"}]}', ConflictError, "twice"),
        ('/422/{"message":"bad"}', InvalidInputError, "bad"),
        ('/400/{"status":{"info":"shape"}}', InvalidInputError, "shape"),
        ("/400/[1]", InvalidInputError, "[1]"),
        ("/500/oh", RemoteError, "oh"),
        ("/200/oh", RemoteError, "not JSON"),
    ],
)
def test_refusals(url: str, path: str, kind: type[MlopsError], says: str) -> None:
    with Connection(url) as connection, pytest.raises(kind) as caught:
        connection.post(path, b"{}")
    assert type(caught.value) is kind
    assert says in caught.value.message


def test_a_prefix_stays_in_front(url: str) -> None:
    with Connection(f"{url}/200/") as connection:
        assert connection.post("/[1]", json.dumps({}).encode())[0] == [1]


@pytest.mark.parametrize("text", ["host:80", "ftp://host", "http://", "/path"])
def test_what_is_no_url(text: str) -> None:
    with pytest.raises(InvalidInputError):
        Connection(text)


def test_tokens_are_read_from_files(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    assert (read_token(str(tmp_path / "token")), read_token("")) == ("secret", "")
    with pytest.raises(InvalidInputError):
        read_token(str(tmp_path / "nowhere"))
