"""Kept connections to one server.

A request is sent again in two cases only: the connection was refused, or one that was kept broke
before a byte of the answer. The latter is what a server does that had closed it for being idle;
that it has read the request cannot be excluded, but a prediction changes nothing there.

Redirects are not followed, no cookie is kept, no proxy is taken from the environment, and answers
are limited in size.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from types import SimpleNamespace

import aiohttp
import yarl

_CONNECT_S = 3.0
# Servers close idle connections after 5 s at the earliest (uvicorn's default); this one earlier.
_KEEP_ALIVE_S = 3.0
_CONNECTIONS = 64
_TRIES = 3


class UnreachableError(Exception):
    """A server refused the connection, or broke it; the text says how."""


class TooLargeError(Exception):
    """An answer is larger than it may be."""


class Pool:
    """Connections to one server; lives on one event loop.

    Args:
        headers: Sent with every request.
        timeout_s: How long an answer may take in all.
        max_answer: How large it may be, in bytes.
    """

    def __init__(self, headers: Mapping[str, str], *, timeout_s: float, max_answer: int) -> None:
        self._max_answer = max_answer
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=_CONNECTIONS, keepalive_timeout=_KEEP_ALIVE_S),
            # Not compressed: what is small on the wire may be endless in memory.
            headers={"accept-encoding": "identity", **headers},
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=timeout_s, sock_connect=_CONNECT_S),
            auto_decompress=False,
            trace_configs=[_trace()],
        )

    async def ask(self, method: str, url: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Send one request; return status and body of the answer.

        Raises:
            TimeoutError: There was no answer in time.
            UnreachableError: The server is not there, or went away.
            TooLargeError: The answer is too large.
        """
        for attempt in range(_TRIES):
            context = SimpleNamespace(reused=False)
            try:
                return await self._once(method, url, body, context)
            except TimeoutError:
                raise
            except aiohttp.ClientError as error:
                if attempt == _TRIES - 1 or not _was_not_seen(error, reused=context.reused):
                    raise UnreachableError(_reason(error)) from error
                await asyncio.sleep(0.05 * attempt)
        raise AssertionError("unreachable")

    async def _once(
        self, method: str, url: str, body: bytes | None, context: SimpleNamespace
    ) -> tuple[int, bytes]:
        async with self._session.request(
            method,
            yarl.URL(url, encoded=True),
            data=body,
            allow_redirects=False,
            trace_request_ctx=context,
        ) as response:
            parts, size = [], 0
            async for part in response.content.iter_any():
                size += len(part)
                if size > self._max_answer:
                    response.close()
                    raise TooLargeError
                parts.append(part)
            return response.status, b"".join(parts)

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()


def _trace() -> aiohttp.TraceConfig:
    """Note whether a request used a kept connection."""

    async def reused(_session: object, context: SimpleNamespace, _parameters: object) -> None:
        context.trace_request_ctx.reused = True

    trace = aiohttp.TraceConfig()
    trace.on_connection_reuseconn.append(reused)
    return trace


def _was_not_seen(error: aiohttp.ClientError, *, reused: bool) -> bool:
    if isinstance(error, aiohttp.ClientConnectorError):
        return True
    closed = isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError)
    return closed and reused


def _reason(error: aiohttp.ClientError) -> str:
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "it closed the connection"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"its certificate is not trusted: {error.certificate_error}"
    inner = getattr(error, "os_error", error)
    code = getattr(inner, "errno", None)
    # A failed look-up of a name has negative codes of its own, and a text that says so.
    text = os.strerror(code) if code and code > 0 else getattr(inner, "strerror", "") or str(error)
    return (text or type(error).__name__).rstrip(".")
