"""Limits on callers that send slowly, read slowly, or send headers without end.

Uvicorn closes a connection that idles between requests, but waits forever for headers or a body
that never end, and for a caller that does not read its answer. Two hundred of those would cost
memory for nothing, so whatever has begun has a deadline, and headers have a size.
"""

from __future__ import annotations

import asyncio

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: Longest time from a connection or a first byte to the end of the headers, in seconds.
HEADER_DEADLINE_S = 20.0
#: Longest time from there to the end of the body. `bodies` has a shorter one, and answers; this is
#: for bodies that nobody reads, because the answer was known before they came.
BODY_DEADLINE_S = 22.0
#: Most bytes that request line and headers may have.
MAX_HEADER_BYTES = 64 * 1024

# A caller that has an answer to read must take that many bytes in that time.
_READER_PERIOD_S = 20.0
_READER_BYTES = 64 * 1024
# How long what a refused caller still sends is dropped, so that it gets to read why.
_LINGER_S = 2.0

_REFUSAL = (
    b"HTTP/1.1 %b\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n"
    b"connection: close\r\n\r\n%b"
)
# Stages of a message, each one more than the last; the next message goes on counting.
_IDLE, _HEADERS, _BODY = range(3)


class _HeadersTooLargeError(Exception):
    """The headers have more than `MAX_HEADER_BYTES`."""


class PatientProtocol(HttpToolsProtocol):
    """Uvicorn's HTTP protocol with deadlines, a size for headers, and no upgrades.

    A request that comes in one piece, as most do, costs no timer.
    """

    _stage = _IDLE
    _awaited = _IDLE
    _deadline: asyncio.TimerHandle | None = None
    _reader: asyncio.TimerHandle | None = None
    _header_bytes = 0
    _incoming = 0
    _refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._wait(HEADER_DEADLINE_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._stop_waiting()
        if self._reader is not None:
            self._reader.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, and wait for what has begun and not ended."""
        if self._refused:
            return
        self._incoming = len(data)
        self._unset_keepalive_if_required()
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
                    raise httptools.HttpParserInvalidMethodError("This is no proxy.") from None
                lines = [b"%b %b HTTP/1.1" % (method, self.url)]
                lines += [b"%b: %b" % item for item in self.headers if item[0] != b"upgrade"]
                data = b"\r\n".join([*lines, b"", data[upgrade.args[0] :]])
                self.parser = httptools.HttpRequestParser(self)
            else:
                return

    def _should_upgrade(self) -> bool:
        """Let uvicorn leave alone what `_feed` reads again."""
        return True

    def on_message_begin(self) -> None:
        """Begin with the headers of a request."""
        self._stage += 1
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Go on to the body, unless the headers were too large."""
        self._stage += 1
        # Counted only where it can matter: this is once for each request.
        if (
            self._header_bytes + self._incoming > MAX_HEADER_BYTES
            and self._size_of_headers() > MAX_HEADER_BYTES
        ):
            raise _HeadersTooLargeError
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Go on to the next request."""
        self._stage += 1
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the answer to be read, if the connection then ends."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._watch_reader()

    def pause_writing(self) -> None:
        """Wait for the answer to be read."""
        super().pause_writing()
        self._watch_reader()

    def _size_of_headers(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _begin_to_wait(self) -> None:
        """Wait for the end of a stage that has begun; of those that ended meanwhile no more."""
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
        if self.flow.read_paused:
            # It is we who do not read, because an earlier request is being answered.
            self._wait(seconds)
        elif self._stage % 3 != _IDLE or self.cycle is None or self.cycle.response_complete:
            self.transport.close()
            self._watch_reader()

    def _refuse(self, error: Exception) -> None:
        """Answer what is no HTTP, then drop what still comes for a while."""
        status, text = b"400 Bad Request", b"Invalid HTTP request received."
        if isinstance(error.__context__ or error, _HeadersTooLargeError):
            status, text = b"431 Request Header Fields Too Large", b"The headers are too large."
        self._refused = True
        self._stop_waiting()
        if self.transport.is_closing():
            return
        self.transport.write(_REFUSAL % (status, len(text), text))
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write_eof()
            self._deadline = self.loop.call_later(_LINGER_S, self.transport.close)
        else:
            self.transport.close()

    def _watch_reader(self) -> None:
        """See to it that what is left of an answer is read."""
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
