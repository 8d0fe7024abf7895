"""Where a deployment is: on this machine, or in which cluster.

The ledger knows. It is asked only where this project put something into a cluster, or shares its
MLflow server with people who may have: whoever works on one machine does not wait for MLflow.
"""

from __future__ import annotations

from dataclasses import dataclass

from mlops.cluster import Cluster, connect
from mlops.deployment.deploy import open_ledger
from mlops.deployment.runtime_files import (
    cluster_names,
    deployment_name,
    is_alive,
    known_names,
    pick_name,
    places,
)
from mlops.errors import ConflictError, NotFoundError, UsageError
from mlops.registry.client import nothing_yet
from mlops.registry.ledger import Entry
from mlops.settings import Settings
from mlops.spec.place import Place


@dataclass(frozen=True, slots=True)
class Found:
    """A deployment that somebody means.

    Attributes:
        name: Its name.
        entry: The revision that is in a cluster, or was last put there; None for this machine.
    """

    name: str
    entry: Entry | None

    @property
    def place(self) -> Place | None:
        """The cluster and namespace; None for this machine."""
        return self.entry.intent.place if self.entry else None


def locate(settings: Settings, name: str | None) -> Found:
    """Return the deployment a command means, and where it is.

    Args:
        settings: The project's settings.
        name: What the person wrote, or None to take the project's or the only one.

    Raises:
        NotFoundError: There is none of that name, none at all, or several to choose from.
    """
    try:
        picked = pick_name(settings, name)
    except NotFoundError:
        # Somebody else may have put it into a cluster.
        wanted = name or deployment_name(settings)
        entry = in_cluster(settings, wanted) if _shared(settings) else None
        if entry is None:
            raise
        return Found(wanted, entry)
    where = places(settings, picked)
    asks = where.cluster.exists() or (_shared(settings) and not is_alive(where))
    return Found(picked, in_cluster(settings, picked) if asks else None)


def locate_to_change(settings: Settings, name: str | None) -> Found:
    """Return the deployment that a command is to change, and never guess among those that run.

    Args:
        settings: The project's settings.
        name: What the person wrote; None for the only one that runs, or the only one there is.

    Raises:
        UsageError: Nobody says which, and several run.
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


def in_cluster(settings: Settings, name: str) -> Entry | None:
    """Return the live revision if it is in a cluster, or what was last put there if none is live.

    Also a revision that was to move a stopped deployment of this machine there, and did not get
    ready: its objects are there all the same.

    None if the deployment is on this machine, or there is no such deployment.
    """
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


def open_place(settings: Settings, place: Place) -> Cluster:
    """Connect to where a revision is, by its context or by the one that the settings name.

    Raises:
        ConflictError: That leads to another cluster.
        MlopsError: As `connect`.
    """
    own = settings.cluster
    try:
        cluster = connect(own.kubeconfig, own.context or place.context, place.namespace)
    except NotFoundError:
        if own.context:
            raise
        # Others may call the same cluster otherwise.
        cluster = connect(own.kubeconfig, "", place.namespace)
    if not place.is_at(here(cluster, place.target)):
        raise ConflictError(
            f"The deployment is in {place} ({place.server}); the kubeconfig leads to another "
            f"one at `{cluster.server}`.",
            hint="Name the context that leads there: `--context NAME`. If it is gone for good, "
            "`mlops stop NAME --forget`.",
        )
    return cluster


def here(cluster: Cluster, target: str) -> Place:
    """Return the namespace that a connection leads to, as a place with nothing in it yet."""
    return Place(target, cluster.context, cluster.server, cluster.namespace, {}, uid=cluster.uid)


def _shared(settings: Settings) -> bool:
    """Whether the ledger is not the project's own file, so that others may write it too."""
    return bool(settings.tracking.uri)
