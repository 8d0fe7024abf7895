"""How an answer is written as HTTP: its head, by hand or as ASGI has it, and its errors."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, MutableMapping
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Any, TypeAlias

import orjson

from mlops.protocols.base import Encoded, Kind, ProtocolError
from mlops.protocols.http_status import http_status
from mlops.serving.access.grants import TooManyRequestsError
from mlops.serving.dataplane import Answer

Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers: TypeAlias = tuple[tuple[bytes, bytes], ...]
ALLOW = ((b"allow", b"POST"),)
_GOOD = (
    b"HTTP/1.1 200 OK\r\ndate: %b\r\ncontent-type: %b\r\ncontent-length: %d\r\n"
    b"x-mlops-request-id: %b\r\nx-mlops-arm: %b\r\nx-mlops-revision: %d\r\n%b\r\n%b"
)
_ANY = b"HTTP/1.1 %b\r\ndate: %b\r\ncontent-type: %b\r\ncontent-length: %d\r\n%b%b\r\n%b"
CLOSE = ((b"connection", b"close"),)
_CHALLENGE = (
    (b"www-authenticate", b"Bearer"),
    (b"www-authenticate", b'Basic realm="mlops", charset="UTF-8"'),
)
_FURTHER: dict[Kind, Headers] = {
    Kind.UNAUTHENTICATED: _CHALLENGE,
    Kind.SLOW_BODY: CLOSE,
    Kind.BUSY: ((b"retry-after", b"1"),),
    Kind.NOT_READY: ((b"retry-after", b"1"),),
    Kind.TOO_LARGE: CLOSE,
    Kind.UNSUPPORTED_MEDIA: ((b"accept-encoding", b"gzip, deflate"),),
}


@lru_cache(maxsize=1)
def _date(second: int) -> bytes:
    return formatdate(second, usegmt=True).encode()


def answer_headers(answer: Answer) -> Headers:
    """Return the headers that only an answer has, or a fault after its request was drawn."""
    result = answer.result
    further = further_headers(result) if isinstance(result, ProtocolError) else ()
    return (
        (b"x-mlops-request-id", answer.request_id.encode()),
        (b"x-mlops-arm", answer.arm.encode()),
        (b"x-mlops-revision", b"%d" % answer.revision),
        *further,
    )


def write_answer(encoded: Encoded, of: Answer | ProtocolError, keep_alive: bool) -> bytes:
    """Write an answer as HTTP/1.1 has it (RFC 9112)."""
    close = b"" if keep_alive else b"connection: close\r\n"
    date = _date(int(time.time()))
    if type(of) is Answer and encoded.status == 200 and not encoded.headers:
        return _GOOD % (
            date, encoded.content_type, len(encoded.body), of.request_id.encode(), of.arm.encode(),
            of.revision, close, encoded.body,
        )  # fmt: skip
    more = answer_headers(of) if isinstance(of, Answer) else further_headers(of)
    lines = b"".join(b"%b: %b\r\n" % pair for pair in (*encoded.headers, *more))
    status = b"%d %b" % (encoded.status, HTTPStatus(encoded.status).phrase.encode())
    size = len(encoded.body)
    return _ANY % (status, date, encoded.content_type, size, lines, close, encoded.body)


def further_headers(error: ProtocolError) -> Headers:
    """Return the headers that go with an error."""
    if isinstance(error, TooManyRequestsError):
        return ((b"retry-after", b"%d" % error.retry_after_s),)
    return _FURTHER.get(error.kind, ())


async def send_answer(send: Send, encoded: Encoded, extra: Headers) -> None:
    """Send an answer as ASGI 3.0 has it."""
    headers = [
        (b"content-type", encoded.content_type),
        (b"content-length", b"%d" % len(encoded.body)),
        *encoded.headers,
        *extra,
    ]
    await send({"type": "http.response.start", "status": encoded.status, "headers": headers})
    await send({"type": "http.response.body", "body": encoded.body})


def text_error(status: int, message: str) -> Encoded:
    """Return an error in our own form."""
    return Encoded(status, orjson.dumps({"error": message}))


def own_error(error: ProtocolError) -> Encoded:
    """Return a fault in our own form."""
    return text_error(http_status(error.kind), error.message)
