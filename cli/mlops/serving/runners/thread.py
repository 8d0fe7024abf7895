"""A model in a few threads of its own, with a queue in front of them."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from mlops.protocols.base import Kind, Payload, Prediction, ProtocolError
from mlops.runtimes.base import ServableModel
from mlops.serving.runners.base import DEADLINE_S, Pending, RunnerStats

_THREADS = min(4, (os.cpu_count() or 1) + 1)
_MAX_WAITING = 256


@dataclass(slots=True)
class _Call:
    """One request; times are of `time.perf_counter`, 0 until they are known."""

    queued: float
    started: float = 0.0
    ended: float = 0.0
    left_queue: bool = False


class ThreadRunner:
    """Predicts in threads.

    A call that outlives its deadline keeps its thread, since Python cannot end one; if all hang,
    what comes next waits for its own deadline, and the arm is reported as not answering.

    Args:
        model: May be called from several threads.
        arm: Name of the arm, for errors and the log.
        threads: Calls at once.
        max_waiting: Requests that may wait for a thread.
        deadline_s: Longest that a caller waits.

    Attributes:
        kind: `thread`.
        arm: As given.
        stats: What it has done.
    """

    kind = "thread"

    def __init__(
        self,
        model: ServableModel,
        arm: str,
        *,
        threads: int = _THREADS,
        max_waiting: int = _MAX_WAITING,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self.arm = arm
        self.stats = RunnerStats()
        self._model = model
        self._threads = threads
        self._max_waiting = max_waiting
        self._deadline_s = deadline_s
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"arm-{arm}")
        self._running: dict[int, _Call] = {}

    def predict(
        self, payload: Payload, parameters: Mapping[str, Any], deadline_s: float = DEADLINE_S
    ) -> Pending:
        """See `Runner.predict`."""
        return self._predict(payload, parameters, min(deadline_s, self._deadline_s))

    async def _predict(
        self, payload: Payload, parameters: Mapping[str, Any], deadline_s: float
    ) -> Prediction:
        stats = self.stats
        if stats.waiting >= self._max_waiting:
            stats.rejected += 1
            raise ProtocolError(
                Kind.BUSY,
                f"`{self.arm}` has {stats.waiting} requests waiting; send this again shortly.",
            )
        call = _Call(time.perf_counter())
        stats.waiting += 1
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._pool, self._call, loop, call, payload, parameters)
        try:
            return await asyncio.wait_for(work, deadline_s)
        except TimeoutError:
            stats.expired += 1
            raise ProtocolError(
                Kind.DEADLINE, f"The model of `{self.arm}` took longer than {deadline_s:g} s."
            ) from None
        finally:
            # One that never got a thread is dropped by the executor.
            self._leave_queue(call)

    def _call(
        self,
        loop: asyncio.AbstractEventLoop,
        call: _Call,
        payload: Payload,
        parameters: Mapping[str, Any],
    ) -> Prediction:
        """Call the model, in a thread."""
        call.started = time.perf_counter()
        _tell(loop, self._began, call)
        try:
            return self._model.predict(payload, parameters)
        finally:
            call.ended = time.perf_counter()
            _tell(loop, self._finished, call)

    def _leave_queue(self, call: _Call) -> None:
        self.stats.waiting -= not call.left_queue
        call.left_queue = True

    def _began(self, call: _Call) -> None:
        self._leave_queue(call)
        self.stats.queued.add(call.started - call.queued)
        self._running[id(call)] = call
        self.stats.running += 1

    def _finished(self, call: _Call) -> None:
        del self._running[id(call)]
        self.stats.running -= 1
        self.stats.model.add(call.ended - call.started)

    @property
    def fault(self) -> str:
        """See `Runner.fault`."""
        now = time.perf_counter()
        hung = sum(now - call.started > self._deadline_s for call in self._running.values())
        if hung < self._threads:
            return ""
        return f"`{self.arm}`: all {hung} calls under way take longer than {self._deadline_s:g} s."

    def close(self) -> None:
        """See `Runner.close`."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _tell(loop: asyncio.AbstractEventLoop, what: Any, call: _Call) -> None:  # noqa: ANN401
    """Count on the event loop, as long as there is one."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(what, call)
