"""A model in a process of its own, which can be ended where a thread cannot."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from mlops.protocols.base import Kind, Payload, Prediction, ProtocolError
from mlops.runtimes.base import ServableModel
from mlops.runtimes.isolated import IsolatedModel
from mlops.serving.runners.base import DEADLINE_S
from mlops.serving.runners.thread import ThreadRunner

# A call starts a little after its caller's deadline does; how often calls that hang are looked at.
_GRACE_S = 0.25


class ProcessRunner(ThreadRunner):
    """Predicts in another process, one thread here for each call at once there.

    When every call that it can have at once outlives the deadline, the process is killed: the
    calls end, and the model is loaded again.

    Args:
        model: Calls the process.
        process: Which it is.
        arm: Name of the arm, for errors and the log.
        deadline_s: Longest that a caller waits.

    Attributes:
        kind: `process`.
    """

    kind = "process"

    def __init__(
        self,
        model: ServableModel,
        process: IsolatedModel,
        arm: str,
        *,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        super().__init__(model, arm, threads=process.slots, deadline_s=deadline_s)
        self._process = process
        self._look: asyncio.TimerHandle | None = None

    async def _predict(
        self, payload: Payload, parameters: Mapping[str, Any], deadline_s: float
    ) -> Prediction:
        if self._process.fault:
            raise ProtocolError(Kind.NOT_READY, self.fault)
        try:
            return await super()._predict(payload, parameters, deadline_s)
        except ProtocolError as error:
            if error.kind is Kind.DEADLINE and self._look is None:
                self._look_later()
            raise

    def _look_later(self) -> None:
        self._look = asyncio.get_running_loop().call_later(_GRACE_S, self._end_if_hung)

    def _end_if_hung(self) -> None:
        self._look = None
        if self._process.fault:
            return
        if super().fault:
            self._process.end_process("Its process hung; it was killed, and is started again.")
        elif any(call.answer.done() for call in self._running.values()):
            # Nobody waits for this one any more. It may have got its thread late, or be the first
            # that hangs.
            self._look_later()

    @property
    def fault(self) -> str:
        """See `Runner.fault`."""
        return f"`{self.arm}`: {self._process.fault}" if self._process.fault else super().fault

    def close(self) -> None:
        """See `Runner.close`."""
        super().close()
        self._process.close()
