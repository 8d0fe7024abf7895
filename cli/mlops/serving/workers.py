"""Workers, from their supervisor's side: started, called, and waited for.

The supervisor has made the imports, which cost seconds and most of a worker's memory, and has one
thread; so a worker is there at once, and shares what was imported. It loads the models itself:
what they start while they load (threads of OpenMP above all) would not survive a fork.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeAlias

from mlops.errors import MlopsError, kind_of
from mlops.forking import fork, threads
from mlops.serving.channel import Channel, Handler
from mlops.serving.counting import Counts, unpacked
from mlops.serving.event_loop import run
from mlops.serving.sharing import Shared
from mlops.serving.startup_messages import Said

_LOG = logging.getLogger(__name__)
_START_TIMEOUT_S = 300.0
# How long each feedback waits for a worker that did not say in time what it has written.
_OVERDUE_S = 0.2
_ALWAYS = ("mlflow.pyfunc", "mlops.serving.worker", "mlops.runtimes.load")
_SKLEARN = (
    "mlflow.sklearn",
    "sklearn.compose",
    "sklearn.linear_model",
    "sklearn.pipeline",
    "sklearn.preprocessing",
    # Where a model's file lets it, MLflow reads it with this, which knows every estimator.
    "skops.io",
)

State: TypeAlias = Literal["starting", "running", "stopping", "waiting"]


def preload(folders: Sequence[str]) -> Any:  # noqa: ANN401 - see `threads.pools`
    """Import what workers that serve these models need; return the pools of numeric libraries.

    Args:
        folders: Where the models are; empty for an endpoint.
    """
    files = [Path(folder, "MLmodel") for folder in folders if folder]
    sklearn = any(b"sklearn" in file.read_bytes() for file in files if file.is_file())
    # Nearly all that is imported stays, so collecting garbage now is lost time, and
    # touching it ever after would copy what is shared.
    gc.disable()
    with threads.single_threaded():
        for name in (*_ALWAYS, *(_SKLEARN if sklearn else ())):
            importlib.import_module(name)
    pools = threads.pools()
    gc.freeze()
    gc.enable()
    return pools


class WorkerProcess:
    """One worker after another in one place. Lives on the supervisor's event loop.

    Args:
        number: From 1.

    Attributes:
        number: As given.
        state: What it does: `starting`, `running`, `stopping`, or `waiting` for its next start.
        pid: Its process, 0 if there is none.
        restarts: How often it was started again.
        ready_ms: When it became ready, milliseconds since 1970 in UTC.
        last: Its counts when it last answered.
        answered_s: When that was, as `time.monotonic` counts.
        line: This end of the socket to it; None if there is none.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.state: State = "waiting"
        self.pid = 0
        self.restarts = 0
        self.ready_ms = 0
        self.last = Counts()
        self.answered_s = 0.0
        self._channel: Channel | None = None
        self._reading: asyncio.Task[None] | None = None
        self._ended: asyncio.Future[int] | None = None
        self._overdue: asyncio.Task[None] | None = None
        self._counting: set[asyncio.Task[None]] = set()
        self.line: socket.socket | None = None

    async def start(
        self, shared: Shared, handlers: Mapping[str, Handler], private: Sequence[socket.socket]
    ) -> Said:
        """Fork a worker and wait until it is ready; it takes no connections yet.

        Args:
            shared: What it has in common with the others.
            handlers: What answers its requests.
            private: Sockets that no worker may hold, such as the sockets to others: they would not
                see the end of a supervisor while one does.

        Raises:
            MlopsError: It has ended, or does not become ready and was killed. Of the kind that its
                exit code says.
        """
        self.state, self.last = "starting", Counts()
        ours, theirs = socket.socketpair()
        self.pid = _fork(self.number, shared, theirs, [ours, *private])
        theirs.close()
        self.line = ours
        self._ended = _end_of(self.pid)
        self._channel = Channel(ours, handlers, f"Worker {self.number}")
        await self._channel.open()
        self._reading = asyncio.create_task(self._channel.run())
        try:
            said: Said = await self._channel.ask("ready", timeout_s=_START_TIMEOUT_S)
        except MlopsError as error:
            code = await self.end()
            message = f"Worker {self.number} did not start: {error.message}"
            raise kind_of(exit_code=code)(message, hint=error.hint) from error
        self.ready_ms, self.answered_s = time.time_ns() // 1_000_000, time.monotonic()
        self.state = "running"
        return said

    async def ask(self, name: str, *args: object, timeout_s: float | None = None) -> Any:  # noqa: ANN401 - any answer
        """See `Channel.ask`."""
        assert self._channel is not None
        return await self._channel.ask(name, *args, timeout_s=timeout_s)

    async def count(self, patience_s: float) -> None:
        """Ask for its counts, and return once they are in `last`, or after some time.

        An answer that comes later counts too: a worker that needs longer does not hang.

        Args:
            patience_s: Seconds to wait for it.
        """
        counting = asyncio.create_task(self._count(self.pid))
        self._counting.add(counting)
        counting.add_done_callback(self._counting.discard)
        await asyncio.wait([counting], timeout=patience_s)

    async def _count(self, pid: int) -> None:
        with contextlib.suppress(MlopsError):
            counts = await self.ask("snapshot")
            # The next process in its place counts from 0, and the last one's counts are in already.
            if self.pid == pid:
                self.last, self.answered_s = unpacked(counts), time.monotonic()

    async def written(self, patience_s: float) -> None:
        """Return once it has written what it answered so far, or has not after some time.

        One that was asked before and has still not answered is waited for a moment only.

        Args:
            patience_s: Seconds to wait for it.
        """
        if self._overdue is not None and not self._overdue.done():
            await asyncio.wait([self._overdue], timeout=min(patience_s, _OVERDUE_S))
            if not self._overdue.done():
                return
        asked = asyncio.create_task(self.ask("written"))
        # Nobody may be waiting any more when it ends.
        asked.add_done_callback(lambda task: task.cancelled() or task.exception())
        done, _ = await asyncio.wait([asked], timeout=patience_s)
        if not done:
            self._overdue = asked

    async def ended(self) -> int:
        """Wait until it has ended and all it said has been read; return its exit code."""
        assert self._ended is not None
        assert self._reading is not None
        code = await asyncio.shield(self._ended)
        await asyncio.wait([self._reading])
        self.pid, self.state, self.line = 0, "waiting", None
        return code

    async def end(self) -> int:
        """Kill it, if it lives; return its exit code."""
        self.kill()
        return await self.ended()

    def kill(self) -> None:
        """Kill it, if it lives."""
        if self._ended is not None and not self._ended.done():
            os.kill(self.pid, signal.SIGKILL)


def _end_of(pid: int) -> asyncio.Future[int]:
    """Return what becomes the exit code of a child, negative for a signal."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[int] = loop.create_future()
    descriptor = os.pidfd_open(pid)

    def reap() -> None:
        loop.remove_reader(descriptor)
        os.close(descriptor)
        future.set_result(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

    loop.add_reader(descriptor, reap)
    return future


def _fork(number: int, shared: Shared, end: socket.socket, private: Sequence[socket.socket]) -> int:
    assert not threads.python_threads(), "a fork would lose a thread"
    # A signal that arrives before the child has its own handlers would call the parent's in it.
    stopping = {signal.SIGINT, signal.SIGTERM}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, stopping)
    pid = fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return pid
    try:
        signal.set_wakeup_fd(-1)
        # Ctrl-C in the terminal reaches the supervisor too, which handles it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for each in private:
            os.close(each.detach())
        _be_worker(number, shared, end)
    finally:
        os._exit(1)


def _be_worker(number: int, shared: Shared, end: socket.socket) -> NoReturn:
    launch = shared.launch
    # The supervisor's garbage must not be collected here: it has descriptors by number.
    gc.freeze()
    line = logging.Formatter(f"%(asctime)s %(levelname)s worker {number}: %(message)s")
    for handler in logging.getLogger().handlers:
        handler.setFormatter(line)
    cores = max(1, len(os.sched_getaffinity(0)) // launch.workers)
    for name in threads.VARIABLES:
        os.environ.setdefault(name, str(cores))
    threads.restore(shared.pools)
    if "numpy.random" in sys.modules:
        # Python gives each fork a generator of its own, NumPy gives every fork the same.
        sys.modules["numpy.random"].seed()
    bodies = max(1, launch.max_bodies_mib // launch.workers)
    code = 1
    try:
        from mlops.serving.worker import Worker

        run(Worker(replace(shared, launch=replace(launch, max_bodies_mib=bodies)), end).run())
        code = 0
    except MlopsError as error:
        _LOG.error("%s%s", error.message, f" ({error.hint})" if error.hint else "")
        code = error.exit_code
    except BaseException:  # noqa: BLE001 - the last frame of this process
        _LOG.exception("the worker failed")
    logging.shutdown()
    # Python would wait for every thread, and a model's call that hangs never ends.
    os._exit(code)
