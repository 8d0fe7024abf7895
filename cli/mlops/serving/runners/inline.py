"""A model that answers faster than a call could be passed to a thread."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from mlops.protocols.base import Payload, Prediction
from mlops.runtimes.base import ServableModel
from mlops.serving.runners.base import DEADLINE_S, FEW_ROWS, Pending
from mlops.serving.runners.pace import SLOW_S, Pace
from mlops.serving.runners.thread import ThreadRunner


class InlineRunner:
    """Predicts few rows on the event loop, and many, or all once it gets slow, in threads.

    Args:
        model: Quick at warm-up.
        thread: Takes what would hold the event loop up.

    Attributes:
        stats: Those of its threads too.
    """

    def __init__(self, model: ServableModel, thread: ThreadRunner) -> None:
        self._model = model
        self._thread = thread
        self._pace = Pace(thread.arm)
        self.stats = thread.stats

    def predict(
        self, payload: Payload, parameters: Mapping[str, Any], deadline_s: float = DEADLINE_S
    ) -> Prediction | Pending:
        """See `Runner.predict`."""
        if payload.n_rows > FEW_ROWS or self._pace.is_slow:
            return self._thread.predict(payload, parameters, deadline_s)
        started = time.perf_counter()
        try:
            return self._model.predict(payload, parameters)
        finally:
            elapsed_s = time.perf_counter() - started
            self.stats.model.add(elapsed_s)
            self.stats.calls += 1
            if elapsed_s > SLOW_S or self._pace.slow_calls:
                self._pace.note(elapsed_s)

    @property
    def kind(self) -> str:
        """`inline`; `thread` once the model got slow."""
        return "thread" if self._pace.is_slow else "inline"

    @property
    def fault(self) -> str:
        """See `Runner.fault`."""
        return self._thread.fault

    def close(self) -> None:
        """See `Runner.close`."""
        self._thread.close()
