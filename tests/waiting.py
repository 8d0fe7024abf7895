"""Waiting for what another thread, process or task brings about."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

_ENOUGH_S = 180.0


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
        condition: Asked again and again.
        timeout_s: When to give up.
        what: Gives what to say then.
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.01)


async def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds, and let other tasks run meanwhile."""
    deadline = time.monotonic() + _ENOUGH_S
    while not condition():
        assert time.monotonic() < deadline, _too_late()
        await asyncio.sleep(0.001)
