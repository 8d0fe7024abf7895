"""A quick model whose call has a fixed cost: requests of one turn of the event loop share it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from mlops.protocols.base import Payload, Prediction, ProtocolError
from mlops.runtimes.base import Batch, Runtime
from mlops.serving.runners.base import DEADLINE_S, FEW_ROWS, Pending
from mlops.serving.runners.batching import MAX_ROWS, Result, infer_together
from mlops.serving.runners.pace import Pace
from mlops.serving.runners.thread import ThreadRunner


class GatheringRunner:
    """Predicts on the event loop whatever has arrived since its last turn, in one call.

    Under load many connections are readable at once; with one connection a request waits for
    nothing but the end of the turn in which it arrived.

    Args:
        model: Quick at warm-up, and quicker together than one by one.
        thread: Takes requests of many rows.

    Attributes:
        stats: Those of its threads too.
    """

    def __init__(self, model: Runtime, thread: ThreadRunner) -> None:
        self._model = model
        self._thread = thread
        self._waiting: list[tuple[Batch, asyncio.Future[Prediction]]] = []
        self._rows = 0
        self._pace = Pace(thread.arm)
        self.stats = thread.stats

    def predict(
        self, payload: Payload, parameters: Mapping[str, Any], deadline_s: float = DEADLINE_S
    ) -> Pending:
        """See `Runner.predict`."""
        if payload.n_rows > FEW_ROWS or self._pace.is_slow:
            return self._thread.predict(payload, parameters, deadline_s)
        batch = self._model.prepare(payload, parameters)
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Prediction] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._flush)
        self._waiting.append((batch, answer))
        self._rows += payload.n_rows
        if self._rows >= MAX_ROWS:
            self._flush()
        return _wait(answer)

    def _flush(self) -> None:
        waiting, self._waiting, self._rows = self._waiting, [], 0
        if not waiting:
            return
        started = time.perf_counter()
        results = infer_together(self._model, [batch for batch, _ in waiting])
        elapsed_s = time.perf_counter() - started
        self._pace.note(elapsed_s)
        self.stats.calls += 1
        for (_, answer), result in zip(waiting, results, strict=True):
            self.stats.model.add(elapsed_s)
            _settle(answer, result)

    @property
    def kind(self) -> str:
        """`gathering`; `thread` once the model got slow."""
        return "thread" if self._pace.is_slow else "gathering"

    @property
    def fault(self) -> str:
        """See `Runner.fault`."""
        return self._thread.fault

    def close(self) -> None:
        """See `Runner.close`."""
        self._thread.close()


async def _wait(answer: asyncio.Future[Prediction]) -> Prediction:
    return await answer


def _settle(answer: asyncio.Future[Prediction], result: Result) -> None:
    if answer.done():
        return
    if isinstance(result, ProtocolError):
        answer.set_exception(result)
    else:
        answer.set_result(result)
