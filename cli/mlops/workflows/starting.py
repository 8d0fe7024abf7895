"""`mlops start`: the last live revision again, wherever it was."""

from __future__ import annotations

from collections.abc import Sequence

from mlops.deployment.clusters.deploy import Applied
from mlops.deployment.clusters.locate import Found, locate
from mlops.deployment.clusters.redeploy import serve_there
from mlops.deployment.deploy import Deployed, Say, apply, live_revision, prepare
from mlops.deployment.keeping import keep
from mlops.deployment.local import running
from mlops.deployment.option_rules import LOCAL
from mlops.deployment.runtime_files import places
from mlops.deployment.unit import systemd_unit
from mlops.errors import ConflictError, NotFoundError, UsageError
from mlops.registry.ledger import Entry, Intent
from mlops.registry.transfer import Show
from mlops.settings import Settings


def start(
    settings: Settings,
    name: str | None,
    *,
    foreground: bool = False,
    say: Say = lambda _: None,
    show: Show = lambda done, total: None,
) -> Deployed | Applied:
    """Bring up the last live revision of a deployment; what runs already is left alone.

    Args:
        settings: The project's settings.
        name: Deployment, or None for the only one.
        foreground: Let a server that is started write to this terminal.
        say: Called with each phase.
        show: Told of the progress of a download.

    Raises:
        NotFoundError: There is no such deployment, or nothing of it ever was live.
        ConflictError: It is to run in the foreground, and runs in the background.
        UsageError: It is on a cluster, which has no foreground.
        MlopsError: It cannot be served.
    """
    found = locate(settings, name)
    if found.entry is not None:
        return _start_there(settings, found, foreground, say)
    state = running(places(settings, found.name))
    if foreground and state is not None:
        raise ConflictError(
            f"`{found.name}` runs in the background already (process {state.pid}).",
            hint=f"`mlops stop {found.name}` first; `mlops logs --follow {found.name}` shows what "
            "it logs.",
        )
    say("Reading the live revision")
    live = _live(live_revision(settings, found.name), found.name)
    settings = keep(settings, live, LOCAL).settings
    prepared = prepare(settings, live.intent.spec)
    intent = Intent(action="deploy", spec=live.intent.spec, given=live.intent.given)
    return apply(settings, prepared, intent, foreground=foreground, say=say, show=show)


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
    if found.place is not None:
        raise UsageError(
            f"`{found.name}` is in {found.place}, which restarts it itself.",
            hint="Units are for deployments of this machine.",
        )
    return systemd_unit(found.name, program, settings.project_dir)


def _start_there(settings: Settings, found: Found, foreground: bool, say: Say) -> Applied:
    if foreground:
        raise UsageError(f"`{found.name}` is in {found.place}, which has no foreground.")
    entry = _live(found.entry, found.name)
    intent = Intent(action="deploy", spec=entry.intent.spec, given=entry.intent.given)
    done = serve_there(settings, entry, entry, intent, say=say)
    assert isinstance(done, Applied)
    return done


def _live(entry: Entry | None, name: str) -> Entry:
    if entry is None or entry.state != "live":
        raise NotFoundError(
            f"No revision of `{name}` ever went live.", hint=f"`mlops deploy --name {name} …`"
        )
    return entry
