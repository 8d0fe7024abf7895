"""A webhook that keeps what is posted to it."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Receiver:
    """What came.

    Attributes:
        url: Where to post to.
        texts: Of the messages that it took.
        keys: Their idempotency keys.
        asked: Path of each request, taken or not.
        refuse: How many of the next requests it answers with `status`.
        status: That status; a redirect leads to `/elsewhere`.
    """

    url: str = ""
    texts: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    refuse: int = 0
    status: int = 503


@contextlib.contextmanager
def receiver() -> Iterator[Receiver]:
    """Open one on a free port."""
    found = Receiver()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            found.asked.append(self.path)
            taken = not found.refuse
            if taken:
                assert list(body) == ["text"]
                found.texts.append(body["text"])
                found.keys.append(self.headers["idempotency-key"])
            else:
                found.refuse -= 1
            self.send_response(200 if taken else found.status)
            self.send_header("location", f"{found.url}/elsewhere")
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
