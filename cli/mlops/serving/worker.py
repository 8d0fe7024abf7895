"""One of several processes that share the callers of a deployment, as its supervisor directs.

Its supervisor holds the listening sockets of all workers. So connections that come while a worker
is down wait for it, or for the neighbour that takes them in the meantime, and none is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Sequence
from typing import Any

from mlops.errors import MlopsError
from mlops.serving.channel import Channel, ChannelClosedError
from mlops.serving.counting import Counts, unpacked
from mlops.serving.listening import LINGER_S, Listening
from mlops.serving.process import Process
from mlops.serving.revision import LiveRevision
from mlops.serving.rounds import Rounds
from mlops.serving.sharing import Shared
from mlops.serving.startup_messages import Said
from mlops.spec.server import Served

_LOG = logging.getLogger(__name__)
# Answers of other workers are in the journal by then, or will not be soon. The supervisor stops
# waiting for a silent one sooner.
_PATIENCE_S = 2.0
# Longer than the supervisor waits for a busy worker, and half of what Prometheus waits for us.
_COUNTS_S = 5.0


class Worker:
    """Answers, and does what the supervisor asks.

    Args:
        shared: What it has in common with the others.
        end: The socket to the supervisor.

    Raises:
        InvalidInputError: A model cannot be served.
    """

    def __init__(self, shared: Shared, end: socket.socket) -> None:
        self._sockets = shared.sockets
        self._settled = Rounds(self._ask_others)
        self._process = Process(shared.launch, self._settled.next, shared.keyring, shared.secrets)
        self._server = self._process.server(self._counts)
        self._channel = Channel(
            end,
            {
                "ready": self._ready,
                "accept": self._accept,
                "prepare": self._prepare,
                "give_up": self._give_up,
                "record_start": self._process.revisions.record_start,
                "record_live": self._record_live,
                "consume": lambda begin: self._process.consume(begin=begin),
                "hold": self._hold,
                "flip": self._flip,
                "snapshot": self._snapshot,
                "written": self._process.written,
                "status": self._status,
                "note": self._process.note,
                "score": self._process.score,
                "stop": self._stop,
            },
            "The supervisor",
        )
        self._taken: dict[int, Listening] = {}
        self._next: LiveRevision | None = None
        self._process.tells = False

    async def run(self) -> None:
        """Serve until the supervisor says stop or is gone, or SIGTERM comes."""
        loop = asyncio.get_running_loop()
        leaving: list[asyncio.Task[None]] = []
        loop.add_signal_handler(
            signal.SIGTERM, lambda: leaving.append(loop.create_task(self._leave()))
        )
        await self._channel.open()
        line = asyncio.create_task(self._channel.run())
        line.add_done_callback(lambda _: self._end())
        async with self._process.working():
            await asyncio.gather(self._server.serve([]), self._process.serve_grpc())
        with contextlib.suppress(ChannelClosedError):
            await self._channel.ask("last counts", self._process.snapshot(), timeout_s=_PATIENCE_S)

    async def _ready(self) -> Said:
        return Said.of(self._process.plane.live)

    async def _accept(self, places: Sequence[int]) -> None:
        """Take connections from these sockets and from no others."""
        for place in set(self._taken).difference(places):
            self._server.leave(self._taken.pop(place))
        for place in set(places).difference(self._taken):
            self._taken[place] = await self._server.listen(self._sockets[place].dup())
        await self._process.listen_grpc(shared=True)

    async def _leave(self) -> None:
        """Stop, once other workers take new connections."""
        with contextlib.suppress(MlopsError):
            await self._channel.ask("leaving", timeout_s=_PATIENCE_S)
        # What is in transit over an accepted connection is answered.
        await asyncio.sleep(LINGER_S)
        self._end()

    async def _stop(self, tells: bool) -> None:
        self._process.tells = tells
        for each in self._sockets:
            each.close()
        self._end()

    def _end(self) -> None:
        self._process.plane.release()
        self._server.should_exit = True
        self._process.stop_streams()

    async def _prepare(self, served: Served) -> Said:
        self._next = await self._process.revisions.prepare(served)
        return Said.of(self._next)

    async def _give_up(self) -> None:
        self._process.plane.release()
        if self._next is not None:
            self._process.revisions.give_up(self._next)
        self._next = None

    async def _record_live(self) -> None:
        assert self._next is not None
        await self._process.revisions.record_live(self._next)

    async def _hold(self) -> None:
        self._process.plane.hold()

    async def _flip(self) -> None:
        assert self._next is not None
        self._process.revisions.flip(self._next)
        self._next = None
        self._process.plane.release()

    async def _snapshot(self) -> bytes:
        return self._process.snapshot()

    async def _status(self, counts: bytes) -> dict[str, Any]:
        return await self._process.status(unpacked(counts))

    async def _counts(self) -> Counts:
        """Ask what all workers have counted.

        Neither this worker's own part nor an earlier sum would do instead: where counters fall,
        Prometheus sees a restart and counts all of them once more; of what is missing it knows.

        Raises:
            ChannelClosedError: The supervisor does not answer.
        """
        return unpacked(await self._channel.ask("counts", timeout_s=_COUNTS_S))

    async def _ask_others(self) -> None:
        with contextlib.suppress(MlopsError):
            await self._channel.ask("others_written", timeout_s=_PATIENCE_S)
