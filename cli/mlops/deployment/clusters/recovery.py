"""Complete or abandon what a killed command left half done in a cluster."""

from __future__ import annotations

import time

from mlops.cluster import Cluster, get
from mlops.cluster.readiness import standing
from mlops.deployment.clusters.changes import changes, prune
from mlops.deployment.clusters.connection import here, place_of
from mlops.deployment.clusters.manifests import manifests_of
from mlops.deployment.ledgers import is_others, open_ledger
from mlops.deployment.recording import recorded
from mlops.deployment.runtime_files import changing, places
from mlops.errors import ConflictError, MlopsError
from mlops.registry.ledger import Entry
from mlops.settings.needs import RolloutSettings


def mend(
    settings: RolloutSettings, name: str, cluster: Cluster, *, wait_s: float = 60.0
) -> list[Entry]:
    """Complete or abandon what killed commands left pending in a cluster; return what was done.

    A revision whose objects are all there and ready is finished: the ledger moves, and what it no
    longer has is removed. Any other is abandoned; its objects are removed by the next revision.

    Args:
        settings: The project's settings.
        name: Deployment.
        cluster: Where it lives.
        wait_s: How long to wait for a command that is changing it.

    Raises:
        ConflictError: It is still running, or it is about another cluster or namespace.
    """
    ledger = open_ledger(settings, name)
    if not _pending(ledger.pending()):
        return []
    finished = []
    with recorded(settings, name), changing(places(settings, name), wait_s):
        for entry in _pending(ledger.pending()):
            if entry.state != "live" and not _arrived(settings, cluster, entry):
                if not is_others(ledger, entry):
                    ledger.abandon(entry.number, "interrupted before it was ready")
                continue
            ledger.commit(entry.number, time.time_ns() // 1_000_000)
            finished.append(ledger.entry(entry.number))
            prune(cluster, name, place_of(entry).stale)
    return finished


def _pending(entries: list[Entry]) -> list[Entry]:
    return [entry for entry in entries if entry.intent.place is not None]


def _arrived(settings: RolloutSettings, cluster: Cluster, entry: Entry) -> bool:
    """Whether all of a revision is in the cluster and ready."""
    place = place_of(entry)
    if not place.is_at(here(cluster, place.target)):
        raise ConflictError(
            f"A command that put revision {entry.number} into {place} did not complete.",
            hint="Repeat it there, which completes or abandons it; or, if that cluster or "
            f"namespace is gone, `mlops stop {entry.intent.spec.name} --forget`.",
        )
    try:
        found = changes(cluster, manifests_of(settings, entry))
    except MlopsError:
        return False
    if any(change.action != "same" for change in found):
        return False
    lives = [get(cluster, change.ref) for change in found]
    return all(live is not None and standing(live).ready for live in lives)
