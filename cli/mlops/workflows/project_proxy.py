"""Passes what a browser asks of a deployment's live page on to its server, and the answer back."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Callable, Mapping
from functools import cached_property

import httpx
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from mlops.errors import NotFoundError
from mlops.serving.live_page.assets import NO_STORE
from mlops.serving.live_page.pages import PROJECT
from mlops.serving.live_page.session import PREFIX

# What the page needs; predictions are sent to the server itself.
_WORD = r"[A-Za-z0-9_.-]*[A-Za-z0-9_-]"
_GET = re.compile(
    rf"report|ui(/(events|static/{_WORD}|report|requests(/{_WORD}(/explanation)?)?))?", re.ASCII
)
_POST = re.compile(r"ui/sign-(in|out)")
_SENT = ("accept", "authorization", "content-type")
_RETURNED = (
    "cache-control", "content-security-policy", "content-type", "location", "referrer-policy",
    "retry-after", "vary", "www-authenticate", "x-accel-buffering", "x-content-type-options",
)  # fmt: skip
_MAX_FORM = 8 * 1024


class Proxy:
    """An ASGI application for `/d/{name}/{path}`.

    Args:
        url_of: Gives where a deployment answers; raises `NotFoundError`.
    """

    def __init__(self, url_of: Callable[[str], str]) -> None:
        self._url_of = url_of

    @cached_property
    def _client(self) -> httpx.AsyncClient:
        # A stream of events has no end; neither has a name in the user's proxy settings a say here.
        timeout = httpx.Timeout(600.0, connect=5.0, pool=2.0)
        return httpx.AsyncClient(timeout=timeout, trust_env=False)

    async def close(self) -> None:
        """Close the connections to servers."""
        await self._client.aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, as ASGI asks."""
        response = await self._answer(Request(scope, receive))
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> StreamingResponse | PlainTextResponse:
        name, path = request.path_params["name"], request.path_params["path"]
        try:
            url = self._url_of(name)
        except NotFoundError as error:
            return PlainTextResponse(f"{error.message} {error.hint or ''}", 404, NO_STORE)
        if path == "docs":
            # It tries calls out, which go to the server.
            return RedirectResponse(f"{url}/docs", 307, NO_STORE)  # type: ignore[return-value]
        known = _POST if request.method == "POST" else _GET
        if not known.fullmatch(path):
            return PlainTextResponse("There is no such page.", 404, NO_STORE)
        body = await _form(request) if request.method == "POST" else b""
        if len(body) > _MAX_FORM:
            return PlainTextResponse("That is no key.", 413, {**NO_STORE, "connection": "close"})
        headers = {key: request.headers[key] for key in _SENT if key in request.headers}
        headers |= _cookie(request, name)
        asked = self._client.build_request(
            request.method,
            httpx.URL(f"{url}/{path}", query=request.url.query.encode()),
            headers={**headers, "accept-encoding": "identity", PROJECT: "1"},
            content=body,
        )
        try:
            reply = await self._client.send(asked, stream=True)
        except httpx.PoolTimeout:
            text = "Too many pages are being read through this one; try again later."
            return PlainTextResponse(text, 503, {**NO_STORE, "retry-after": "10"})
        except httpx.HTTPError as error:
            text = f"The server of {name} does not answer: {error!r}."
            return PlainTextResponse(text, 502, NO_STORE)
        response = StreamingResponse(
            _parts(reply), reply.status_code, background=BackgroundTask(reply.aclose)
        )
        for key in _RETURNED:
            if key in reply.headers:
                response.headers[key] = reply.headers[key]
        for cookie in reply.headers.get_list("set-cookie"):
            response.headers.append("set-cookie", cookie)
        return response


async def _form(request: Request) -> bytes:
    """Read a form, and no more of it than is told to be too much."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _MAX_FORM:
            break
    return body


def _cookie(request: Request, name: str) -> Mapping[str, str]:
    """Return the header with the cookie of a deployment; other programs' are not its business."""
    own = re.compile(rf"{PREFIX}{re.escape(name)}-[0-9a-f]{{8}}")
    held = [f"{key}={value}" for key, value in request.cookies.items() if own.fullmatch(key)]
    return {"cookie": "; ".join(held)} if held else {}


async def _parts(reply: httpx.Response) -> AsyncIterator[bytes]:
    """Yield what a server sends, until it ends or dies; a browser then asks again."""
    with contextlib.suppress(httpx.HTTPError):
        async for part in reply.aiter_raw():
            yield part
