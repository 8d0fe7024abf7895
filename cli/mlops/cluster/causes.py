"""Why an object is not ready: what is wrong with its pods, as readable text."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mlops.cluster.connect import Cluster
from mlops.cluster.objects import Manifest
from mlops.cluster.pods import Container, Pod, events, last_words, newest_pods
from mlops.errors import MlopsError

#: Why a container waits that will not begin by itself, and for how many seconds that may yet
#: change: a Secret that is being made, a node that is being added.
PATIENCE_S: Mapping[str, float] = {
    "CrashLoopBackOff": 0.0,
    "InvalidImageName": 0.0,
    "ErrImageNeverPull": 0.0,
    "ImagePullBackOff": 5.0,
    "ErrImagePull": 15.0,
    "CreateContainerConfigError": 15.0,
    "CreateContainerError": 15.0,
    "RunContainerError": 15.0,
    # A cluster that adds nodes by itself takes minutes.
    "Unschedulable": 300.0,
}
_LINES = 10
_EVENTS = 5
#: Kind to the label by which its controller marks pods with the object's name.
_LABELS: Mapping[str, str] = {
    "InferenceService": "serving.kserve.io/inferenceservice",
    "InferenceGraph": "serving.kserve.io/inferencegraph",
    "SeldonDeployment": "seldon-deployment-id",
    "Server": "seldon-server-name",
}


@dataclass(frozen=True, slots=True)
class Cause:
    """What keeps a pod from being ready.

    Attributes:
        reason: A word of Kubernetes' such as `ImagePullBackOff`.
        pod: The pod.
        container: The container, None if it is the pod as a whole.
    """

    reason: str
    pod: Pod
    container: Container | None = None

    def __str__(self) -> str:
        if self.container is None:
            return f"pod `{self.pod.name}` is {self.reason}: {self.pod.unschedulable}"
        kind = "init container" if self.container.init else "container"
        text = f"{kind} `{self.container.name}` of pod `{self.pod.name}`: {self.reason}"
        if self.container.message:
            text += f", {self.container.message}"
        if self.container.exit_code is not None:
            text += f"; it ended with exit code {self.container.exit_code}"
        return text


def selector(live: Manifest) -> str:
    """Return the label selector of an object's pods, empty if it has none of its own."""
    name = live["metadata"]["name"]
    if live["kind"] == "Deployment":
        labels = live["spec"]["selector"].get("matchLabels") or {}
        return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
    label = _LABELS.get(live["kind"])
    return f"{label}={name}" if label else ""


def causes(found: Sequence[Pod]) -> Iterator[Cause]:
    """Yield what keeps pods from being ready and will not pass by itself, as far as it is known."""
    for pod in found:
        if pod.unschedulable:
            yield Cause("Unschedulable", pod)
        for container in pod.containers:
            if container.state == "waiting" and container.reason in PATIENCE_S:
                yield Cause(container.reason, pod, container)


def explained(cluster: Cluster, live: Manifest, cause: Cause | None = None) -> str:
    """Describe an object that is not ready: container states, last log lines, events.

    Args:
        cluster: Where.
        live: The object.
        cause: What is known to be wrong; None to look for it.

    Returns:
        Lines, the first of which goes on after a colon; empty if nothing is known.
    """
    labels = selector(live)
    try:
        found = newest_pods(cluster, labels) if labels else []
        cause = cause or next(causes(found), None)
        lines = [str(cause)] if cause else _unready(found)
        container = cause.container if cause else _first_unready(found)
        pod = cause.pod if cause else next((pod for pod in found if not pod.ready), None)
        if pod is not None and container is not None:
            words = last_words(cluster, pod, container, _LINES)
            lines += ["Its last words:", *(f"  {word}" for word in words)] if words else []
        names = [live["metadata"]["name"], *(pod.name for pod in found)]
        happened = events(cluster, names, warnings_only=True)[:_EVENTS]
    except MlopsError:
        # The right to deploy need not include reading pods; what is known is said anyway.
        return str(cause) if cause else ""
    if happened:
        lines.append("Events:")
        lines += [f"  {e.reason}: {e.message}" + _times(e.count) for e in happened]
    elif pod is not None and container is None:
        lines.append(f"`{describing(pod.name, cluster.namespace, cluster.context)}` says more.")
    return "\n".join(lines)


def describing(pod: str, namespace: str, context: str) -> str:
    """Return the command that says most about a pod, also where it has no logs."""
    where = ["--context", context] if context else []
    return shlex.join(["kubectl", *where, "--namespace", namespace, "describe", "pod", pod])


def _times(count: int) -> str:
    return f" ({count} times)" if count > 1 else ""


def _unready(found: Sequence[Pod]) -> list[str]:
    return [
        f"pod `{pod.name}` is {pod.phase}: "
        + (", ".join(_state(each) for each in pod.containers if not each.ready) or "not ready yet")
        for pod in found
        if not pod.ready
    ][:3]


def _state(container: Container) -> str:
    words = container.reason or container.state or "not started"
    return f"`{container.name}` {words if container.state != 'running' else 'runs, not ready'}"


def _first_unready(found: Sequence[Pod]) -> Container | None:
    return next(
        (each for pod in found if not pod.ready for each in pod.containers if not each.ready), None
    )
