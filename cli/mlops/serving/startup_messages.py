"""The state of a server: in its status, and in the file that outlives it."""

from __future__ import annotations

import contextlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops.errors import MlopsError
from mlops.journal.consumer_records import Progress
from mlops.rewards import Terms
from mlops.rewards.decisions import unnamed_note
from mlops.runtimes.example import concealed
from mlops.serving.counting import ArmCounters, Counts
from mlops.serving.revision import LiveRevision
from mlops.serving.runners.base import RunnerStats
from mlops.spec import metrics as families
from mlops.spec.deployment import Shadow
from mlops.spec.server import Holder, Launch, ServerState, write_holder, write_state

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Said:
    """The notes of loading a revision; see `ServerState`."""

    notes: tuple[tuple[str, ...], ...] = ()
    request: dict[str, Any] | None = None
    runtimes: tuple[dict[str, Any], ...] = ()

    @classmethod
    def of(cls, live: LiveRevision) -> Said:
        """Take it from a revision that is loaded."""
        costs = Terms.of(costs=live.served.revision.spec.costs).costs
        unnamed = (unnamed_note(arm.loaded.classes, costs) for arm in live.arms)
        arms = (
            (*([note] if note else []), *arm.loaded.notes)
            for note, arm in zip(unnamed, live.arms, strict=True)
        )
        shadows = (shadow.notes for shadow in live.shadows)
        runtimes = tuple(arm.loaded.runtime for arm in live.arms)
        return cls((*arms, *shadows), live.example, runtimes)


def where(launch: Launch) -> str:
    """Say where callers reach the server."""
    return f"{launch.url} and, for gRPC, {launch.grpc}" if launch.grpc else launch.url


def state_of(
    launch: Launch, said: Said, started_ms: int, stopped_ms: int | None = None
) -> ServerState:
    """Return what the state file says."""
    return ServerState(
        launch=launch,
        pid=os.getpid(),
        started_ms=started_ms,
        stopped_ms=stopped_ms,
        notes=said.notes,
        request=concealed(said.request, launch.hidden),
        runtimes=said.runtimes,
    )


def tell(state: ServerState) -> None:
    """Say in files that a server is ready and how it is reached."""
    write_holder(Path(state.launch.lock_file), Holder(state.pid, state.launch.socket))
    try:
        write_state(state, Path(state.launch.state_file))
    except MlopsError as error:
        # Other commands find the server by its lock.
        _LOG.warning("%s", error.message)


def tell_stopped(state: ServerState) -> None:
    """Say in the state file that a server has stopped; if the disk is full, its lock shows it."""
    with contextlib.suppress(MlopsError):
        write_state(state, Path(state.launch.state_file))


def status_of(live: LiveRevision, counts: Counts) -> dict[str, Any]:
    """Return the part of a status that one process can give for all.

    Args:
        live: What is live.
        counts: What all of them have counted.
    """
    arms = []
    for arm in live.arms:
        key = arm.arm.name, arm.arm.model.label
        counters = counts.arms.get(key) or ArmCounters()
        stats = counts.runners.get(key) or RunnerStats()
        arms.append(
            {
                "name": arm.arm.name,
                "version": arm.arm.model.label,
                # As arms are drawn now, not as the revision began.
                "weight": live.draws.probabilities[arm.index],
                "path_taken": arm.loaded.path_taken,
                "runtime": arm.loaded.runtime,
                "up": counts.endpoints.get(arm.arm.name) if arm.remote else None,
                "runner": arm.runner.kind,
                "waiting": stats.waiting,
                "running": stats.running,
                "fault": counts.faults.get(arm.arm.name),
                "requests": sum(counters.codes.values()),
                "refused": sum(n for code, n in counters.codes.items() if 400 <= code < 500),
                "errors": sum(n for code, n in counters.codes.items() if code >= 500),
                "rewards": counters.rewards,
            }
        )
    return {
        "revision": live.served.revision.number,
        "arms": arms,
        "shadows": [_shadow(shadow.shadow, counts) for shadow in live.shadows],
        "feedback": dict(counts.feedback),
        "pending": int(counts.single.get(families.JOURNAL_PENDING, 0)),
        "consumers": [_consumer(each) for each in counts.consumers],
        "shed": int(counts.single.get(families.JOURNAL_SHED, 0)),
        "features_left_out": int(counts.single.get(families.JOURNAL_FEATURES, 0)),
    }


def _consumer(progress: Progress) -> dict[str, Any]:
    return {
        "name": progress.name,
        "lag_events": progress.lag_events,
        "lag_seconds": progress.lag_seconds,
        "sent": progress.sent,
        "failed": progress.failed,
        "dropped": progress.dropped,
        "fault": progress.fault or None,
    }


def _shadow(spec: Shadow, counts: Counts) -> dict[str, Any]:
    counters = counts.shadows.get((spec.name, spec.model.label)) or ArmCounters()
    return {
        "name": spec.name,
        "version": spec.model.label,
        "share": spec.share,
        "requests": sum(counters.codes.values()),
        "errors": sum(n for code, n in counters.codes.items() if code >= 500),
        "dropped": counters.dropped,
    }
