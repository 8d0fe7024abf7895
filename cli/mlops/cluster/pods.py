"""Pods: how their containers are, what happened to them, and what they wrote."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from mlops.cluster.connect import Cluster
from mlops.cluster.objects import Manifest, list_objects
from mlops.errors import MlopsError, NotAllowedError

_REVISION = "deployment.kubernetes.io/revision"
_HASH = "pod-template-hash"


@dataclass(frozen=True, slots=True)
class Container:
    """One container of a pod.

    Attributes:
        name: Its name.
        init: Whether it runs before the others, and has to succeed.
        ready: Whether it is ready; of one that runs before the others, whether it succeeded.
        restarts: How often it was started again.
        state: `running`, `waiting` or `terminated`; empty before the kubelet has reported.
        reason: Why it waits or ended, a word of Kubernetes' such as `CrashLoopBackOff`.
        message: Likewise, in a sentence.
        exit_code: With which it ended last; None if it never did.
    """

    name: str
    init: bool
    ready: bool
    restarts: int
    state: str
    reason: str
    message: str
    exit_code: int | None


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod.

    Attributes:
        name: Its name.
        uid: Its identity.
        phase: `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`.
        ready: Whether it gets traffic.
        terminating: Whether it is being deleted.
        created: When it was made, as the cluster writes times.
        containers: Those that run before the others first.
        unschedulable: Why no node takes it; empty if one did.
        node: The node that has it, empty for none.
        labels: Its labels.
    """

    name: str
    uid: str
    phase: str
    ready: bool
    terminating: bool
    created: str
    containers: tuple[Container, ...]
    unschedulable: str
    node: str
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to an object.

    Attributes:
        type: `Normal` or `Warning`.
        reason: One word.
        message: A sentence.
        count: How often.
        last: When last, as the cluster writes times.
    """

    type: str
    reason: str
    message: str
    count: int
    last: str


def pods(cluster: Cluster, labels: str) -> list[Pod]:
    """Return the pods that a label selector takes, the newest first."""
    found = [_pod(each) for each in list_objects(cluster, "v1", "Pod", labels=labels)]
    return sorted(found, key=lambda pod: (pod.created, pod.name), reverse=True)


def newest_pods(cluster: Cluster, labels: str) -> list[Pod]:
    """Return the pods of the newest template of each Deployment, the newest first.

    What is wrong with the pods of an earlier one is not what keeps a new one from being ready.
    """
    try:
        sets = list_objects(cluster, "apps/v1", "ReplicaSet", labels=labels)
    except NotAllowedError:
        sets = []
    newest: dict[str, tuple[int, str]] = {}
    for each in sets:
        meta = each["metadata"]
        owner = next((o["name"] for o in meta.get("ownerReferences") or []), meta["name"])
        number = int((meta.get("annotations") or {}).get(_REVISION, 0))
        newest[owner] = max(newest.get(owner, (-1, "")), (number, meta["labels"].get(_HASH, "")))
    hashes = {digest for _, digest in newest.values()}
    return [
        pod
        for pod in pods(cluster, labels)
        if not pod.terminating and (not hashes or pod.labels.get(_HASH, "") in hashes)
    ]


def events(cluster: Cluster, names: Iterable[str], *, warnings_only: bool = False) -> list[Event]:
    """Return what happened to objects of these names, the latest first.

    Equal ones are counted together; the cluster forgets them after an hour or so.
    """
    wanted = set(names)
    found: dict[tuple[str, str, str], Event] = {}
    for each in list_objects(cluster, "v1", "Event"):
        if each["involvedObject"].get("name") not in wanted:
            continue
        event = _event(each)
        if warnings_only and event.type != "Warning":
            continue
        key = (event.type, event.reason, event.message)
        before = found.get(key)
        count = event.count + (before.count if before else 0)
        last = max(event.last, before.last if before else "")
        found[key] = Event(*key, count, last)
    return sorted(found.values(), key=lambda event: event.last, reverse=True)


def log_lines(
    cluster: Cluster,
    pod: str,
    container: str = "",
    *,
    last: int | None = None,
    follow: bool = False,
    previous: bool = False,
) -> Iterator[str]:
    """Yield lines of a container's log, each with its end.

    Args:
        cluster: Where.
        pod: Name of the pod.
        container: Name of the container; empty where there is one.
        last: How many of the last lines; None for all.
        follow: Continue with new ones until it ends.
        previous: Of the time before it was started again.

    Raises:
        MlopsError: It has no log, or it may not be read.
    """
    query = [("container", container)] if container else []
    if last is not None:
        query.append(("tailLines", str(last)))
    query += [(key, "true") for key, on in (("follow", follow), ("previous", previous)) if on]
    path = f"/api/v1/namespaces/{quote(cluster.namespace, safe='')}/pods/{quote(pod, safe='')}/log"
    yield from cluster.lines(path, query=query)


def last_words(cluster: Cluster, pod: Pod, container: Container, lines: int) -> list[str]:
    """Return the last lines of a container, of its time before if it waits to be started again."""
    if container.state == "waiting" and container.exit_code is None:
        # It never began.
        return []
    tries = (True, False) if container.restarts and container.state == "waiting" else (False,)
    for previous in tries:
        try:
            found = list(
                log_lines(cluster, pod.name, container.name, last=lines, previous=previous)
            )
        except MlopsError:
            continue
        if found:
            return [line.rstrip("\n") for line in found]
    return []


def _pod(manifest: Manifest) -> Pod:
    meta, status = manifest["metadata"], manifest.get("status", {})
    conditions = {each["type"]: each for each in status.get("conditions") or []}
    scheduled = conditions.get("PodScheduled", {})
    stuck = scheduled.get("status") == "False"
    return Pod(
        name=meta["name"],
        uid=meta["uid"],
        phase=status.get("phase", "Unknown"),
        ready=conditions.get("Ready", {}).get("status") == "True",
        terminating="deletionTimestamp" in meta,
        created=meta["creationTimestamp"],
        containers=(
            *(_container(each, init=True) for each in status.get("initContainerStatuses") or []),
            *(_container(each, init=False) for each in status.get("containerStatuses") or []),
        ),
        unschedulable=str(scheduled.get("message") or "no node takes it") if stuck else "",
        node=manifest["spec"].get("nodeName", ""),
        labels=meta.get("labels") or {},
    )


def _container(status: Mapping[str, Any], *, init: bool) -> Container:
    states: Mapping[str, Any] = status.get("state") or {}
    state, of = next(((name, each or {}) for name, each in states.items()), ("", {}))
    ended = of if state == "terminated" else (status.get("lastState") or {}).get("terminated") or {}
    return Container(
        name=status["name"],
        init=init,
        ready=bool(status.get("ready")),
        restarts=int(status.get("restartCount", 0)),
        state=state,
        reason=str(of.get("reason") or ""),
        message=str(of.get("message") or ""),
        exit_code=ended.get("exitCode"),
    )


def _event(manifest: Manifest) -> Event:
    series = manifest.get("series") or {}
    times = (
        series.get("lastObservedTime"),
        manifest.get("lastTimestamp"),
        manifest.get("eventTime"),
        manifest["metadata"].get("creationTimestamp"),
    )
    return Event(
        type=str(manifest.get("type") or ""),
        reason=str(manifest.get("reason") or ""),
        message=str(manifest.get("message") or "").strip(),
        count=int(series.get("count") or manifest.get("count") or 1),
        last=str(next((time for time in times if time), "")),
    )
