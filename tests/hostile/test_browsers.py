"""What a web page of somebody else can do with a server on this machine: nothing."""

from __future__ import annotations

import contextlib
import http.server
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.hostile.wire import exchange, request
from tests.serving.server import Server

if TYPE_CHECKING:
    from selenium.webdriver import Chrome


V2 = (
    b'{"id": "evil-1", "inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP64", '
    b'"data": [1, 2, 3]}]}'
)
FEEDBACK = b'{"client_id": "evil-1", "reward": 1}'
DOORS = {
    "/v2/models/wine/infer": V2,
    "/invocations": b'{"instances": [[1, 2, 3]]}',
    "/api/v1.0/predictions": b'{"data": {"ndarray": [[1, 2, 3]]}}',
    "/v1/models/wine:predict": b'{"instances": [[1, 2, 3]]}',
    "/feedback": FEEDBACK,
    "/api/v1.0/feedback": b'{"response": {"meta": {"puid": "evil-1"}}, "reward": 1}',
}
JSON = b"Content-Type: application/json"


@pytest.mark.parametrize(
    "headers",
    [
        [b"Origin: http://evil.example"],
        [b"Origin: null"],
        [b"Sec-Fetch-Site: cross-site"],
        [b"Sec-Fetch-Site: same-site", b"Origin: http://localhost:3000"],
        # Another port of this machine is another origin.
        [b"Origin: http://127.0.0.1:1"],
        [b"Host: evil.example"],
        [b"Host: evil.example:8080"],
        [b"Host: localhost.evil.example"],
    ],
)
@pytest.mark.parametrize("path", DOORS)
def test_foreign_pages_and_names_are_refused(
    server: Server, path: str, headers: list[bytes]
) -> None:
    data = request(path, DOORS[path], JSON, *headers)
    if headers[0].startswith(b"Host"):
        data = data.replace(b"Host: localhost\r\n", b"")
    answer = exchange(server, data)
    assert answer.status == 403
    assert "access-control-allow-origin" not in answer.headers
    server.hang_up()


@pytest.mark.parametrize("media", [b"text/plain", b"multipart/form-data; boundary=x", b"", None])
@pytest.mark.parametrize("path", DOORS)
def test_what_a_form_can_send_is_no_json(server: Server, path: str, media: bytes | None) -> None:
    headers = [b"Sec-Fetch-Site: same-origin"]
    if media is not None:
        headers.append(b"Content-Type: " + media)
    assert exchange(server, request(path, DOORS[path], *headers)).status == 415
    server.hang_up()


def test_reading_is_refused_too_and_a_link_may_be_followed(server: Server) -> None:
    assert server.get("/report.json", Host="evil.example").status == 403
    foreign = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    assert server.call("GET", "/report.json", None, foreign).status == 403
    link = {
        "Sec-Fetch-Site": "cross-site",
        "Sec-Fetch-Mode": "navigate",
        "Sec-Fetch-Dest": "document",
    }
    assert server.call("GET", "/docs", None, link).status == 200
    for name in ("localhost", f"localhost:{server.port}", f"127.0.0.1:{server.port}", "[::1]:80"):
        assert server.get("/health", Host=name).status == 200


def test_clients_that_are_no_browsers_go_on(server: Server) -> None:
    """As tritonclient, which names no type, and Seldon's own, which sends a form."""
    body = V2.replace(b"evil-1", b"good-1")
    assert server.call("POST", "/v2/models/wine/infer", body).status == 200
    form = b"json=%7B%22data%22%3A%7B%22ndarray%22%3A%5B%5B1%2C2%2C3%5D%5D%7D%7D"
    kind = {"content-type": "application/x-www-form-urlencoded"}
    assert server.call("POST", "/api/v1.0/predictions", form, kind).status == 200
    assert server.call("POST", "/feedback", FEEDBACK, kind).status == 415


@contextlib.contextmanager
def _site(page: str) -> Iterator[int]:
    class Site(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = page.encode()
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site) as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        yield site.server_port
        site.shutdown()


_PAGE = """<script>
const base = "http://127.0.0.1:PORT";
const rows = '{"id": "evil-1", "instances": ROWS}';
const told = '{"client_id": "evil-1", "reward": 1}';
const doors = [["/invocations", rows], ["/v2/models/wine/infer", V2], ["/feedback", told]];
(async () => {
  let sent = 0;
  for (const type of ["text/plain", "application/x-www-form-urlencoded", ""])
    for (const [path, body] of doors) {
      await fetch(base + path, {method: "POST", mode: "no-cors", body: new Blob([body], {type})});
      sent += 1;
    }
  let read = "nothing";
  try { read = await (await fetch(base + "/report.json")).text(); } catch {}
  document.title = "sent " + sent + ", read " + read;
})();
</script>"""


def test_a_page_in_chromium(server: Server, browser: Chrome) -> None:
    before = server.metrics()
    page = _PAGE.replace("PORT", str(server.port)).replace("ROWS", "[[1, 2, 3]]")
    page = page.replace("V2", f"'{V2.decode()}'")
    with _site(page) as port:
        browser.get(f"http://localhost:{port}/")
        deadline = time.monotonic() + 180
        while not browser.title.startswith("sent") and time.monotonic() < deadline:
            time.sleep(0.05)
        assert browser.title == "sent 9, read nothing"
    after = server.metrics()
    counted = {
        key for key in after if "requests" in key[0] or "feedback" in key[0] or "drawn" in key[0]
    }
    assert counted
    assert {key: after[key] for key in counted} == {key: before.get(key, 0.0) for key in counted}
    # A name that now leads here.
    browser.get(f"http://evil.example:{server.port}/report.json")
    assert "is not called" in browser.page_source
    browser.get(f"http://localhost:{server.port}/report")
    assert "is not called" not in browser.page_source
