"""Run one server until it is stopped."""

from __future__ import annotations

import asyncio
from pathlib import Path

from mlops.serving.event_loop import run
from mlops.spec.server import Launch, hold_lock


def serve(launch: Launch, *, locked: bool = False) -> None:
    """Serve what a launch says.

    Args:
        launch: How to start.
        locked: Whether this process holds the deployment's lock already.

    Raises:
        MlopsError: It cannot be served; nothing listens then.
    """
    if not locked:
        hold_lock(Path(launch.lock_file))
    if launch.workers > 1:
        from mlops.serving.supervisor import Supervisor

        # Not the quick loop: workers are forked from within this one.
        asyncio.run(Supervisor(launch).run())
        return
    from mlops.serving.alone import Alone

    run(Alone(launch).run())
