"""Bodies of requests: read within a size and a time, and unpacked within the same size.

Specification: RFC 9110, sections 8.4 (content codings) and 15.5.14 to 15.5.16; gzip is RFC 1952,
`deflate` the zlib format of RFC 1950.
"""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any, ParamSpec, TypeAlias, TypeVar

from mlops.protocols.base import Kind, ProtocolError

Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]

_Args = ParamSpec("_Args")
_Result = TypeVar("_Result")

#: Largest body that is read, in bytes, as it came and as it was before it was packed.
MAX_BODY = 16 * 1024 * 1024
#: Bodies up to this many bytes are admitted without a look at the budget.
SMALL_BODY = 64 * 1024
#: Longest time a body may take to arrive, in seconds.
BODY_DEADLINE_S = 20.0
# How long an announced body may wait for memory, and how many may.
_ROOM_WAIT_S = 5.0
_MAX_WAITING = 256
# Parsing a body takes about eleven times its bytes; the rest is for the models.
_OF_MEMORY = 32
# Of messages that arrive uncounted: the most, how many before they get smaller, the least.
_ARRIVING_MOST, _ARRIVING_MANY, _ARRIVING_LEAST = 256, 64, 32
_ARRIVING_BYTES = 4 * 1024 * 1024
# Dropping costs no memory, and no time beyond `BODY_DEADLINE_S`.
_MAX_DROPPED = 32 * MAX_BODY
# What zlib calls the two formats.
_WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}


class MemoryBudget:
    """Bytes that all large bodies may have together until they are answered.

    Bodies that announce their size wait for it in turn; others take it as they come.
    Small bodies are not counted: filling the budget does not lock out requests with a few
    rows. Lives on one event loop.

    Args:
        size: All the bytes there are; at least `MAX_BODY`, or the largest body never fits.
    """

    def __init__(self, size: int) -> None:
        self._size = self._left = max(size, MAX_BODY)
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def enter(self, size: int) -> None:
        """Reserve memory for a body that is announced, in the order of arrival.

        A waiting request has read nothing, so many of them cost no memory; each is served in turn.

        Raises:
            ProtocolError: `BUSY`: there was not that much in time.
        """
        if size <= self._left and not self._waiting:
            self._left -= size
            return
        if size > self._size or len(self._waiting) >= _MAX_WAITING:
            raise self._busy()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            async with asyncio.timeout(_ROOM_WAIT_S):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                # It was freed at the same moment.
                self.give_back(size)
            elif (size, turn) in self._waiting:
                self._waiting.remove((size, turn))
                self._admit_waiting()
            if isinstance(error, TimeoutError):
                raise self._busy() from None
            raise

    def _admit_waiting(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._left:
            size, turn = self._waiting.popleft()
            # One that has given up stays here until its task runs again.
            if not turn.done():
                self._left -= size
                turn.set_result(None)

    def take(self, size: int) -> None:
        """Take a part of it.

        Raises:
            ProtocolError: `BUSY`: there is not that much left.
        """
        if size > self._left:
            raise self._busy()
        self._left -= size

    def _busy(self) -> ProtocolError:
        taken = self._size - self._left
        return ProtocolError(
            Kind.BUSY,
            f"Bodies of {taken} bytes are being answered, at most {self._size} are at a time; "
            "send this again shortly.",
        )

    def give_back(self, size: int) -> None:
        """Release what was reserved."""
        self._left += size
        self._admit_waiting()


def budget_within(wanted: int, limit: int | None) -> int:
    """Return how many bytes large bodies may have together under a limit of memory.

    Args:
        wanted: As set.
        limit: Bytes that this process may use; None for no limit.

    >>> budget_within(128 * 1024**2, 1024**3) // 1024**2
    32
    """
    return wanted if limit is None else min(wanted, max(limit // _OF_MEMORY, MAX_BODY))


def arriving_within(limit: int | None) -> tuple[int, int]:
    """Return how many messages may arrive at once where they are not counted, and how large each.

    Together they have a quarter of the memory, down to 512 MiB of it. 4 MiB are what clients of
    gRPC expect at least.

    Args:
        limit: Bytes that this process may use; None for no limit.

    >>> arriving_within(1024**3), arriving_within(8 * 1024**3)
    ((64, 4194304), (128, 16777216))
    >>> arriving_within(None)
    (256, 16777216)
    """
    share = _ARRIVING_MOST * MAX_BODY if limit is None else limit // 4
    size = min(MAX_BODY, max(share // _ARRIVING_MANY, _ARRIVING_BYTES))
    return min(_ARRIVING_MOST, max(share // size, _ARRIVING_LEAST)), size


def memory_limit(
    root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")
) -> int | None:
    """Return the memory limit of this process's control groups in bytes; None without one.

    In a container its group is the root; a service of systemd has one of its own below it.
    Files: Linux, Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst.
    """
    limits = []
    for kind, group in _groups(own):
        base, name = (root / "memory", "memory.limit_in_bytes") if kind else (root, "memory.max")
        # Every group above has a limit as well.
        for folder in (base / group, *(base / each for each in Path(group).parents)):
            with contextlib.suppress(OSError):
                text = (folder / name).read_text().strip()
                # Version 1 writes a number beyond all memory for no limit.
                if text.isdigit() and int(text) < 1 << 60:
                    limits.append(int(text))
    return min(limits, default=None)


def _groups(own: Path) -> list[tuple[str, str]]:
    """Controllers and path of the groups that may limit memory; the path is `.` for the root."""
    found = [("", "."), ("memory", ".")]
    with contextlib.suppress(OSError):
        for line in own.read_text().splitlines():
            _, kinds, path = line.split(":", 2)
            if not kinds or "memory" in kinds.split(","):
                found.append((kinds and "memory", path.strip("/") or "."))
    return found


async def read_body(
    receive: Receive, headers: Mapping[str, str], budget: MemoryBudget
) -> bytes | None:
    """Read and unpack the whole body; None if the caller went away.

    A body longer than `SMALL_BODY` has reserved its size, which the caller releases.

    Raises:
        TimeoutError: It took too long.
        ProtocolError: `TOO_LARGE`; `UNSUPPORTED_MEDIA`: packed in a way that is not known here;
            `MALFORMED`: not packed as it says; `BUSY`.
    """
    async with asyncio.timeout(BODY_DEADLINE_S):
        body = await _read(receive, headers, budget)
    coding = headers.get("content-encoding")
    if coding is None or body is None:
        return body
    try:
        plain = _unpacked(body, coding)
    finally:
        release(body, budget)
    admit(plain, budget)
    return plain


def admit(body: bytes, budget: MemoryBudget) -> None:
    """Reserve memory for a whole body, if it is a large one.

    Raises:
        ProtocolError: `BUSY`.
    """
    budget.take(_counted(len(body)))


def release(body: bytes, budget: MemoryBudget) -> None:
    """Release the memory of a body that `read_body` has returned, or `admit` admitted."""
    budget.give_back(_counted(len(body)))


async def off_the_loop(
    size: int, work: Callable[_Args, _Result], *args: _Args.args, **kwargs: _Args.kwargs
) -> _Result:
    """Run work proportional to a body of this size where it delays no other request."""
    if size <= SMALL_BODY:
        return work(*args, **kwargs)
    return await asyncio.to_thread(work, *args, **kwargs)


def _counted(size: int) -> int:
    return size if size > SMALL_BODY else 0


async def _read(receive: Receive, headers: Mapping[str, str], budget: MemoryBudget) -> bytes | None:
    """Read the whole body.

    One that is too large, or finds no memory, is read and dropped up to a limit: if the
    connection were closed in the middle of it, most callers would see a reset and not the answer.
    """
    declared = headers.get("content-length", "")
    if declared.isdigit() and int(declared) > _MAX_DROPPED:
        raise _too_large(f"{declared} bytes")
    announced = _counted(int(declared)) if declared.isdigit() and int(declared) <= MAX_BODY else 0
    chunks, size, taken = bytearray(), 0, 0
    fault: ProtocolError | None = None
    if announced:
        try:
            await budget.enter(announced)
        except ProtocolError as error:
            fault = error
        else:
            taken = announced
    try:
        message = await receive()
        if message["type"] == "http.request" and not message.get("more_body") and fault is None:
            # Most bodies come in one piece; nothing is copied then.
            body: bytes = message.get("body", b"")
            budget.take(_counted(len(body)) - taken)
            taken = 0
            return body
        while message["type"] != "http.disconnect":
            body = message.get("body", b"")
            size += len(body)
            if size <= MAX_BODY and fault is None:
                try:
                    budget.take(max(0, _counted(size) - taken))
                except ProtocolError as error:
                    fault = error
                    chunks.clear()
                else:
                    taken = max(taken, _counted(size))
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
        budget.give_back(taken - _counted(size))
        taken, whole = 0, bytes(chunks)
        return whole
    finally:
        budget.give_back(taken)


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
        # A second member would be legal; none is sent, and empty ones by the million cost time.
        fault = "bytes follow its end" if unpacker.eof else "it ends too early"
        raise ProtocolError(Kind.MALFORMED, f"The body is not {coding}: {fault}.")
    return plain


def _too_large(size: str) -> ProtocolError:
    return ProtocolError(
        Kind.TOO_LARGE,
        f"The body has {size}; at most {MAX_BODY} are taken. Send fewer rows at once, or use "
        "`mlops batch`.",
    )
