"""How deployments are doing, wherever they are.

What clusters need is imported only where one is: it takes longer than all the rest of a status.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops.deployment.runtime_files import cluster_names, known_names, pick_name, places
from mlops.deployment.status import Status, status
from mlops.errors import MlopsError
from mlops.settings import Settings

if TYPE_CHECKING:
    from mlops.deployment.clusters.status import ClusterStatus


def statuses(settings: Settings, name: str | None) -> list[Status | ClusterStatus]:
    """Return how one deployment is doing, or all that this project knows, in alphabetical order.

    Raises:
        NotFoundError: There is none of that name.
    """
    here, there = known_names(settings), cluster_names(settings)
    # A ledger that is shared may know of a cluster that this project never used.
    if not there and not (name and settings.tracking.uri):
        picked = [pick_name(settings, name)] if name else sorted(here)
        return [status(places(settings, each)) for each in picked]
    return _anywhere(settings, name, here, there)


def _anywhere(
    settings: Settings, name: str | None, here: list[str], there: list[str]
) -> list[Status | ClusterStatus]:
    from mlops.deployment.clusters.locate import in_cluster, locate
    from mlops.deployment.clusters.status import cluster_status, unknown_status

    if name:
        found = locate(settings, name)
        if found.entry is not None:
            return [cluster_status(settings, found.entry)]
        return [status(places(settings, found.name))]
    result: list[Status | ClusterStatus] = []
    for each in sorted({*here, *there}):
        try:
            entry = in_cluster(settings, each) if each in there else None
        except MlopsError as error:
            # Without the ledger nobody knows where it is; the others are told all the same.
            result.append(unknown_status(each, error))
            continue
        if entry is not None:
            result.append(cluster_status(settings, entry))
        elif each in here:
            result.append(status(places(settings, each)))
    return result
