"""Logs and stop of a deployment, wherever it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mlops.deployment import local
from mlops.deployment.clusters.locate import locate, locate_to_change, open_place
from mlops.deployment.clusters.logs import pod_logs
from mlops.deployment.clusters.stop import StoppedThere, forget, stop_there
from mlops.deployment.recording import event_now, recorded
from mlops.deployment.runtime_files import Places, is_alive, known_names, places
from mlops.deployment.status import log_lines
from mlops.errors import UsageError
from mlops.settings import Settings


@dataclass(frozen=True, slots=True)
class Stopped:
    """A server of this machine that was asked to end.

    Attributes:
        name: Name of the deployment.
        stopped: Whether it ran.
        running: If it did not: the other deployments that run here.
    """

    name: str
    stopped: bool
    running: tuple[str, ...] = ()


def logs(settings: Settings, name: str | None, *, last: int, follow: bool) -> Iterator[str]:
    """Yield the last lines of a deployment's log, and then, if asked, each new one."""
    found = locate(settings, name)
    if found.place is None:
        return log_lines(places(settings, found.name), last=last, follow=follow)
    return pod_logs(open_place(settings, found.place), found.place, last=last, follow=follow)


def _stop_here(settings: Settings, where: Places) -> bool:
    """Stop a server of this machine; return whether it ran."""
    ran = is_alive(where)
    asked = [event_now("stop", "server, asked by a command")] if ran else []
    with recorded(settings, where.name, *asked, ask_mlflow=False):
        return local.stop(where)


def stop(
    settings: Settings,
    name: str | None,
    *,
    with_journal: bool,
    dry_run: bool,
    forgotten: bool = False,
) -> Stopped | StoppedThere:
    """Stop a deployment; the ledger and all evidence stay.

    Args:
        settings: The project's settings.
        name: Deployment, or None for the only one.
        with_journal: Delete the volume of its journal too.
        dry_run: Change nothing.
        forgotten: Its cluster is gone: change the ledger only.

    Raises:
        UsageError: It is of this machine, whose journal is a file of the project.
    """
    found = locate_to_change(settings, name)
    if found.entry is not None and forgotten:
        return forget(settings, found.entry, dry_run=dry_run)
    if found.entry is not None:
        return stop_there(settings, found.entry, with_journal=with_journal, dry_run=dry_run)
    where = places(settings, found.name)
    if with_journal or forgotten:
        option = "--delete-journal" if with_journal else "--forget"
        raise UsageError(
            f"`{found.name}` is on this machine, and `{option}` is about a cluster.",
            hint=f"Leave `{option}` out.",
        )
    ran = is_alive(where) if dry_run else _stop_here(settings, where)
    others = [] if ran else [each for each in known_names(settings) if each != found.name]
    running = tuple(each for each in others if is_alive(places(settings, each)))
    return Stopped(found.name, ran, running)
