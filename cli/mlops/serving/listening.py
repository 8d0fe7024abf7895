"""Uvicorn, configured for all servers of mlops."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import uvicorn

from mlops.serving.app import Application
from mlops.serving.slow_clients import TimeoutHttpProtocol
from mlops.serving.sockets import BACKLOG
from mlops.serving.tls import HANDSHAKE_S

#: A client that has connected must send its request by then.
LINGER_S = 0.5
_GRACE_S = 5
# Connections taken in one turn of the event loop. libuv takes one of a socket, so that in a busy
# loop 500 clients that connect at once, and a health check behind them, would wait 500 turns.
_ACCEPTED = 16

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
        context = self.config.ssl
        loop = asyncio.get_running_loop()
        listening = [
            await loop.create_server(
                self._protocol,
                sock=each,
                backlog=BACKLOG,
                ssl=context,
                ssl_handshake_timeout=HANDSHAKE_S if context else None,
            )
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
