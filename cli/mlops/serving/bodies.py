"""Bodies of requests: read within a size and a time, and unpacked within the same size.

Specification: RFC 9110, sections 8.4 (content codings) and 15.5.14 to 15.5.16; gzip is RFC 1952,
`deflate` the zlib format of RFC 1950.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, TypeAlias

from mlops.protocols.base import Kind, ProtocolError

Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]

#: Largest body that is read, in bytes, as it came and as it was before it was packed.
MAX_BODY = 16 * 1024 * 1024
#: Longest time a body may take to arrive, in seconds.
BODY_DEADLINE_S = 20.0
_MAX_DROPPED = 4 * MAX_BODY
# What zlib calls the two formats.
_WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}


async def read_body(receive: Receive, headers: Mapping[str, str]) -> bytes | None:
    """Read and unpack the whole body; None if the caller went away.

    Raises:
        TimeoutError: It took too long.
        ProtocolError: `TOO_LARGE`; `UNSUPPORTED_MEDIA`: packed in a way that is not known here;
            `MALFORMED`: not packed as it says.
    """
    async with asyncio.timeout(BODY_DEADLINE_S):
        body = await _read(receive, headers)
    coding = headers.get("content-encoding")
    return body if coding is None or body is None else _unpacked(body, coding)


async def _read(receive: Receive, headers: Mapping[str, str]) -> bytes | None:
    """Read the whole body.

    One that is too large is read on and dropped up to a limit: if the connection were closed in
    the middle of it, most callers would see a reset and not the answer.
    """
    declared = headers.get("content-length", "")
    if declared.isdigit() and int(declared) > _MAX_DROPPED:
        raise _too_large(f"{declared} bytes")
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        # Most bodies come in one piece; nothing is copied then.
        body: bytes = message.get("body", b"")
        return body
    chunks, size = bytearray(), 0
    while True:
        if message["type"] == "http.disconnect":
            return None
        body = message.get("body", b"")
        size += len(body)
        if size <= MAX_BODY:
            chunks += body
        if size > _MAX_DROPPED or not message.get("more_body"):
            break
        message = await receive()
    if size > MAX_BODY:
        raise _too_large(f"{size} bytes or more")
    return bytes(chunks)


def _unpacked(body: bytes, coding: str) -> bytes:
    """Undo a content coding, no further than `MAX_BODY`."""
    coding = coding.strip().lower()
    if coding in ("", "identity"):
        return body
    if coding not in _WINDOW_BITS:
        message = f"Content-Encoding: `gzip` and `deflate` are read, not `{coding[:40]}`."
        raise ProtocolError(Kind.UNSUPPORTED_MEDIA, message)
    unpacker = zlib.decompressobj(_WINDOW_BITS[coding])
    try:
        plain = unpacker.decompress(body, MAX_BODY + 1)
    except zlib.error as error:
        raise ProtocolError(Kind.MALFORMED, f"The body is not {coding}: {error}.") from error
    if len(plain) > MAX_BODY:
        raise _too_large(f"{len(plain)} bytes or more when unpacked")
    if not unpacker.eof or unpacker.unused_data:
        # A second member would be legal; nobody sends one, and empty ones by the million cost time.
        fault = "bytes follow its end" if unpacker.eof else "it ends too early"
        raise ProtocolError(Kind.MALFORMED, f"The body is not {coding}: {fault}.")
    return plain


def _too_large(size: str) -> ProtocolError:
    return ProtocolError(Kind.TOO_LARGE, f"The body has {size}; at most {MAX_BODY} are taken.")
