"""A server of one process: it answers, and is its own administrator."""

from __future__ import annotations

import asyncio
import logging
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvicorn

from mlops.serving.admin import Admin
from mlops.serving.listening import LINGER_S, make_server
from mlops.serving.process import Process, now_ms
from mlops.serving.sockets import bind, check_grpc_port, unix_socket
from mlops.serving.startup_messages import Said, state_of, tell, tell_stopped, where
from mlops.spec.server import Launch, Served, ServerState, state_to_dict, write_state

_LOG = logging.getLogger(__name__)


class Alone:
    """The only process of a deployment; a `Control`.

    Args:
        launch: How to start it.

    Raises:
        ConflictError: The port is taken.
        InvalidInputError: A model cannot be served.
    """

    def __init__(self, launch: Launch) -> None:
        # Bound before the models are loaded: a taken port should be known at once.
        (self._socket,) = bind(launch.host, launch.port)
        check_grpc_port(launch)
        self._process = Process(replace(launch, port=self._socket.getsockname()[1]))
        self._servers: list[uvicorn.Server] = []
        self._leaving: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then finish what is under way."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        process = self._process
        public = process.server()
        private = make_server(Admin(self).application())
        self._servers = [public, private]
        with unix_socket(Path(process.launch.socket)) as control:
            process.started_ms = now_ms()
            # Before it listens anywhere: with the wrong key it must not answer.
            await process.revisions.record_start()
            await process.listen_grpc()
            tell(self._state())
            _LOG.info("serving %s at %s", process.launch.name, where(process.launch))
            try:
                async with process.working():
                    await process.consume()
                    serving = [public.serve([self._socket]), private.serve([control])]
                    await asyncio.gather(*serving, process.serve_grpc())
            finally:
                tell_stopped(self._state(now_ms()))
                _LOG.info("stopped")

    def _stop(self) -> None:
        """End; first wait for what is in transit over open connections."""
        public, _ = self._servers
        loop = asyncio.get_running_loop()
        if self._leaving or not public.server_state.connections:
            self._end()
        else:
            self._leaving = loop.call_later(LINGER_S, self._end)

    def _end(self) -> None:
        for server in self._servers:
            server.should_exit = True
        self._process.stop_streams()

    def _state(self, stopped_ms: int | None = None) -> ServerState:
        process = self._process
        return state_of(process.launch, Said.of(process.plane.live), process.started_ms, stopped_ms)

    async def status(self) -> dict[str, Any]:
        """See `Control.status`."""
        return await self._process.status()

    async def swap(self, served: Served) -> None:
        """See `Control.swap`."""
        process = self._process
        live = await process.revisions.prepare(served)
        try:
            await process.revisions.record_live(live)
            launch = replace(process.launch, served=served)
            state = state_of(launch, Said.of(live), process.started_ms)
            write_state(state, Path(launch.state_file))
        except BaseException:
            process.revisions.give_up(live)
            raise
        # There is no await in between, so no request sees one without the other.
        process.revisions.flip(live)
        _LOG.info("revision %d is live", served.revision.number)

    async def state(self) -> dict[str, Any]:
        """See `Control.state`."""
        tell(self._state())
        return state_to_dict(self._state())

    async def note(self, text: str) -> None:
        """See `Control.note`."""
        await self._process.note(text)

    async def score(self, rows: list[Any]) -> list[list[Any]]:
        """See `Control.score`."""
        return await self._process.score(rows)
