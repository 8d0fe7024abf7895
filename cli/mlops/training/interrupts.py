"""Ctrl-C, a cancelled CI job and a closed terminal, handled alike."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from mlops.training.warm.script import hangup


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """Raise KeyboardInterrupt for the first signal that asks to stop, and ignore the others.

    So cleaning up is not interrupted. Under `nohup` a closed terminal stops
    nothing. Outside the main thread, where Python cannot handle signals, this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    stopping = (signal.SIGINT, signal.SIGTERM, *hangup())

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        for number in stopping:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in stopping}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
