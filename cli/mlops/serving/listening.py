"""Uvicorn, configured for all servers of mlops."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import uvicorn

from mlops.serving.app import Application
from mlops.serving.slow_clients import TimeoutHttpProtocol
from mlops.serving.sockets import BACKLOG
from mlops.serving.tls import HANDSHAKE_S

#: A client that has connected must send its request by then.
LINGER_S = 0.5
_GRACE_S = 5
# Connections that the loop takes in one of its turns: libuv takes one of a socket.
_ACCEPTED = 16
# And those of a burst, which `_Acceptor` takes: with long turns, 500 clients that connect at once,
# and a health check behind them, would wait a second for the others.
_BURST = 1_024

#: What takes connections from one socket.
Listening: TypeAlias = Sequence[asyncio.Server]


class QuietServer(uvicorn.Server):
    """A server that leaves the process's signals to its caller: two of them share one loop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Take connections from these sockets as `listen` does."""
        await super().startup([])
        for each in sockets or ():
            await self.listen(each)

    async def listen(self, sock: socket.socket) -> Listening:
        """Take connections from a socket too, while it serves; the socket becomes its own."""
        loop = asyncio.get_running_loop()
        acceptor = _Acceptor(sock, self._protocol, self.config.ssl)
        listening = [
            await loop.create_server(acceptor.protocol, sock=each, backlog=BACKLOG, **acceptor.tls)
            for each in (sock, *(sock.dup() for _ in range(_ACCEPTED - 1)))
        ]
        self.servers += listening
        return listening

    def leave(self, listening: Listening) -> None:
        """Accept no more connections on what `listen` returned; open ones continue."""
        for each in listening:
            self.servers.remove(each)
            each.close()

    def _protocol(self) -> asyncio.Protocol:
        # As uvicorn makes one for the sockets that it starts with.
        return TimeoutHttpProtocol(self.config, self.server_state, self.lifespan.state)


class _Acceptor:
    """Takes all that wait at a socket where the event loop has taken as many as it can in a turn.

    Args:
        sock: Where they wait; nothing more is taken once it is closed.
        make: Makes the protocol of a connection.
        context: For TLS; None for none.
    """

    def __init__(
        self,
        sock: socket.socket,
        make: Callable[[], asyncio.Protocol],
        context: ssl.SSLContext | None,
    ) -> None:
        # Where none waits any more, `accept` must not wait for one.
        sock.setblocking(False)
        self._sock, self._make = sock, make
        self._new = 0
        self._tasks: set[asyncio.Task[None]] = set()
        #: Options of TLS, of what makes a server or a connection.
        self.tls: dict[str, Any] = {
            "ssl": context,
            "ssl_handshake_timeout": HANDSHAKE_S if context else None,
        }

    def protocol(self) -> asyncio.Protocol:
        """Make the protocol of a connection that the event loop has taken."""
        if not self._new:
            asyncio.get_running_loop().call_soon(self._turn_ends)
        self._new += 1
        return self._make()

    def _turn_ends(self) -> None:
        full, self._new = self._new >= _ACCEPTED, 0
        if not full:
            return
        with contextlib.suppress(OSError):  # None waits, it is closed, or there is no descriptor.
            for _ in range(_BURST):
                task = asyncio.create_task(self._take(self._sock.accept()[0]))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _take(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(self._make, connection, **self.tls)
        except (OSError, TimeoutError):
            # The caller has gone, or does not speak TLS.
            connection.close()


def make_server(app: Application, context: ssl.SSLContext | None = None) -> QuietServer:
    """Return a server of an ASGI application, to be given its sockets.

    Args:
        app: The application.
        context: For TLS; None for none.
    """
    logging.getLogger("uvicorn.error").addFilter(_is_news)
    return QuietServer(
        uvicorn.Config(
            app,
            ssl_context_factory=(lambda *_: context) if context else None,
            loop="none",
            http=TimeoutHttpProtocol,
            ws="none",
            lifespan="off",
            access_log=False,
            server_header=False,
            log_config=None,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=_GRACE_S,
        )
    )


def _is_news(record: logging.LogRecord) -> bool:
    """Whether uvicorn says something; start and end are logged once for all servers."""
    return not record.getMessage().startswith(("Started server", "Finished server"))
