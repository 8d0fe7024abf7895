"""The contract of a runner."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from mlops.protocols.base import Payload, Prediction
from mlops.spec.metrics import LATENCY_BOUNDS_S

#: Longest that a caller waits for a model, in seconds.
DEADLINE_S = 30.0
#: Rows that are predicted, and recorded, without leaving the event loop.
FEW_ROWS = 64

Pending: TypeAlias = Coroutine[Any, Any, Prediction]


@dataclass(slots=True)
class Durations:
    """How long something took, as a histogram with the bounds `LATENCY_BOUNDS_S`."""

    total_s: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_BOUNDS_S) + 1))

    def add(self, seconds: float) -> None:
        """Count one."""
        self.total_s += seconds
        self.buckets[bisect_left(LATENCY_BOUNDS_S, seconds)] += 1


@dataclass(slots=True)
class RunnerStats:
    """What one runner has done; changed on the event loop only.

    Attributes:
        waiting: Requests in its queue.
        running: Requests that the model has.
        rejected: Requests that found the queue full.
        expired: Requests whose deadline passed.
        calls: Calls of the model; fewer than requests where several share one.
        queued: How long requests waited for the model.
        model: How long the model took.
    """

    waiting: int = 0
    running: int = 0
    rejected: int = 0
    expired: int = 0
    calls: int = 0
    queued: Durations = field(default_factory=Durations)
    model: Durations = field(default_factory=Durations)


class Runner(Protocol):
    """Runs one arm's model. Lives on one event loop.

    Attributes:
        kind: `inline`, `gathering`, `thread`, `process` or `remote`.
        stats: What it has done since it was made.
    """

    stats: RunnerStats

    @property
    def kind(self) -> str:
        """See the class."""
        ...

    def predict(
        self, payload: Payload, parameters: Mapping[str, Any], deadline_s: float = DEADLINE_S
    ) -> Prediction | Pending:
        """Predict every row of `payload`, at once or later.

        Args:
            payload: n rows.
            parameters: The request's parameters for the model.
            deadline_s: How long the caller waits, the time in the queue included.

        Returns:
            The prediction; or a coroutine of it, which must be awaited.

        Raises:
            ProtocolError: What the model raises; `BUSY` if the queue is full, `DEADLINE` if the
                answer took too long, `NOT_READY` if nothing can answer now. Of the coroutine too.
        """
        ...

    @property
    def fault(self) -> str:
        """Why it cannot answer now, in a sentence; empty if it can."""
        ...

    def close(self) -> None:
        """Release threads and connections; predictions in progress are not waited for."""
        ...
