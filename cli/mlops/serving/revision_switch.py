"""Which revision of a deployment a process serves, and the steps in which another takes over."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from mlops.registry.cache_lease import Lease
from mlops.serving.dataplane import DataPlane
from mlops.serving.health import Watch
from mlops.serving.metrics import Metrics
from mlops.serving.past import Past
from mlops.serving.revision import LiveRevision, load_revision
from mlops.serving.shadows import Shadows
from mlops.spec.server import Launch, Served

# A journal that does not answer must not block a change forever.
_PATIENCE_S = 10.0


class RevisionSwitch:
    """The live revision of a process. Its methods are called on the event loop.

    Args:
        launch: How the process was started.
        lease: Keeps the models' folders.
        plane: Answers requests by the live revision.
        past: Records in the journal what was live when.
        watch: Ends what a replaced revision leaves.
        metrics: Counts by revision.
        shadows: Asks the live revision's shadows.
        written: Returns once all that was answered so far is in the journal.

    Attributes:
        launch: How to start the process again, with the live revision.
    """

    def __init__(
        self,
        launch: Launch,
        lease: Lease,
        plane: DataPlane,
        past: Past,
        watch: Watch,
        metrics: Metrics,
        shadows: Shadows,
        written: Callable[[], Awaitable[None]],
    ) -> None:
        self.launch = launch
        self._lease, self._plane, self._past = lease, plane, past
        self._watch, self._metrics, self._shadows = watch, metrics, shadows
        self._written = written
        self._rollout: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Serve the first revision, and follow its rollout if it has one."""
        self._adopt(self._plane.live)
        self._follow_rollout()

    async def stop(self) -> None:
        """Follow the rollout no longer."""
        if self._rollout is not None:
            self._rollout.cancel()
            await asyncio.gather(self._rollout, return_exceptions=True)

    def get(self) -> LiveRevision:
        """Return the live revision."""
        return self._plane.live

    def _put(self, live: LiveRevision) -> None:
        self._plane.live = live

    def recalled(self, live: LiveRevision) -> None:
        """Go on with what the journal has of the live revision."""
        self._put(live)
        self._follow_rollout()

    def redraw(self, live: LiveRevision) -> None:
        """Draw by the newest probabilities of the live revision."""
        self._put(live)
        self._metrics.adopt(live.served.revision, live.draws)

    async def prepare(self, served: Served) -> LiveRevision:
        """Load a revision beside the live one; it gets no requests yet.

        Raises:
            MlopsError: It cannot be served, and nothing is left of it.
        """
        keep_folders(self._lease, self.launch.served, served)
        live = None
        try:
            live = await asyncio.to_thread(
                load_revision, served, self._plane.live, self.launch.runtimes
            )
            # Else sticky units that were answered just now would be drawn again.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._written(), _PATIENCE_S)
            return await asyncio.to_thread(self._past.with_first_arms, live)
        except BaseException:
            self.give_up(live)
            raise

    def give_up(self, live: LiveRevision | None) -> None:
        """Release a revision that was prepared."""
        keep_folders(self._lease, self.launch.served)
        if live is not None:
            self._watch.retire(live, self._plane.live)

    async def record_start(self) -> None:
        """Write into the journal that the live revision serves from now on; later, if need be."""
        await asyncio.to_thread(self._past.record_start, self._plane.live)

    async def record_live(self, live: LiveRevision) -> None:
        """Write into the journal that a revision serves from now on, before it answers a request.

        Raises:
            JournalUnavailableError: It is not written.
        """
        await asyncio.to_thread(self._past.record_live, live)

    def flip(self, live: LiveRevision) -> None:
        """Move one pointer: from now on requests are answered by a revision that is prepared."""
        before = self._plane.live
        self._past.specs[live.served.revision.number] = live.served.revision.spec
        self._plane.live, self.launch = live, replace(self.launch, served=live.served)
        self._adopt(live)
        self._follow_rollout()
        self._watch.retire(before, live)
        keep_folders(self._lease, live.served)

    def _follow_rollout(self) -> None:
        if self._rollout is not None:
            self._rollout.cancel()
        self._rollout = asyncio.create_task(self._past.follow_rollout(self.get, self._put))

    def _adopt(self, live: LiveRevision) -> None:
        """Switch shadows and endpoints to `live`, on this event loop."""
        for remote in live.remotes:
            remote.attach()
        self._shadows.adopt(live)
        self._metrics.adopt(live.served.revision, live.draws)
        self._metrics.runners = {
            (arm.arm.name, arm.arm.model.label): arm.runner.stats for arm in live.arms
        }


def keep_folders(lease: Lease, *served: Served) -> None:
    """Keep the folders of these, and of no others, from removal: models read from them."""
    folders = [Path(path) for each in served for path in each.paths if path]
    for folder in folders:
        lease.take(folder)
    lease.keep(folders)
