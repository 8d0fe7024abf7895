"""Remove a deployment from its cluster. Its history and evidence stay."""

from __future__ import annotations

import time
from dataclasses import dataclass

from mlops.cluster import delete
from mlops.deployment.clusters.changes import removals, stale_objects
from mlops.deployment.clusters.connection import open_place, place_of
from mlops.deployment.ledgers import open_ledger
from mlops.deployment.recording import recorded
from mlops.deployment.runtime_files import changing, places
from mlops.registry.ledger import Entry, Ledger
from mlops.settings.needs import RolloutSettings
from mlops.spec.place import ObjectRef, Place

# What holds a journal, which cannot be made again.
_JOURNAL = "PersistentVolumeClaim"


@dataclass(frozen=True, slots=True)
class StoppedInCluster:
    """What was removed from a cluster.

    Attributes:
        name: Name of the deployment.
        stopped: Whether anything of it was there.
        place: Where.
        deleted: What was deleted, or would be.
        kept: What stays: the journal's volume, and Secrets.
    """

    name: str
    stopped: bool
    place: Place
    deleted: tuple[ObjectRef, ...]
    kept: tuple[ObjectRef, ...]


def stop_in_cluster(
    settings: RolloutSettings,
    entry: Entry,
    *,
    with_journal: bool = False,
    dry_run: bool = False,
) -> StoppedInCluster:
    """Delete what the revisions created in a namespace, and record in the ledger that it is gone.

    Only what was applied by the ledger, and still has the labels of mlops, is deleted.

    Args:
        settings: The project's settings.
        entry: The revision that is there.
        with_journal: Delete the volume of its journal too.
        dry_run: Delete nothing.

    Raises:
        ConflictError: Another command of this machine is changing it.
        MlopsError: The cluster cannot be reached, or does not allow it.
    """
    place, name = place_of(entry), entry.intent.spec.name
    cluster = open_place(settings.cluster, place)
    ledger = open_ledger(settings, name)
    with recorded(settings, name), changing(places(settings, name)):
        entries = [each for each in ledger.history() if _is_there(each, place)]
        found = list(stale_objects(cluster, name, entries, ()))
        kept = [
            change.ref
            for change in removals(found, now=True)
            if change.action == "keep" and not (with_journal and change.ref.kind == _JOURNAL)
        ]
        # In reverse order, so that nothing uses what is already deleted.
        gone = [(ref, live) for ref, live in reversed(found) if ref not in kept]
        result = StoppedInCluster(
            name, bool(gone), place, tuple(ref for ref, _ in gone), tuple(kept)
        )
        if dry_run:
            return result
        for ref, live in gone:
            delete(cluster, ref, uid=live["metadata"]["uid"])
        _write_down(ledger, entry, entries)
    return result


def forget(settings: RolloutSettings, entry: Entry, *, dry_run: bool = False) -> StoppedInCluster:
    """Record in the ledger that a deployment is gone, together with its cluster or namespace.

    Nothing is asked of the cluster. What may still be there is not tracked afterwards.

    Args:
        settings: The project's settings.
        entry: The revision that was there.
        dry_run: Write nothing.

    Raises:
        ConflictError: Another command of this machine is changing it.
    """
    place, name = place_of(entry), entry.intent.spec.name
    ledger = open_ledger(settings, name)
    with recorded(settings, name), changing(places(settings, name)):
        if not dry_run:
            entries = [each for each in ledger.history() if _is_there(each, place)]
            _write_down(ledger, entry, entries)
    return StoppedInCluster(name, not entry.stopped_ms, place, (), ())


def _write_down(ledger: Ledger, entry: Entry, entries: list[Entry]) -> None:
    for each in entries:
        if each.state == "pending":
            ledger.abandon(each.number, "stopped before it was ready")
    if not entry.stopped_ms:
        ledger.stopped(entry.number, time.time_ns() // 1_000_000)


def _is_there(entry: Entry, place: Place) -> bool:
    return entry.intent.place is not None and entry.intent.place.is_at(place)
