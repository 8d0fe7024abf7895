"""What the page of a project passes on to a deployment's server, and what it does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

import httpx
from starlette.applications import Starlette
from starlette.routing import Route

from mlops.workflows.project_proxy import Proxy

_CHUNKED = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer with the cookies that came; or begin a stream of events and die."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    if head.startswith("GET /ui/events"):
        writer.write(_CHUNKED + b"5\r\nfirst\r\n")
    else:
        lines = [line for line in head.split("\r\n") if line.lower().startswith("cookie:")]
        body = "".join(lines).encode()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
    await writer.drain()
    writer.close()


def _ask(
    path: str,
    headers: Mapping[str, str] | None = None,
    form: AsyncIterator[bytes] | None = None,
    *,
    is_up: bool = True,
) -> httpx.Response:
    async def run() -> httpx.Response:
        server = await asyncio.start_server(_answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        if not is_up:
            server.close()
        proxy = Proxy(lambda name: f"http://127.0.0.1:{port}")
        route = Route("/d/{name}/{path:path}", proxy, methods=["GET", "POST"])
        transport = httpx.ASGITransport(Starlette(routes=[route]))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            method = "GET" if form is None else "POST"
            reply = await client.request(method, path, headers=headers, content=form)
        await proxy.close()
        server.close()
        return reply

    return asyncio.run(run())


def test_only_the_deployments_own_cookie_is_passed_on() -> None:
    """Other programs' of 127.0.0.1, as Jupyter's, come with it whatever their port."""
    own = "mlops-ui-wine-0123abcd=1.d2hv.dGFn=="
    others = "jupyter=SECRET", "mlops-ui-wine2-0123abcd=x", "mlops-ui-wine-x-0123abcd=x", "flag"
    assert _ask("/d/wine/ui", {"cookie": "; ".join([*others, own])}).text == f"cookie: {own}"
    assert _ask("/d/wine/ui", {"cookie": "; ".join(others)}).text == ""


def test_a_server_that_dies_ends_its_stream_without_a_traceback() -> None:
    assert _ask("/d/wine/ui/events").text == "first"


def test_a_server_that_is_gone_is_told_as_text() -> None:
    reply = _ask("/d/<b>/ui", is_up=False)
    assert (reply.status_code, reply.headers["content-type"]) == (502, "text/plain; charset=utf-8")


def test_of_a_form_that_is_too_large_little_is_read() -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(1000):
            read += 1
            yield b"x" * 1024

    assert _ask("/d/wine/ui/sign-in", form=endless()).status_code == 413
    assert read < 12
