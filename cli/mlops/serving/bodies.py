"""Bodies of requests: read within a size and a time, and unpacked within the same size.

Specification: RFC 9110, sections 8.4 (content codings) and 15.5.14 to 15.5.16; gzip is RFC 1952,
`deflate` the zlib format of RFC 1950.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, ParamSpec, TypeAlias, TypeVar

from mlops.protocols.base import Kind, ProtocolError

Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]

_Args = ParamSpec("_Args")
_Result = TypeVar("_Result")

#: Largest body that is read, in bytes, as it came and as it was before it was packed.
MAX_BODY = 16 * 1024 * 1024
#: Bodies up to this many bytes come in without a look at how much is under way.
SMALL_BODY = 64 * 1024
#: Longest time a body may take to arrive, in seconds.
BODY_DEADLINE_S = 20.0
_MAX_DROPPED = 4 * MAX_BODY
# What zlib calls the two formats.
_WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}


class BodyRoom:
    """Bytes that all large bodies may have together until they are answered.

    Small bodies are not counted: whoever fills the room keeps nobody out that asks about a few
    rows. Lives on one event loop.

    Args:
        size: All the bytes there are; at least `MAX_BODY`, or the largest body never fits.
    """

    def __init__(self, size: int) -> None:
        self._size = self._left = max(size, MAX_BODY)

    def take(self, size: int) -> None:
        """Take room.

        Raises:
            ProtocolError: `BUSY`: there is not that much left.
        """
        if size > self._left:
            taken = self._size - self._left
            raise ProtocolError(
                Kind.BUSY,
                f"Bodies of {taken} bytes are being answered, at most {self._size} are at a time; "
                "send this again shortly.",
            )
        self._left -= size

    def give_back(self, size: int) -> None:
        """Give back what was taken."""
        self._left += size


async def read_body(receive: Receive, headers: Mapping[str, str], room: BodyRoom) -> bytes | None:
    """Read and unpack the whole body; None if the caller went away.

    A body longer than `SMALL_BODY` has taken that much room, which the caller gives back.

    Raises:
        TimeoutError: It took too long.
        ProtocolError: `TOO_LARGE`; `UNSUPPORTED_MEDIA`: packed in a way that is not known here;
            `MALFORMED`: not packed as it says; `BUSY`.
    """
    async with asyncio.timeout(BODY_DEADLINE_S):
        body = await _read(receive, headers, room)
    coding = headers.get("content-encoding")
    if coding is None or body is None:
        return body
    try:
        plain = _unpacked(body, coding)
    finally:
        release(body, room)
    admit(plain, room)
    return plain


def admit(body: bytes, room: BodyRoom) -> None:
    """Take the room of a whole body, if it is a large one.

    Raises:
        ProtocolError: `BUSY`.
    """
    room.take(_counted(len(body)))


def release(body: bytes, room: BodyRoom) -> None:
    """Give back the room of a body that `read_body` has returned, or `admit` let in."""
    room.give_back(_counted(len(body)))


async def off_the_loop(
    size: int, work: Callable[_Args, _Result], *args: _Args.args, **kwargs: _Args.kwargs
) -> _Result:
    """Do what takes time in proportion to a body of this size where it holds nobody else up."""
    if size <= SMALL_BODY:
        return work(*args, **kwargs)
    return await asyncio.to_thread(work, *args, **kwargs)


def _counted(size: int) -> int:
    return size if size > SMALL_BODY else 0


async def _read(receive: Receive, headers: Mapping[str, str], room: BodyRoom) -> bytes | None:
    """Read the whole body.

    One that is too large, or finds no room, is read on and dropped up to a limit: if the
    connection were closed in the middle of it, most callers would see a reset and not the answer.
    """
    declared = headers.get("content-length", "")
    if declared.isdigit() and int(declared) > _MAX_DROPPED:
        raise _too_large(f"{declared} bytes")
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        # Most bodies come in one piece; nothing is copied then.
        body: bytes = message.get("body", b"")
        room.take(_counted(len(body)))
        return body
    chunks, size, taken = bytearray(), 0, 0
    fault: ProtocolError | None = None
    try:
        while message["type"] != "http.disconnect":
            body = message.get("body", b"")
            size += len(body)
            if size <= MAX_BODY and fault is None:
                try:
                    room.take(_counted(size) - taken)
                except ProtocolError as error:
                    fault = error
                    chunks.clear()
                else:
                    taken = _counted(size)
                    chunks += body
            if size > _MAX_DROPPED or not message.get("more_body"):
                break
            message = await receive()
        else:
            return None
        if size > MAX_BODY:
            raise _too_large(f"{size} bytes or more")
        if fault is not None:
            raise fault
        taken, whole = 0, bytes(chunks)
        return whole
    finally:
        room.give_back(taken)


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
