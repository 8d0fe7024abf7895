"""`mlops start`: the last live revision again, wherever it was."""

from __future__ import annotations

from collections.abc import Sequence

from mlops.deployment.deploy import deploy_again, live_revision, open_target
from mlops.deployment.locate import locate
from mlops.deployment.systemd import systemd_unit
from mlops.deployment.targets.contract import SERVER, Done, How, Talk
from mlops.errors import NotFoundError, UsageError
from mlops.registry.ledger import Entry, Intent
from mlops.settings import Settings

_SILENT = Talk()


def start(
    settings: Settings,
    name: str | None,
    *,
    foreground: bool = False,
    talk: Talk = _SILENT,
) -> Done:
    """Start the last live revision of a deployment; what runs already is left alone.

    Args:
        settings: The project's settings.
        name: Deployment, or None for the only one.
        foreground: Let a server that is started write to this terminal.
        talk: Called with each phase.

    Raises:
        NotFoundError: There is no such deployment, or nothing of it ever was live.
        ConflictError: It is to run in the foreground, and runs in the background.
        UsageError: It is on a cluster, which has no foreground.
        MlopsError: It cannot be served.
    """
    found = locate(settings, name)
    if foreground and SERVER not in open_target(settings, found.target).takes:
        raise UsageError(f"`{found.name}` is in {found.where}, which has no foreground.")
    if found.entry is None:
        talk.say("Reading the live revision")
    live = _live(found.entry or live_revision(settings, found.name), found.name)
    intent = Intent(action="deploy", spec=live.intent.spec)
    done: Done = deploy_again(settings, live, live, intent, How(foreground=foreground), talk)
    return done


def unit_of(settings: Settings, name: str | None, program: Sequence[str]) -> str:
    """Return a systemd user unit for a deployment of this machine.

    Args:
        settings: The project's settings.
        name: Deployment, or None for the only one.
        program: How to call `mlops` from anywhere.

    Raises:
        NotFoundError: There is no such deployment.
        UsageError: It is on a cluster, which restarts it itself.
    """
    found = locate(settings, name)
    if SERVER not in open_target(settings, found.target).takes:
        raise UsageError(
            f"`{found.name}` is in {found.where}, which restarts it itself.",
            hint="Units are for deployments of this machine.",
        )
    return systemd_unit(found.name, program, settings.project_dir)


def _live(entry: Entry | None, name: str) -> Entry:
    if entry is None or entry.state != "live":
        raise NotFoundError(
            f"No revision of `{name}` ever went live.", hint=f"`mlops deploy --name {name} …`"
        )
    return entry
