"""The status of a deployment on a cluster: its objects and pods, compared with the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from mlops.cluster import Cluster, get
from mlops.cluster.causes import causes, selector
from mlops.cluster.objects import Manifest
from mlops.cluster.pods import Pod, pods
from mlops.cluster.readiness import standing
from mlops.deployment.clusters.changes import changes
from mlops.deployment.clusters.connection import open_place, place_of
from mlops.deployment.clusters.manifests import manifests_of
from mlops.deployment.clusters.urls import urls
from mlops.errors import MlopsError, NotAllowedError
from mlops.registry.ledger import Entry
from mlops.settings.needs import DeploymentSettings
from mlops.spec.place import ObjectRef, Place

State = Literal["ready", "progressing", "failing", "missing", "stopped", "unreachable"]


@dataclass(frozen=True, slots=True)
class ObjectStatus:
    """One object of a revision.

    Attributes:
        ref: The object.
        ready: Whether it is as its spec asks.
        message: Its own status, or what it waits for.
        missing: Whether it is not there.
    """

    ref: ObjectRef
    ready: bool
    message: str
    missing: bool = False


@dataclass(frozen=True, slots=True)
class PodStatus:
    """One pod.

    Attributes:
        name: Its name.
        ready: Whether it gets traffic.
        phase: `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`.
        restarts: How often its containers were restarted.
        reason: What keeps it from being ready, empty if nothing does that is known.
    """

    name: str
    ready: bool
    phase: str
    restarts: int
    reason: str


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """One deployment on a cluster.

    Attributes:
        name: Its name.
        state: `ready`; `progressing` towards it; `failing` if it will not become ready;
            `missing` if objects are gone; `stopped`; `unreachable` if the cluster does not answer.
        target: The platform.
        context: Context of the kubeconfig by which it was put there.
        namespace: Its namespace.
        revision: The live revision, or the one that was put there last.
        url: Where it answers; empty if not known.
        urls: All addresses.
        since_ms: When it went live or was stopped, milliseconds since 1970 in UTC; 0 if never.
        message: Why, where the state is not `ready`; one line.
        objects: What was applied, as it is now.
        pods: Its pods, the newest first.
        drift: What differs from the revision in the ledger; None if that is not known.
    """

    name: str
    state: State
    target: str
    context: str
    namespace: str
    revision: int
    url: str
    urls: tuple[str, ...]
    since_ms: int
    message: str
    objects: tuple[ObjectStatus, ...] = ()
    pods: tuple[PodStatus, ...] = ()
    drift: tuple[ObjectRef, ...] | None = None


def cluster_status(settings: DeploymentSettings, entry: Entry) -> ClusterStatus:
    """Return the status of a revision; a cluster that does not answer is a state, not an error.

    Args:
        settings: The project's settings.
        entry: The revision, of a cluster.
    """
    place = place_of(entry)
    if entry.stopped_ms:
        return _status(entry, place, "stopped", "", entry.stopped_ms)
    try:
        return _looked_at(settings, open_place(settings.cluster, place), entry, place)
    except MlopsError as error:
        return _status(entry, place, "unreachable", " ".join(error.message.split()))


def unknown_status(name: str, error: MlopsError) -> ClusterStatus:
    """Return the status of a deployment whose ledger cannot be read."""
    message = " ".join(error.message.split())
    return ClusterStatus(name, "unreachable", "", "", "", 0, "", (), 0, message)


def _looked_at(
    settings: DeploymentSettings, cluster: Cluster, entry: Entry, place: Place
) -> ClusterStatus:
    lives = {ref: get(cluster, ref) for ref in place.objects}
    objects = tuple(_object(ref, live) for ref, live in lives.items())
    found = tuple(_pods(cluster, [live for live in lives.values() if live]))
    state, message = _state(entry, objects, found, lives)
    where = urls(cluster, place)
    return _status(
        entry,
        place,
        state,
        message,
        urls=where,
        objects=objects,
        pods=found,
        drift=_drift(settings, cluster, entry),
    )


def _status(
    entry: Entry,
    place: Place,
    state: State,
    message: str,
    since_ms: int = 0,
    *,
    urls: tuple[str, ...] = (),
    objects: tuple[ObjectStatus, ...] = (),
    pods: tuple[PodStatus, ...] = (),
    drift: tuple[ObjectRef, ...] | None = None,
) -> ClusterStatus:
    return ClusterStatus(
        name=entry.intent.spec.name,
        state=state,
        target=place.target,
        context=place.context,
        namespace=place.namespace,
        revision=entry.number,
        url=urls[0] if urls else "",
        urls=urls,
        since_ms=since_ms or entry.live_ms,
        message=message,
        objects=objects,
        pods=pods,
        drift=drift,
    )


def _object(ref: ObjectRef, live: Manifest | None) -> ObjectStatus:
    if live is None:
        return ObjectStatus(ref, ready=False, message="it is gone", missing=True)
    if "deletionTimestamp" in live["metadata"]:
        return ObjectStatus(ref, ready=False, message="it is being deleted")
    found = standing(live)
    return ObjectStatus(ref, found.ready, found.fault or found.message)


def _state(
    entry: Entry,
    objects: tuple[ObjectStatus, ...],
    found: tuple[PodStatus, ...],
    lives: dict[ObjectRef, Manifest | None],
) -> tuple[State, str]:
    gone = [str(each.ref) for each in objects if each.missing]
    if gone:
        return "missing", f"not in the cluster: {', '.join(gone)}"
    faults = [
        f"{ref}: {found.fault}"
        for ref, live in lives.items()
        if live
        for found in [standing(live)]
        if found.fault
    ]
    reasons = [f"{pod.name}: {pod.reason}" for pod in found if pod.reason and not pod.ready]
    waiting = [f"{each.ref}: {each.message}" for each in objects if not each.ready]
    if entry.state == "failed" or (waiting and (faults or reasons)):
        why = (*faults, *reasons, *entry.error.splitlines()[:1])
        return "failing", next(iter(why), "its last deployment failed")
    if waiting:
        return "progressing", "; ".join(waiting)
    return "ready", ""


def _pods(cluster: Cluster, lives: list[Manifest]) -> Iterator[PodStatus]:
    seen = set()
    for labels in dict.fromkeys(selector(live) for live in lives):
        try:
            found = pods(cluster, labels) if labels else []
        except NotAllowedError:
            # The right to read a Deployment need not include its pods.
            continue
        for pod in found:
            if pod.uid not in seen:
                seen.add(pod.uid)
                yield _pod(pod)


def _pod(pod: Pod) -> PodStatus:
    reason = next((cause.reason for cause in causes([pod])), "")
    return PodStatus(
        name=pod.name,
        ready=pod.ready,
        phase="Terminating" if pod.terminating else pod.phase,
        restarts=sum(each.restarts for each in pod.containers),
        reason=reason,
    )


def _drift(
    settings: DeploymentSettings, cluster: Cluster, entry: Entry
) -> tuple[ObjectRef, ...] | None:
    """Return which objects applying the revision again would change, by a dry run."""
    if entry.state != "live":
        return None
    try:
        # What other managers took over differs too, so that must not be a conflict here.
        found = changes(cluster, manifests_of(settings, entry), force=True)
    except MlopsError:
        # The right to read need not include applying, even as a dry run.
        return None
    return tuple(change.ref for change in found if change.action != "same")
