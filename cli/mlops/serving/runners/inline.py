"""A model that answers faster than a thread could be told of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from mlops.protocols.base import Payload, Prediction
from mlops.runtimes.base import ServableModel
from mlops.serving.runners.base import DEADLINE_S, FEW_ROWS, Pending
from mlops.serving.runners.thread import ThreadRunner

_LOG = logging.getLogger(__name__)
# A call this long holds everybody up. One may be the collector's or the machine's fault.
_SLOW_S = 0.05
_SLOW_CALLS = 2


class InlineRunner:
    """Predicts few rows on the event loop, and many, or all once it gets slow, in threads.

    Args:
        model: Quick at warm-up.
        thread: Takes what would hold the event loop up.

    Attributes:
        kind: `inline`.
        stats: Those of its threads too.
    """

    kind = "inline"

    def __init__(self, model: ServableModel, thread: ThreadRunner) -> None:
        self._model = model
        self._thread = thread
        self._slow_calls = 0
        self.stats = thread.stats

    def predict(
        self, payload: Payload, parameters: Mapping[str, Any], deadline_s: float = DEADLINE_S
    ) -> Prediction | Pending:
        """See `Runner.predict`."""
        if payload.n_rows > FEW_ROWS or self._slow_calls >= _SLOW_CALLS:
            return self._thread.predict(payload, parameters, deadline_s)
        started = time.perf_counter()
        try:
            return self._model.predict(payload, parameters)
        finally:
            elapsed_s = time.perf_counter() - started
            self.stats.model.add(elapsed_s)
            if elapsed_s > _SLOW_S:
                self._note_slow(elapsed_s)
            else:
                self._slow_calls = 0

    def _note_slow(self, elapsed_s: float) -> None:
        self._slow_calls += 1
        if self._slow_calls == _SLOW_CALLS:
            self.kind = "thread"
            _LOG.warning(
                "%s: took %.2f s where it was quick at start; it runs in threads from now on",
                self._thread.arm,
                elapsed_s,
            )

    @property
    def fault(self) -> str:
        """See `Runner.fault`."""
        return self._thread.fault

    def close(self) -> None:
        """See `Runner.close`."""
        self._thread.close()
