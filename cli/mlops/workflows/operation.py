"""Logs and stop of a deployment, wherever it is."""

from __future__ import annotations

from collections.abc import Iterator

from mlops.deployment.deploy import open_target
from mlops.deployment.locate import Found, locate, locate_to_change
from mlops.deployment.runtime_files import pick_name, places
from mlops.deployment.targets.contract import How, TargetStopped
from mlops.errors import RemoteError
from mlops.settings import Settings


def logs(settings: Settings, name: str | None, *, last: int, follow: bool) -> Iterator[str]:
    """Yield the last lines of a deployment's log, and then, with `follow`, each new one.

    Where MLflow cannot say whether a colleague has moved it, those of this machine.
    """
    try:
        found = locate(settings, name)
    except RemoteError:
        found = Found(pick_name(settings, name), None)
        if not places(settings, found.name).log.exists():
            raise
    return open_target(settings, found.target).logs(found, last=last, follow=follow)


def stop(settings: Settings, name: str | None, how: How | None = None) -> TargetStopped:
    """Stop a deployment; the ledger and all evidence stay.

    Args:
        settings: The project's settings.
        name: Deployment, or None for the only one.
        how: Whether the journal is deleted too, or the cluster is gone, or nothing is to change.

    Raises:
        UsageError: Its target does not support this.
    """
    found = locate_to_change(settings, name)
    return open_target(settings, found.target).stop(found, how or How())
