"""A model that another server answers for; its client has the queue and the breaker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from mlops.protocols.base import Kind, Payload, Prediction, ProtocolError
from mlops.serving.models.remote import RemoteModel
from mlops.serving.runners.base import DEADLINE_S, Pending, RunnerStats


class RemoteRunner:
    """Asks an endpoint.

    Args:
        model: The way to it.

    Attributes:
        kind: `remote`.
        stats: What it has done; time in the queue is not known apart from the endpoint's.
    """

    kind = "remote"

    def __init__(self, model: RemoteModel) -> None:
        self.stats = RunnerStats()
        self._model = model

    def predict(
        self, payload: Payload, parameters: Mapping[str, Any], deadline_s: float = DEADLINE_S
    ) -> Pending:
        """See `Runner.predict`."""
        return self._predict(payload, parameters, deadline_s)

    async def _predict(
        self, payload: Payload, parameters: Mapping[str, Any], deadline_s: float
    ) -> Prediction:
        started = time.perf_counter()
        self.stats.running += 1
        try:
            if deadline_s >= DEADLINE_S:
                # It has the same deadline, and a better message.
                return await self._model.ask(payload, parameters)
            async with asyncio.timeout(deadline_s):
                return await self._model.ask(payload, parameters)
        except TimeoutError:
            self.stats.expired += 1
            raise ProtocolError(
                Kind.DEADLINE,
                f"The endpoint of `{self._model.arm}` took longer than {deadline_s:g} s.",
            ) from None
        finally:
            self.stats.running -= 1
            self.stats.calls += 1
            self.stats.model.add(time.perf_counter() - started)

    @property
    def fault(self) -> str:
        """See `Runner.fault`."""
        return f"The endpoint of `{self._model.arm}` is down." if self._model.up is False else ""

    def close(self) -> None:
        """See `Runner.close`; its connections are closed with the model."""
