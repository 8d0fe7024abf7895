"""Waiting for what another thread, process or task brings about."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

_ENOUGH_S = 180.0
# What is not there yet, or written in part. It may be there a moment later.
_NOT_YET = (OSError, ValueError)


def _too_late() -> object:
    return "it did not come true in time"


def wait_until(
    condition: Callable[[], object],
    timeout_s: float = _ENOUGH_S,
    *,
    what: Callable[[], object] = _too_late,
) -> None:
    """Wait until a condition holds.

    Args:
        condition: Asked again and again. A file or a server that is missing, and text that is no
            JSON, mean not yet.
        timeout_s: When to give up.
        what: Gives what to say then.

    Raises:
        AssertionError: It did not hold in time; the cause is what the condition last raised.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        fault: Exception | None = None
        try:
            if condition():
                return
        except _NOT_YET as error:
            fault = error
        if time.monotonic() >= deadline:
            raise AssertionError(what()) from fault
        time.sleep(0.01)


async def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds, and let other tasks run meanwhile."""
    deadline = time.monotonic() + _ENOUGH_S
    while not condition():
        assert time.monotonic() < deadline, _too_late()
        await asyncio.sleep(0.001)
