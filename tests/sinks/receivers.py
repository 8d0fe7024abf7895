"""Servers that take what sinks send, and check its form strictly."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cloudevents.v1.http import from_http, from_json

#: (status, body) to answer a request with its headers and body.
Reply = Callable[[dict[str, str], bytes], tuple[int, bytes]]


class Receiver:
    """An HTTP server on a thread.

    Args:
        reply: Answers each POST.
        port: 0 for any.
    """

    def __init__(self, reply: Reply, port: int = 0) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                headers[":path"] = self.path
                status, answer = reply(headers, body)
                self.send_response(status)
                if status // 100 == 3:
                    self.send_header("location", "/elsewhere")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def do_GET(self) -> None:
                reply({":path": self.path}, b"GET")
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                """Say nothing: a sender may be killed in the middle of a request."""

        self._server = Server(("127.0.0.1", port), Handler)
        self.port: int = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def receiver(reply: Reply) -> Iterator[Receiver]:
    server = Receiver(reply)
    try:
        yield server
    finally:
        server.stop()


class Events:
    """Reads CloudEvents with the reference SDK."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []
        self.status = 200
        self._lock = threading.Lock()

    def __call__(self, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        if self.status != 200:
            return self.status, b"not now"
        if headers["content-type"] == "application/cloudevents-batch+json":
            found = [from_json(json.dumps(each)) for each in json.loads(body)]
        else:
            assert headers["content-type"] == "application/json"
            found = [from_http(headers, body)]
        with self._lock:
            self.seen += [{**each.get_attributes(), "data": each.get_data()} for each in found]
        return 200, b""

    def ids(self, kind: str = "request") -> list[str]:
        return [each["id"] for each in self.seen if each["type"].endswith(kind)]


class Bulk:
    """Elasticsearch as far as `_bulk` with `create` goes."""

    def __init__(self) -> None:
        self.documents: dict[tuple[str, str], dict[str, Any]] = {}
        self.busy: set[str] = set()
        self.unfit: set[str] = set()
        self.status = 200
        self.posts = 0

    def __call__(self, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        assert headers[":path"] == "/_bulk"
        assert headers["content-type"] == "application/x-ndjson"
        assert body.endswith(b"\n")
        self.posts += 1
        if self.status != 200:
            return self.status, b'{"error": "not now"}'
        lines = [json.loads(line) for line in body.decode().splitlines()]
        items = [self._create(*pair) for pair in zip(lines[::2], lines[1::2], strict=True)]
        return 200, json.dumps({"errors": True, "items": items}).encode()

    def _create(self, action: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
        (verb,) = action
        assert verb == "create"
        index, name = action[verb]["_index"], action[verb]["_id"]
        if name in self.busy:
            self.busy.discard(name)
            return {"create": {"_id": name, "status": 429, "error": {"type": "rejected"}}}
        if name in self.unfit:
            error = {"type": "mapper_parsing_exception", "reason": "failed to parse"}
            return {"create": {"_id": name, "status": 400, "error": error}}
        if (index, name) in self.documents:
            return {"create": {"_id": name, "status": 409, "error": {"type": "conflict"}}}
        self.documents[index, name] = document
        return {"create": {"_id": name, "status": 201}}
