"""HTTP/1.1 over uvicorn's protocol: limits on callers, and a short way for usual requests.

A prediction of a few rows is answered from its bytes, without ASGI, a task or a turn of the event
loop; on a kept connection the head of a request is mostly the one before, byte for byte, and is
then not even parsed again. `App.recognise` decides what is usual.

Uvicorn closes a connection that idles between requests, but waits forever for headers or a body
that never end, and for a caller that does not read its answer. Two hundred of those would cost
memory for nothing, so every stage has a deadline, and headers have a maximum size.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from mlops.protocols.base import Kind, ProtocolError
from mlops.serving.access.certificates import names_of_tls
from mlops.serving.app import NAMES, App, KnownHead, Scope

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

#: Longest time from a connection or a first byte to the end of the headers, in seconds.
HEADER_DEADLINE_S = 20.0
#: Longest time from there to the end of the body. `bodies` has a shorter one, and answers; this is
#: for bodies that are not read, because the answer was known before they arrived.
BODY_DEADLINE_S = 22.0
#: Most bytes that request line and headers may have.
MAX_HEADER_BYTES = 64 * 1024

# Requests that may wait behind the one that is being answered; what comes after them is not read.
_MAX_PIPELINED = 8
# Bytes that the parser gets at once, so that it makes no thousand requests of one read.
_SLICE = 2_048
# The longest head of a request that is remembered.
_MAX_KNOWN_BYTES = 2_048

# A caller must read that many bytes of an answer in that time.
_READER_PERIOD_S = 20.0
_READER_BYTES = 64 * 1024
# How long data from a refused caller is dropped, so that it can read why.
_LINGER_S = 2.0

# Descriptors that connections leave to the owner's socket, the journal and the models.
_KEPT_FILES = 64

_REFUSAL = (
    b"HTTP/1.1 %b\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n"
    b"connection: close\r\n\r\n%b"
)
_HEAD_END = b"\r\n\r\n"
_CROWDED = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: 26\r\nretry-after: 1\r\nconnection: close\r\n\r\nToo many connections open."
)
_FAILED = (
    b"HTTP/1.1 500 Internal Server Error\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: 21\r\n\r\nInternal Server Error"
)
# Stages of a message, each one more than the last; the next message goes on counting.
_IDLE, _HEADERS, _BODY = range(3)


class _HeadersTooLargeError(Exception):
    """The headers have more than `MAX_HEADER_BYTES`."""


class _Pending:
    """Represents in uvicorn's bookkeeping a request that is being answered without ASGI."""

    def __init__(self) -> None:
        self.response_complete = False
        self.disconnected = False
        self.keep_alive = True
        self.message_event = asyncio.Event()


class TimeoutHttpProtocol(HttpToolsProtocol):
    """Uvicorn's HTTP protocol with deadlines, limits, a short way, and no upgrades.

    A request that comes in one piece, as most do, costs no timer.
    """

    _head: KnownHead | None = None
    _learn: bytes = b""
    _body: bytes = b""
    _body_left = 0
    _is_next = False
    _idle_from = 0.0
    _awaits_answer = False

    _stage = _IDLE
    _awaited = _IDLE
    _deadline: asyncio.TimerHandle | None = None
    _reader: asyncio.TimerHandle | None = None
    _header_bytes = 0
    _incoming = 0
    _refused = False
    _ended = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Start waiting for the first request."""
        super().connection_made(transport)
        self._unfed: list[bytes] = []
        # The administration's application has none.
        self._short = self.config.app if isinstance(self.config.app, App) else None
        # Of a client's certificate, which TLS has checked by now.
        self._names = names_of_tls(transport.get_extra_info("peercert"))
        self._wait(HEADER_DEADLINE_S)
        if len(self.connections) > _most_connections():
            # At the limit no connection could be accepted, not even the owner's.
            self._refused = True
            transport.write(_CROWDED)
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._stop_waiting()
        if self._reader is not None:
            self._reader.cancel()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]  # as asyncio's own
        """Answer what a caller sent before it closed its side (RFC 9112, section 9.6)."""
        waits = bool(self._unfed) or (self._stage % 3 == _IDLE and not self._is_free())
        # With TLS there is no such thing as one side.
        self._ended = waits and self.transport.get_extra_info("ssl_object") is None
        return self._ended

    def data_received(self, data: bytes) -> None:
        """Answer a request whose head is known, or read on and wait for what has begun."""
        if self._refused:
            return
        if self._awaits_answer:
            self._answer_now()
        if self._unfed:
            self._unfed.append(data)
            self.flow.pause_reading()
            return
        if self._stage % 3 == _IDLE and self._short is not None and self._is_free():
            end = data.find(_HEAD_END, 0, _MAX_KNOWN_BYTES) + len(_HEAD_END)
            head = self._short.known.get(data[:end])
            if head is not None and len(data) == end + head.length and head.names == self._names:
                self._stop_waiting()
                self._respond(head, data[end:])
                return
            # Bytes that are the head of one request, and of no more.
            self._learn = data[:end] if data.startswith(b"POST ") else b""
        self._unset_keepalive_if_required()
        self._read(data)
        self._learn = b""

    def _is_free(self) -> bool:
        """Whether no earlier request is being answered, and the caller reads its answers."""
        is_answered = self.cycle is None or self.cycle.response_complete
        is_answered = is_answered and not self._awaits_answer
        return is_answered and not self.pipeline and not self.flow.write_paused

    def _read(self, data: bytes) -> None:
        """Feed the parser a slice; the rest once others had their turn, unless too many wait."""
        size = len(data) if len(data) <= max(self._body_left, _SLICE) else _SLICE
        self._read_part(data[:size])
        if size < len(data) and not self._refused and self.parser is not None:
            self._unfed.insert(0, data[size:])
            self.flow.pause_reading()
            if len(self.pipeline) < _MAX_PIPELINED:
                self.loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        """Continue with what was received and not read."""
        if not self._unfed or self._refused or self.parser is None:
            return
        if len(self.pipeline) >= _MAX_PIPELINED or self.flow.write_paused:
            # It continues after an answer.
            return
        data = b"".join(self._unfed)
        self._unfed.clear()
        if self._is_free():
            self.flow.resume_reading()
        self._unset_keepalive_if_required()
        self._read(data)

    def _read_part(self, data: bytes) -> None:
        self._incoming = len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError as error:
            self._refuse(error)
            return
        if self._stage != self._awaited:
            self._begin_to_wait()
        elif self._stage % 3 != _BODY:
            # All of it belongs to headers, or to blank lines before them.
            self._header_bytes += len(data)
            if self._header_bytes > MAX_HEADER_BYTES:
                self._refuse(_HeadersTooLargeError())
            elif self._deadline is None:
                self._wait(HEADER_DEADLINE_S)

    def _feed(self, data: bytes) -> None:
        """Let the parser read; it stops where a request asks for another protocol.

        That is declined by answering in this one (RFC 9110, section 7.8), as callers expect that
        offer HTTP/2 with each request. The parser would take the body for the other protocol, so
        another reads the same request again without the offer.
        """
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                method = self.parser.get_method()
                if method == b"CONNECT":
                    raise httptools.HttpParserInvalidMethodError("This is not a proxy.") from None
                lines = [b"%b %b HTTP/1.1" % (method, self.url)]
                lines += [b"%b: %b" % item for item in self.headers if item[0] != b"upgrade"]
                data = b"\r\n".join([*lines, b"", data[upgrade.args[0] :]])
                self.parser = httptools.HttpRequestParser(self)
            else:
                return

    def _should_upgrade(self) -> bool:
        """Keep uvicorn from handling what `_feed` reads again."""
        return True

    def on_message_begin(self) -> None:
        """Begin with the headers of a request."""
        if self._awaits_answer:
            self._answer_now()
        self._stage += 1
        super().on_message_begin()
        if self._names:
            cast(Scope, self.scope)[NAMES] = self._names

    def on_headers_complete(self) -> None:
        """Continue with the body, unless the headers were too large."""
        self._stage += 1
        # Counted only where it can matter: this is once for each request.
        if (
            self._header_bytes + self._incoming > MAX_HEADER_BYTES
            and self._size_of_headers() > MAX_HEADER_BYTES
        ):
            raise _HeadersTooLargeError
        self._is_next = self._is_free()
        super().on_headers_complete()
        self._is_next = False
        # Of those that follow in the same piece the bytes are others.
        self._learn = b""
        self._body_left = _length(self.headers)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """Leave a usual request to `_respond`, if none is before it."""
        if self._short is not None and self._is_next:
            head = self._short.recognise(cast(Scope, cycle.scope), keep_alive=cycle.keep_alive)
            if head is not None:
                self._head, self._body = head, b""
                # As far as uvicorn knows it has been answered.
                cycle.response_complete = True
                if self._learn and head.repeats:
                    self._short.remember(self._learn, head)
                return
        super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        self._body_left -= len(body)
        if self._head is None:
            super().on_body(body)
        else:
            self._body += body

    def on_message_complete(self) -> None:
        """Continue with the next request."""
        self._stage += 1
        self._body_left = 0
        head, self._head = self._head, None
        if head is None:
            super().on_message_complete()
        else:
            self._respond(head, self._body)

    def on_response_complete(self) -> None:
        """Read on; wait for the answer to be read, if the connection then ends."""
        self._idle_from = self.loop.time()
        super().on_response_complete()
        if self.transport.is_closing():
            self._watch_reader()
        elif self._unfed:
            # Uvicorn reads on after an answer.
            self.flow.pause_reading()
            self.loop.call_soon(self._read_on)
        else:
            self._close_if_ended()

    def _close_if_ended(self) -> None:
        if self._ended and self._is_free() and not self._unfed:
            self.transport.close()

    def _respond(self, head: KnownHead, body: bytes) -> None:
        """Answer a usual request after this turn of the loop, beside those of other callers."""
        assert self._short is not None
        self._awaits_answer = True
        self._short.lockstep.add(self, head, body)

    def _answer_now(self) -> None:
        """Answer what waits to be answered, before anything else happens to this connection."""
        assert self._short is not None
        self._short.lockstep.run()

    def respond(self, head: KnownHead, answer: bytes | Coroutine[Any, Any, bytes] | None) -> None:
        """Send an answer, now or once it is there; None if there is none."""
        self._awaits_answer = False
        if answer is None:
            answer = _FAILED
        if type(answer) is bytes and not self.flow.write_paused:
            self._end(head, answer)
            return
        pending = _Pending()
        self.cycle = cast(RequestResponseCycle, pending)
        task = self.loop.create_task(self._respond_later(head, pending, answer))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def shutdown(self) -> None:
        """Send the answer under way, then end; uvicorn does not know of it."""
        if self._awaits_answer:
            self._answer_now()
        super().shutdown()

    async def _respond_later(
        self, head: KnownHead, pending: _Pending, answer: bytes | Coroutine[Any, Any, bytes]
    ) -> None:
        try:
            written = answer if isinstance(answer, bytes) else await answer
        except Exception:
            self.logger.exception("A request could not be answered")
            written = _FAILED
        if self.flow.write_paused and not pending.disconnected:
            await self.flow.drain()
        pending.response_complete = True
        self._end(head, written)

    def _end(self, head: KnownHead, answer: bytes) -> None:
        if self.transport.is_closing():
            return
        self.transport.write(answer)
        if not head.keep_alive:
            self.transport.close()
        if (
            not head.keep_alive
            or self.pipeline
            or self._unfed
            or self.flow.read_paused
            or self._ended
        ):
            self.on_response_complete()
            return
        self.server_state.total_requests += 1
        self._idle_from = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._idle_on(self.timeout_keep_alive)

    def _idle_on(self, seconds: float) -> None:
        handler = self.timeout_keep_alive_handler
        self.timeout_keep_alive_task = self.loop.call_later(seconds, handler)

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that idles; on a busy one a timer for each request would cost more."""
        self.timeout_keep_alive_task = None
        if self._stage % 3 != _IDLE or not self._is_free():
            # It is armed again after the answer.
            return
        left = self._idle_from + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._idle_on(left)
        else:
            super().timeout_keep_alive_handler()

    def pause_writing(self) -> None:
        """Wait for the answer to be read."""
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        """Continue, as the caller reads its answers again."""
        super().resume_writing()
        self._close_if_ended()
        self.loop.call_soon(self._read_on)

    def _size_of_headers(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _begin_to_wait(self) -> None:
        """Wait for the end of a stage that has begun; those that have ended are dropped."""
        self._stop_waiting()
        stage = self._stage % 3
        # Where nothing else ended in what was read, all of it belongs to the headers begun there.
        only_headers = stage == _HEADERS and self._stage == self._awaited + 1
        self._header_bytes = self._incoming if only_headers else 0
        self._awaited = self._stage
        if stage != _IDLE:
            self._wait(HEADER_DEADLINE_S if stage == _HEADERS else BODY_DEADLINE_S)

    def _wait(self, seconds: float) -> None:
        self._deadline = self.loop.call_later(seconds, self._give_up, seconds)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self, seconds: float) -> None:
        self._deadline = None
        if self._head is not None and self._short is not None and not self.transport.is_closing():
            error = ProtocolError(Kind.SLOW_BODY, "The body took too long to arrive.")
            self.transport.write(self._short.refuse(self._head, error))
            self._refused = True
            self.transport.close()
        elif self.flow.read_paused:
            # The server does not read, because an earlier request is being answered.
            self._wait(seconds)
        elif self._stage % 3 != _IDLE or self.cycle is None or self.cycle.response_complete:
            self.transport.close()
            self._watch_reader()

    def _refuse(self, error: Exception) -> None:
        """Answer what is not HTTP, then drop what still comes for a while."""
        status, text = b"400 Bad Request", b"Invalid HTTP request received."
        if isinstance(error.__context__ or error, _HeadersTooLargeError):
            status, text = b"431 Request Header Fields Too Large", b"The headers are too large."
        self._refused = True
        self._stop_waiting()
        if self.transport.is_closing():
            return
        self.transport.write(_REFUSAL % (status, len(text), text))
        if self.cycle is None or self.cycle.response_complete:
            if self.transport.can_write_eof():  # TLS has no half of a connection
                self.transport.write_eof()
            self._deadline = self.loop.call_later(_LINGER_S, self.transport.close)
        else:
            self.transport.close()

    def _watch_reader(self) -> None:
        """Require that the rest of an answer is read in time."""
        if self._reader is None:
            left = self.transport.get_write_buffer_size()
            self._reader = self.loop.call_later(_READER_PERIOD_S, self._check_reader, left)

    def _check_reader(self, before: int) -> None:
        self._reader = None
        left = self.transport.get_write_buffer_size()
        if left and before - left < _READER_BYTES:
            self.transport.abort()
        elif left:
            self._watch_reader()


def _most_connections() -> int:
    """Most connections, leaving descriptors for other files."""
    return max(resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 2 * _KEPT_FILES, _KEPT_FILES)


def _length(headers: Sequence[tuple[bytes, bytes]]) -> int:
    """Bytes of the body that these headers announce; 0 if they do not say."""
    value = next((value for name, value in headers if name == b"content-length"), b"")
    return int(value) if value.isdigit() else 0
