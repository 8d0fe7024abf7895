"""A model in a few threads of its own, with a queue in front of them."""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from mlops.protocols.base import Kind, Payload, Prediction, ProtocolError
from mlops.runtimes.base import Batch, Runtime, ServableModel
from mlops.runtimes.failures import own_failure
from mlops.serving.runners.base import DEADLINE_S, Pending, RunnerStats
from mlops.serving.runners.batching import MAX_ROWS, Result, infer_together

#: Calls of one arm at once.
THREADS = min(4, (os.cpu_count() or 1) + 1)
_MAX_WAITING = 256
#: Longest that a request may be expected to wait for the model, by how long others took. A request
#: that would wait longer is refused at once, so that an overload does not delay all.
_MAX_WAIT_S = 1.0
# Weight of the newest call in the mean.
_NEWEST = 0.1


@dataclass(slots=True)
class _Call:
    """One request; times are of `time.perf_counter`, 0 until they are known."""

    payload: Payload
    parameters: Mapping[str, Any]
    answer: asyncio.Future[Prediction]
    queued: float = field(default_factory=time.perf_counter)
    started: float = 0.0
    abandoned: bool = False


class ThreadRunner:
    """Predicts in threads.

    A call that outlives its deadline keeps its thread, since Python cannot end one; if all hang,
    what comes next waits for its own deadline, and the arm is reported as not answering.

    Where joining is worth it, a thread that becomes free takes all that waits, up to `MAX_ROWS`
    rows, into one call of the model. Nothing ever waits for others to come, so that at low load
    each request has a call of its own.

    Args:
        model: May be called from several threads.
        arm: Name of the arm, for errors and the log.
        joins: Whether to take several requests into one call.
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
        joins: bool = False,
        threads: int = THREADS,
        max_waiting: int = _MAX_WAITING,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self.arm = arm
        self.stats = RunnerStats()
        self._model = model
        self._runtime = model if joins and isinstance(model, Runtime) else None
        self._threads = threads
        self._max_waiting = max_waiting
        self._deadline_s = deadline_s
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"arm-{arm}")
        self._queue: deque[_Call] = deque()
        self._lock = Lock()
        self._running: dict[int, _Call] = {}
        #: Seconds that a request takes a thread, a moving mean.
        self._each_s = 0.0

    def predict(
        self, payload: Payload, parameters: Mapping[str, Any], deadline_s: float = DEADLINE_S
    ) -> Pending:
        """See `Runner.predict`."""
        return self._predict(payload, parameters, min(deadline_s, self._deadline_s))

    async def _predict(
        self, payload: Payload, parameters: Mapping[str, Any], deadline_s: float
    ) -> Prediction:
        stats = self.stats
        # As many as there are threads may always wait: one slow call says little about the next.
        crowded = stats.waiting >= self._threads and self._expected_wait_s() > _MAX_WAIT_S
        if crowded or stats.waiting >= self._max_waiting:
            stats.rejected += 1
            raise ProtocolError(
                Kind.BUSY,
                f"`{self.arm}` has {stats.waiting} requests waiting; send this again shortly.",
            )
        loop = asyncio.get_running_loop()
        call = _Call(payload, parameters, loop.create_future())
        stats.waiting += 1
        self._queue.append(call)
        # One turn for each call; a thread whose turn finds nothing left is done at once.
        self._pool.submit(self._work, loop)
        try:
            return await asyncio.wait_for(call.answer, deadline_s)
        except TimeoutError:
            stats.expired += 1
            raise ProtocolError(
                Kind.DEADLINE, f"The model of `{self.arm}` took longer than {deadline_s:g} s."
            ) from None
        finally:
            with self._lock:
                # One that no thread has taken yet is never taken.
                call.abandoned = not call.started
            stats.waiting -= call.abandoned

    def _expected_wait_s(self) -> float:
        return self.stats.waiting * self._each_s / self._threads

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        """Predict what waits, in a thread."""
        calls = self._take()
        if not calls:
            return
        _tell(loop, self._began, calls)
        results = self._results(calls)
        _tell(loop, self._finished, calls, results, time.perf_counter())

    def _take(self) -> list[_Call]:
        """Take the first call whose caller still waits, and others as far as they may be joined."""
        taken: list[_Call] = []
        rows = 0
        with self._lock:
            while self._queue:
                call = self._queue[0]
                rows += call.payload.n_rows
                if taken and (self._runtime is None or rows > MAX_ROWS):
                    break
                self._queue.popleft()
                if call.abandoned:
                    rows -= call.payload.n_rows
                else:
                    call.started = time.perf_counter()
                    taken.append(call)
        return taken

    def _results(self, calls: Sequence[_Call]) -> list[Result]:
        if self._runtime is None or len(calls) == 1:
            return [self._result(call) for call in calls]
        results: list[Result] = []
        batches: list[Batch | None] = []
        for call in calls:
            try:
                batches.append(self._runtime.prepare(call.payload, call.parameters))
            except ProtocolError as error:
                batches.append(None)
                results.append(error)
        answers = iter(infer_together(self._runtime, [b for b in batches if b is not None]))
        errors = iter(results)
        return [next(errors) if batch is None else next(answers) for batch in batches]

    def _result(self, call: _Call) -> Result:
        try:
            return self._model.predict(call.payload, call.parameters)
        except ProtocolError as error:
            return error
        except Exception as error:  # noqa: BLE001 - whatever a model raises is its caller's answer
            return own_failure(error)

    def _began(self, calls: Sequence[_Call]) -> None:
        stats = self.stats
        stats.waiting -= len(calls)
        stats.running += len(calls)
        stats.calls += 1
        for call in calls:
            stats.queued.add(call.started - call.queued)
            self._running[id(call)] = call

    def _finished(self, calls: Sequence[_Call], results: Sequence[Result], ended: float) -> None:
        self.stats.running -= len(calls)
        took_s = (ended - calls[0].started) / len(calls)
        self._each_s += (took_s - self._each_s) * (_NEWEST if self._each_s else 1.0)
        for call, result in zip(calls, results, strict=True):
            del self._running[id(call)]
            self.stats.model.add(ended - call.started)
            if call.answer.done():
                continue
            if isinstance(result, ProtocolError):
                call.answer.set_exception(result)
            else:
                call.answer.set_result(result)

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


def _tell(loop: asyncio.AbstractEventLoop, what: Callable[..., object], *args: object) -> None:
    """Count and answer on the event loop, as long as there is one."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(what, *args)
