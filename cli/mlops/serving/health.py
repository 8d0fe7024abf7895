"""Watching what runs beside the server: endpoints, and the processes of shadows."""

from __future__ import annotations

import asyncio
import gc

from mlops.serving.dataplane import DataPlane
from mlops.serving.metrics import Metrics
from mlops.serving.revision import LiveRevision
from mlops.serving.runners import Runner
from mlops.serving.shadow_models import end_shadows

_PROBE_EVERY_S = 5.0
# Requests from before a swap may take this long.
_GRACE_S = 35.0
_LOOK_EVERY_S = 0.1


class Watch:
    """Probes every endpoint of the live revision, and closes what a revision leaves behind.

    Lives on one event loop.

    Args:
        plane: Knows what is live.
        metrics: Records which endpoints are up.
    """

    def __init__(self, plane: DataPlane, metrics: Metrics) -> None:
        self._plane = plane
        self._metrics = metrics
        self._retiring: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Probe until cancelled."""
        while True:
            remotes = self._plane.live.remotes
            await asyncio.gather(*(remote.probe() for remote in remotes))
            self._metrics.endpoints = {
                remote.arm: remote.up
                for remote in self._plane.live.remotes
                if remote.up is not None
            }
            await asyncio.sleep(_PROBE_EVERY_S)

    def retire(self, over: LiveRevision, live: LiveRevision) -> None:
        """Close what `over` has and `live` has not, once no request can wait for it any more."""
        task = asyncio.create_task(self._later(over, live))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def close(self) -> None:
        """Release everything that is held beside the server."""
        for task in list(self._retiring):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await _close(self._plane.live, None)

    async def _later(self, over: LiveRevision, live: LiveRevision) -> None:
        kept = {id(arm.runner) for arm in live.arms}
        left = [arm.runner for arm in over.arms if id(arm.runner) not in kept]
        try:
            if over.remotes:
                await asyncio.sleep(_GRACE_S)
            else:
                await asyncio.to_thread(end_shadows, over.shadows, live.shadows)
            await _until_idle(left)
        finally:
            await _close(over, live)
        if left:
            # Models are full of cycles, and the collector is set to run seldom.
            del over, left
            await asyncio.to_thread(gc.collect)


async def _until_idle(runners: list[Runner]) -> None:
    """Wait for what these runners have begun, no longer than a caller would."""
    for _ in range(int(_GRACE_S / _LOOK_EVERY_S)):
        if not any(runner.stats.waiting or runner.stats.running for runner in runners):
            return
        await asyncio.sleep(_LOOK_EVERY_S)


async def _close(over: LiveRevision, live: LiveRevision | None) -> None:
    kept_remotes = set(map(id, live.remotes)) if live else set()
    for remote in over.remotes:
        if id(remote) not in kept_remotes:
            await remote.close()
    kept_runners = {id(arm.runner) for arm in live.arms} if live else set()
    for arm in over.arms:
        if id(arm.runner) not in kept_runners:
            arm.runner.close()
    await asyncio.to_thread(end_shadows, over.shadows, live.shadows if live else ())
