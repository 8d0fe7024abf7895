"""A server of several processes: workers answer, and their supervisor administrates.

The supervisor holds what there is one of: the deployment's lock, the state file, the administration
socket, and the listening sockets. It opens no journal and starts no thread, so that it can fork.

A revision goes live in two phases. First every worker loads and checks it. Then all hold: who has
no arm yet waits; and only when all do, they move their pointers. So a caller that saw an answer of
the new revision gets no more of the old one, whichever connection and worker is next.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlops.errors import MlopsError, RemoteError
from mlops.serving.access.buckets import shared_places
from mlops.serving.access.keyring import Keyring
from mlops.serving.access.watch import EVERY_S, FileWatch
from mlops.serving.admin import Admin
from mlops.serving.channel import Handler
from mlops.serving.counting import Counts, packed, total, unpacked
from mlops.serving.listening import make_server
from mlops.serving.secret_files import Secrets
from mlops.serving.sharing import Shared
from mlops.serving.sockets import bind, check_grpc_port, unix_socket
from mlops.serving.startup_messages import Said, state_of, tell, tell_stopped, where
from mlops.serving.workers import WorkerProcess, preload
from mlops.spec.server import Launch, Served, ServerState, state_to_dict, write_state

_LOG = logging.getLogger(__name__)
_ANSWER_S = 2.0
# Shorter than a worker waits for the sum: of one that is busy the counts before are used. Answers
# that come later show that it does not hang.
_COUNTS_S = 1.0
_STATUS_S = 4.0
# Shorter than a worker waits for all of them, see `worker`.
_WRITTEN_S = 1.5
_HOLD_S = 5.0
_LOOK_EVERY_S = 1.0
# A worker that does not respond for this long is killed, and started again.
_SILENT_S = 60.0
# One that ended sooner after it was ready is started again after a pause, each time a longer one.
_SOON_S = 1.0
_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
# With no worker left, give up after this many failed starts.
_TRIES = 5
# Longer than a worker's grace for connections and for the journal together.
_STOP_S = 17.0


class Supervisor:
    """Starts the workers of a deployment, and is their `Control`.

    Args:
        launch: How to start it.

    Raises:
        ConflictError: The port is taken.
        InvalidInputError: The key, the token or the API keys cannot be read.
    """

    def __init__(self, launch: Launch) -> None:
        # Bound before the models are loaded: a taken port should be known at once.
        self._sockets = bind(launch.host, launch.port, launch.workers)
        check_grpc_port(launch)
        self._secrets = Secrets.of(launch)
        self._launch = replace(launch, port=self._sockets[0].getsockname()[1])
        self._pools = preload(launch.served.paths)
        self._keyring = Keyring(launch.access.keys_file, shared_places())
        self._workers = [WorkerProcess(number + 1) for number in range(launch.workers)]
        self._said = Said()
        self._started_ms = 0
        #: The counts of workers that have ended.
        self._counted = Counts()
        #: Held while a worker starts, or a revision goes live.
        self._changing = asyncio.Lock()
        self._covering = asyncio.Lock()
        self._stopping = asyncio.Event()
        self._fault: MlopsError | None = None
        self._private: socket.socket

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then finish what is under way.

        Raises:
            MlopsError: No worker starts.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        private = make_server(Admin(self).application())
        with unix_socket(Path(self._launch.socket)) as control:
            self._private = control
            begin = loop.create_task(self._begin())
            stop = loop.create_task(self._stopping.wait())
            await asyncio.wait([begin, stop], return_when=asyncio.FIRST_COMPLETED)
            if not begin.done():
                begin.cancel()
                await self._end(tells=False)
                return
            await begin
            _LOG.info(
                "serving %s at %s with %d workers",
                self._launch.name, where(self._launch), len(self._workers),
            )  # fmt: skip
            tending = [loop.create_task(self._tend(each)) for each in self._workers]
            tending += [loop.create_task(self._look()), loop.create_task(self._follow_keys())]
            tending += [loop.create_task(private.serve([control]))]
            await stop
            for task in tending[:-1]:
                task.cancel()
            await self._end(tells=True)
            private.should_exit = True
            await tending[-1]
        tell_stopped(self._state(_now_ms()))
        _LOG.info("stopped")
        if self._fault is not None:
            raise self._fault

    async def _begin(self) -> None:
        """Start all workers, or none.

        Raises:
            MlopsError: One does not start.
        """
        starts = await asyncio.gather(*map(self._start, self._workers), return_exceptions=True)
        fault = next((each for each in starts if isinstance(each, BaseException)), None)
        if fault is None:
            try:
                self._started_ms = _now_ms()
                self._said = next(each for each in starts if isinstance(each, Said))
                await self._workers[0].ask("record_start")
                await self._cover()
                # Last: until a worker listens, a call over gRPC is refused and does not wait.
                tell(self._state())
            except MlopsError as error:
                fault = error
        if fault is not None:
            await self._end(tells=False)
            raise fault

    async def _start(self, worker: WorkerProcess) -> Said:
        handlers: dict[str, Handler] = {
            "counts": self._packed_counts,
            "leaving": lambda: self._leaving(worker),
            "last counts": lambda counts: self._take_last_counts(worker, counts),
            "others_written": lambda: self._others_written(worker),
        }
        private = [self._private, *self._lines()]
        shared = Shared(self._launch, self._sockets, self._pools, self._keyring, self._secrets)
        return await worker.start(shared, handlers, private)

    def _lines(self) -> Iterator[socket.socket]:
        return (each.line for each in self._workers if each.line is not None)

    async def _tend(self, worker: WorkerProcess) -> None:
        """Start a worker again whenever it has ended: at once, unless it has just been started."""
        in_vain = 0
        while True:
            if worker.pid:
                code = await worker.ended()
                self._counted = total([self._counted, worker.last.ended()])
                worker.last = Counts()
                _LOG.warning("worker %d has ended: %s", worker.number, _how(code))
                await self._cover()
                lived_s = (_now_ms() - worker.ready_ms) / 1000
                in_vain = 0 if lived_s > _SOON_S else in_vain + 1
            if in_vain:
                await asyncio.sleep(min(_PAUSE_S * 2 ** (in_vain - 1), _LONGEST_PAUSE_S))
            async with self._changing:
                worker.restarts += 1
                try:
                    await self._start(worker)
                except MlopsError as error:
                    _LOG.error("%s", error.message)
                    in_vain += 1
                    if in_vain >= _TRIES and not any(self._running()):
                        self._fault = error
                        self._stopping.set()
                        return
            await self._cover()

    async def _cover(self) -> None:
        """Have each socket's connections taken by its worker, or by another while that is down."""
        async with self._covering:
            running = list(self._running())
            shares: dict[int, list[int]] = {each.number: [] for each in running}
            for place, worker in enumerate(self._workers):
                if running:
                    taker = worker if worker in running else running[place % len(running)]
                    shares[taker.number].append(place)
            asking = [
                each.ask("accept", shares[each.number], timeout_s=_ANSWER_S) for each in running
            ]
            # The consumers of the journal are run by one for all.
            asking += [
                each.ask("consume", each is running[0], timeout_s=_ANSWER_S) for each in running
            ]
            for fault in await asyncio.gather(*asking, return_exceptions=True):
                if fault is not None:
                    _LOG.warning("%s", fault)

    def _running(self) -> Iterator[WorkerProcess]:
        return (each for each in self._workers if each.state == "running")

    async def _look(self) -> None:
        """Remember what workers have counted, for when they end, and end those that hang."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            await self._ask_counts()
            for worker in self._running():
                silent_s = time.monotonic() - worker.answered_s
                if silent_s > _SILENT_S:
                    _LOG.error(
                        "worker %d: killed, it did not respond for %.0f s", worker.number, silent_s
                    )
                    worker.kill()

    async def _follow_keys(self) -> None:
        """Know the API keys that count, as the workers do, for those that are started later."""
        path = self._keyring.path

        def reload() -> bool:
            if self._keyring.reload():
                _LOG.info("keys: `%s` is read again", path)
            return self._keyring.is_read

        # At once: what changed before the workers were ready.
        watch = FileWatch([path] if path else [], reload, at_once=True)
        while True:
            watch.look()
            await asyncio.sleep(EVERY_S)

    async def _ask_counts(self) -> None:
        await asyncio.gather(*(each.count(_COUNTS_S) for each in self._running()))

    async def _counts(self) -> Counts:
        """Add up all workers' counts; of one that does not answer, those it gave last."""
        await self._ask_counts()
        return total([self._counted, *(each.last for each in self._workers)])

    async def _packed_counts(self) -> bytes:
        return packed(await self._counts())

    async def _leaving(self, worker: WorkerProcess) -> None:
        worker.state = "stopping"
        await self._cover()

    async def _take_last_counts(self, worker: WorkerProcess, counts: bytes) -> None:
        worker.last = unpacked(counts)

    async def _others_written(self, worker: WorkerProcess) -> None:
        others = (each for each in self._running() if each is not worker)
        await asyncio.gather(*(each.written(_WRITTEN_S) for each in others))

    async def _end(self, *, tells: bool) -> None:
        """End every worker: those that serve gracefully, within a time limit."""
        for listening in self._sockets:
            listening.close()
        living = [each for each in self._workers if each.pid]
        running = [each for each in living if each.state in ("running", "stopping")]
        teller = next(self._running(), None) if tells else None
        asking = (each.ask("stop", each is teller, timeout_s=_ANSWER_S) for each in running)
        await asyncio.gather(*asking, return_exceptions=True)
        for each in living:
            if each not in running:
                each.kill()
        waiting = [asyncio.create_task(each.ended()) for each in living]
        if waiting:
            await asyncio.wait(waiting, timeout=_STOP_S)
        for each, task in zip(living, waiting, strict=True):
            if not task.done():
                _LOG.error("worker %d: killed, it does not stop", each.number)
                await each.end()

    def _state(self, stopped_ms: int | None = None) -> ServerState:
        return state_of(self._launch, self._said, self._started_ms, stopped_ms)

    async def status(self) -> dict[str, Any]:
        """See `Control.status`."""
        counts = packed(await self._counts())
        found: dict[str, Any] = {
            "name": self._launch.name,
            "url": self._launch.url,
            "grpc": self._launch.grpc,
            "revision": self._launch.served.revision.number,
            "arms": [],
            "shadows": [],
            "feedback": {},
            "pending": 0,
            "shed": 0,
            "warnings": ["No worker is running."],
            "consumers": [],
            "journal": {},
        }
        for worker in self._running():
            with contextlib.suppress(RemoteError):
                found = await worker.ask("status", counts, timeout_s=_STATUS_S)
                break
        workers = [_said_of(each) for each in self._workers]
        ours = {"pid": os.getpid(), "started_ms": self._started_ms, "workers": workers}
        return {**found, **ours}

    async def swap(self, served: Served) -> None:
        """See `Control.swap`."""
        async with self._changing:
            workers = list(self._running())
            if not workers:
                raise RemoteError("No worker is running.", hint=f"`mlops logs {self._launch.name}`")
            try:
                said = await _all(workers, "prepare", served)
                await workers[0].ask("record_live")
                await self._flip(workers, served, said[0])
            except MlopsError:
                await _tell(workers, "give_up")
                raise
        _LOG.info("revision %d is live", served.revision.number)

    async def _flip(self, workers: Sequence[WorkerProcess], served: Served, said: Said) -> None:
        """Make a revision live that all have prepared: at once in all, or in none."""
        await _all(workers, "hold", timeout_s=_HOLD_S)
        launch = replace(self._launch, served=served)
        write_state(state_of(launch, said, self._started_ms), Path(launch.state_file))
        self._launch, self._said = launch, said
        # Workers that have ended by now are started with it.
        await _tell(workers, "flip")

    async def state(self) -> dict[str, Any]:
        """See `Control.state`."""
        tell(self._state())
        return state_to_dict(self._state())

    async def note(self, text: str) -> None:
        """See `Control.note`."""
        await self._any().ask("note", text)

    async def score(self, rows: list[Any]) -> list[list[Any]]:
        """See `Control.score`."""
        scores: list[list[Any]] = await self._any().ask("score", rows)
        return scores

    def _any(self) -> WorkerProcess:
        for worker in self._running():
            return worker
        raise RemoteError("No worker is running.", hint=f"`mlops logs {self._launch.name}`")


async def _all(
    workers: Sequence[WorkerProcess],
    name: str,
    *args: object,
    timeout_s: float | None = None,
) -> list[Any]:
    """Call all, and wait for all; raise the first error."""
    asking = (each.ask(name, *args, timeout_s=timeout_s) for each in workers)
    answers = await asyncio.gather(*asking, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return answers


async def _tell(workers: Sequence[WorkerProcess], name: str) -> None:
    """Call all, ignoring errors."""
    await asyncio.gather(*(each.ask(name) for each in workers), return_exceptions=True)


def _said_of(worker: WorkerProcess) -> dict[str, Any]:
    return {
        "number": worker.number,
        "pid": worker.pid,
        "state": worker.state,
        "restarts": worker.restarts,
        "since_ms": worker.ready_ms,
        "requests": sum(sum(arm.codes.values()) for arm in worker.last.arms.values()),
    }


def _how(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
