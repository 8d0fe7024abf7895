"""Which deployment a command means, and on which target it is.

Built such that a project with deployments of this machine only never reads the ledger for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlops.deployment.runtime_files import (
    cluster_names,
    deployment_name,
    is_alive,
    known_names,
    pick_name,
    places,
)
from mlops.errors import MlopsError, NotFoundError, UsageError
from mlops.settings.needs import DeploymentSettings

if TYPE_CHECKING:
    from mlops.registry.ledger import Entry

_LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Found:
    """The deployment that a command means.

    Attributes:
        name: Its name.
        entry: The revision that is on another target than this machine, or was put there last;
            None if the ledger need not be read.
        fault: Why nothing is known of it, where its ledger could not be read.
    """

    name: str
    entry: Entry | None
    fault: MlopsError | None = None

    @property
    def target(self) -> str:
        """Name of the target it is on."""
        return self.entry.intent.target if self.entry else _LOCAL

    @property
    def where(self) -> str:
        """Where it is, human-readable."""
        return str(self.entry.intent.place) if self.entry else "this machine"


def locate(settings: DeploymentSettings, name: str | None) -> Found:
    """Return the deployment a command means, and where it is.

    Args:
        settings: The project's settings.
        name: What the user wrote, or None to take the project's or the only one.

    Raises:
        NotFoundError: There is none of that name, none at all, or several to choose from.
    """
    try:
        picked = pick_name(settings, name)
    except NotFoundError:
        # A colleague may have put it into a cluster.
        wanted = name or deployment_name(settings)
        entry = _placed(settings, wanted) if _shared(settings) else None
        if entry is None:
            raise
        return Found(wanted, entry)
    where = places(settings, picked)
    asks = where.cluster.exists() or (_shared(settings) and not is_alive(where))
    return Found(picked, _placed(settings, picked) if asks else None)


def locate_all(settings: DeploymentSettings) -> list[Found]:
    """Return every deployment that this project knows, in alphabetical order."""
    here, there = known_names(settings), cluster_names(settings)
    found = []
    for name in sorted({*here, *there}):
        try:
            entry = _placed(settings, name) if name in there else None
        except MlopsError as error:
            # Without the ledger its place is not known; the others are listed anyway.
            found.append(Found(name, None, error))
            continue
        if entry is not None or name in here:
            found.append(Found(name, entry))
    return found


def locate_to_change(settings: DeploymentSettings, name: str | None) -> Found:
    """Return the deployment that a command is to change, and never guess among those that run.

    Args:
        settings: The project's settings.
        name: What the user wrote; None for the only one that runs, or the only one there is.

    Raises:
        UsageError: No name was given, and several run.
        NotFoundError: As `locate`.
    """
    if name is not None:
        return locate(settings, name)
    on_clusters = cluster_names(settings)
    here = [each for each in known_names(settings) if is_alive(places(settings, each))]
    up = sorted({*here, *on_clusters})
    if len(up) > 1:
        raise UsageError(
            f"Several deployments are up: {', '.join(f'`{each}`' for each in up)}.",
            hint=f"Name the one you mean, such as `{up[0]}`.",
        )
    return locate(settings, up[0] if up else None)


def _placed(settings: DeploymentSettings, name: str) -> Entry | None:
    """Return the live revision if it is in a cluster, or what was last put there if none is live.

    Also a revision that was to move a stopped deployment of this machine there, and did not become
    ready: its objects are there anyway.

    None if the deployment is on this machine, or there is no such deployment.
    """
    from mlops.deployment.ledgers import open_ledger
    from mlops.registry.client import nothing_yet

    if nothing_yet(settings):
        return None
    ledger = open_ledger(settings, name)
    live = ledger.live()
    if live is not None and live.intent.place:
        return live
    last = next((entry for entry in ledger.history() if entry.intent.place), None)
    if live is None or last is None:
        return last
    moves = last.number > live.number and not last.stopped_ms
    return last if moves and not is_alive(places(settings, name)) else None


def _shared(settings: DeploymentSettings) -> bool:
    """Whether the ledger is not the project's own file, so that others may write it too."""
    return bool(settings.tracking.uri)
