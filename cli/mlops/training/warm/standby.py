"""A fork of the warm parent that waits for a run, so that the run need not wait for a fork."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Spare:
    """A process that waits at the other end of a pipe.

    Attributes:
        pid: Its number; it leads a group of its own.
        pipe: This end; without a request through it the process ends when this is closed.
    """

    pid: int
    pipe: int

    def give(self, order: Mapping[str, Any]) -> bool:
        """Send it its request, and return whether it was there to receive it; to be called once."""
        try:
            with os.fdopen(self.pipe, "wb") as line:
                line.write(json.dumps(order).encode())
        except BrokenPipeError:
            os.waitpid(self.pid, 0)
            return False
        return True

    def dismiss(self) -> None:
        """End it; instead of `give`."""
        os.close(self.pipe)
        os.waitpid(self.pid, 0)


def read_order(pipe: int) -> dict[str, Any] | None:
    """Wait for the request, in the process itself; None if it was dismissed."""
    with os.fdopen(pipe, "rb") as line:
        text = line.read()
    order: dict[str, Any] | None = json.loads(text) if text else None
    return order
