"""Whether deployments are healthy, for scripts: one exit code, and waiting for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from mlops.deployment.targets.contract import TargetStatus
from mlops.settings import Settings
from mlops.workflows.statuses import statuses

HEALTHY, STOPPED, STARTING, FAILING = 0, 10, 11, 12
_CODES = {
    "running": HEALTHY,
    "ready": HEALTHY,
    "stopped": STOPPED,
    "starting": STARTING,
    "progressing": STARTING,
}
_POLL_S = 0.5


def health_code(found: Sequence[TargetStatus]) -> int:
    """Return the exit code of the least healthy; `STOPPED` where nothing is deployed.

    A deployment that runs, with an arm whose endpoint does not answer, counts as failing.
    """
    return max((_code(each) for each in found), default=STOPPED)


def healthy_statuses(
    settings: Settings,
    name: str | None,
    wait_s: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> list[TargetStatus]:
    """Return the status of deployments, once all are healthy or the time is over.

    Args:
        settings: The project's settings.
        name: Deployment, or None for all.
        wait_s: How long to wait for it, in seconds; 0 to look once.
        clock: Seconds that only grow.
        sleep: Waits so many seconds.

    Raises:
        NotFoundError: There is none of that name.
    """
    deadline = clock() + wait_s
    while True:
        found = statuses(settings, name)
        if health_code(found) == HEALTHY or clock() >= deadline:
            return found
        sleep(min(_POLL_S, max(0.0, deadline - clock())))


def _code(each: TargetStatus) -> int:
    code = _CODES.get(each.state, FAILING)
    if any(arm.get("up") is False for arm in getattr(each, "arms", ())):
        return FAILING
    return code
