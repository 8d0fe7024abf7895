"""Requests and replies between two processes of a server, over a socket pair.

A message is a length of 4 bytes and a pickle; no other process holds the ends. Each side asks and
answers independently, several requests at a time. Handlers start in the order of the requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import pickle
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from mlops.errors import MlopsError, RemoteError, kind_of

_LOG = logging.getLogger(__name__)
_LENGTH = struct.Struct(">I")

Handler: TypeAlias = Callable[..., Awaitable[Any]]


class ChannelClosedError(RemoteError):
    """The process at the other end is gone, or has not answered in time."""


class Channel:
    """One end. Lives on one event loop.

    Args:
        end: A connected socket, which is closed with the channel.
        handlers: What answers a request of each name; an `MlopsError` is raised at the other end.
        other: Name of the other process in errors.
    """

    def __init__(self, end: socket.socket, handlers: Mapping[str, Handler], other: str) -> None:
        self._end = end
        self._handlers = handlers
        self._other = other
        self._numbers = itertools.count()
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._answering: set[asyncio.Task[None]] = set()
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def open(self) -> None:
        """Get ready; before anything else."""
        self._reader, self._writer = await asyncio.open_connection(sock=self._end)

    async def run(self) -> None:
        """Read until the other end is closed; requests without an answer fail then."""
        reader, writer = self._reader, self._writer
        assert reader is not None
        assert writer is not None
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, OSError):
                while True:
                    head = await reader.readexactly(_LENGTH.size)
                    body = await reader.readexactly(_LENGTH.unpack(head)[0])
                    self._take(*pickle.loads(body))  # noqa: S301 - from a process of this server
        finally:
            writer.close()
            self._writer = None
            for future in self._asked.values():
                if not future.done():
                    future.set_exception(ChannelClosedError(f"{self._other} has ended."))

    async def ask(self, name: str, *args: object, timeout_s: float | None = None) -> Any:  # noqa: ANN401 - any answer
        """Send a request to the other process.

        Args:
            name: Name of its handler.
            args: Its arguments; can be pickled.
            timeout_s: How long to wait for the answer.

        Raises:
            ChannelClosedError: There is no answer.
            MlopsError: What the handler raised.
        """
        number = next(self._numbers)
        future = self._asked[number] = asyncio.get_running_loop().create_future()
        try:
            self._send((number, name, args))
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError:
            raise ChannelClosedError(
                f"{self._other} did not answer within {timeout_s:g} s."
            ) from None
        finally:
            del self._asked[number]

    def _send(self, message: object) -> None:
        if self._writer is None:
            raise ChannelClosedError(f"{self._other} has ended.")
        body = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        self._writer.write(_LENGTH.pack(len(body)) + body)

    def _take(self, number: int, name: str, content: Any) -> None:  # noqa: ANN401 - what was sent
        if name:
            task = asyncio.create_task(self._answer(number, name, content))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)
            return
        future = self._asked.get(number)
        if future is None or future.done():
            return
        # An `MlopsError` could not be unpickled; its parts can.
        failure, answer = content
        if failure is None:
            future.set_result(answer)
        else:
            code, message, hint = failure
            future.set_exception(kind_of(code=code)(message, hint=hint))

    async def _answer(self, number: int, name: str, args: tuple[Any, ...]) -> None:
        try:
            content: object = (None, await self._handlers[name](*args))
        except MlopsError as error:
            content = ((error.code, error.message, error.hint), None)
        except Exception as error:  # noqa: BLE001 - the caller must get the error
            _LOG.exception("`%s` failed", name)
            content = (("", f"`{name}` failed: {error!r}.", None), None)
        with contextlib.suppress(ChannelClosedError):
            self._send((number, "", content))
