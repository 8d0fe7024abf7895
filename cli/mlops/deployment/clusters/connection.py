"""The cluster and namespace of a revision."""

from __future__ import annotations

from mlops.cluster import Cluster, connect
from mlops.errors import ConflictError, NotFoundError
from mlops.registry.ledger import Entry
from mlops.settings.platforms import ClusterSettings
from mlops.spec.place import Place


def open_place(own: ClusterSettings, place: Place) -> Cluster:
    """Connect to where a revision is, by its context or by the one that the settings name.

    Raises:
        ConflictError: That leads to another cluster.
        MlopsError: As `connect`.
    """
    try:
        cluster = connect(own.kubeconfig, own.context or place.context, place.namespace)
    except NotFoundError:
        if own.context:
            raise
        # Another kubeconfig may have another name for the same cluster.
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


def place_of(entry: Entry) -> Place:
    """Return where a revision of a cluster is."""
    place = entry.intent.place
    if place is None:
        raise ValueError(f"revision {entry.number} is on no cluster")
    return place
