"""Run one server until it is told to stop."""

from __future__ import annotations

import asyncio
from pathlib import Path

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
    from mlops.serving.process import Process

    process = Process(launch)
    try:
        import uvloop
    except ImportError:
        asyncio.run(process.run())
    else:
        uvloop.run(process.run())
