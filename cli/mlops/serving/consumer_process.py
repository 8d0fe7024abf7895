"""The process beside the server in which the consumers of its journal run.

    python -P -m mlops.consumers

It has a lower priority, ends with the server however that ends (its input closes), and is started
again after it died.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
import time
from collections.abc import Mapping
from typing import Any

from mlops.errors import RemoteError
from mlops.journal.base import Journal
from mlops.journal.consumer_records import Progress, Reading
from mlops.journal.null import URL as NO_JOURNAL
from mlops.spec.request_log import OUTLIERS_STATE, sink_to_dict
from mlops.spec.server import Launch

_LOG = logging.getLogger(__name__)
# A server that has just started has other work.
_DELAY_S = 3.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
_LIVED_S = 60.0
_LAST_BATCH_S = 3.0
_LOOK_EVERY_S = 5.0


class ConsumerProcess:
    """Keeps the process running, and knows its consumers' progress. Lives on one event loop.

    Args:
        journal: Has their progress and readings; read from threads.
        deployment: Name of the deployment.
        journal_url: Where its journal is, or where to find out.
        consumers: Name to options; without any nothing runs.
        key: Of the deployment's request ids; it goes through the pipe only.

    Attributes:
        progress: How far each was some seconds ago.
        readings: What they had measured then.
        pid: Of the process; 0 while there is none.
    """

    def __init__(
        self,
        journal: Journal,
        deployment: str,
        journal_url: str,
        consumers: Mapping[str, Mapping[str, Any]],
        key: bytes = b"",
    ) -> None:
        self._journal = journal
        self._asked = {
            "deployment": deployment,
            "journal_url": journal_url,
            "key": key.hex(),
            "consumers": {name: dict(options) for name, options in consumers.items()},
        }
        self.progress: list[Progress] = []
        self.readings: list[Reading] = []
        self.pid = 0

    def warnings(self, *, public: bool = False) -> list[str]:
        """Return what the operator should look at.

        Args:
            public: Whether any caller may read it: a fault may name the address of a store.
        """
        faults = [
            f"The consumer `{each.name}` of the journal fails, and is {each.lag_events:,} events "
            + ("behind; `mlops status` says why." if public else f"behind: {each.fault}")
            for each in self.progress
            if each.fault
        ]
        return [*faults, *(each.warning for each in self.progress if each.warning)]

    async def run(self) -> None:
        """Keep the process running, and read its progress, until cancelled."""
        if self._asked["consumers"]:
            await asyncio.gather(self._keep_running(), self._look())

    async def _keep_running(self) -> None:
        pause_s = _FIRST_PAUSE_S
        await asyncio.sleep(_DELAY_S)
        while True:
            started = time.monotonic()
            code = await self._run_once()
            if time.monotonic() - started > _LIVED_S:
                pause_s = _FIRST_PAUSE_S
            _LOG.warning("the consumers' process has ended (%d); it is started again", code)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _run_once(self) -> int:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "mlops.consumers", stdin=asyncio.subprocess.PIPE
        )
        assert child.stdin is not None
        self.pid = child.pid
        try:
            with contextlib.suppress(OSError):
                child.stdin.write(json.dumps(self._asked).encode() + b"\n")
                await child.stdin.drain()
            return await child.wait()
        finally:
            self.pid = 0
            await _end(child)

    async def _look(self) -> None:
        while True:
            with contextlib.suppress(RemoteError):
                now_ms = time.time_ns() // 1_000_000
                found = await asyncio.to_thread(self._journal.progress, now_ms)
                names = self._asked["consumers"]
                self.progress = [each for each in found if each.name in names]
                self.readings = await asyncio.to_thread(self._journal.readings, list(names))
            await asyncio.sleep(_LOOK_EVERY_S)


async def _end(child: asyncio.subprocess.Process) -> None:
    """Let a process finish its batch, then end it."""
    assert child.stdin is not None
    child.stdin.close()
    try:
        await asyncio.wait_for(child.wait(), _LAST_BATCH_S)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()


def consumers_of(launch: Launch) -> dict[str, dict[str, Any]]:
    """Return the consumers that a server runs beside it, name to options."""
    if launch.journal_url == NO_JOURNAL:
        return {}
    # The policy's is always there: which policy is live changes while the server runs.
    found: dict[str, dict[str, Any]] = {name: {} for name in (*launch.consumers, "policy", "ramp")}
    # They find the files of the models by what the server says of itself.
    options = {"state_file": launch.state_file, "season": launch.season}
    found |= {name: dict(options) for name in launch.watch}
    tags = {OUTLIERS_STATE: launch.state_file} if "outliers" in launch.watch else {}
    found.update({sink.consumer: {**sink_to_dict(sink), **tags} for sink in launch.sinks})
    if launch.webhook:
        found["alerts"] = {"webhook": launch.webhook}
    if launch.journal_max_mb:
        found["journal-size"] = {"max_mb": launch.journal_max_mb}
    return found
