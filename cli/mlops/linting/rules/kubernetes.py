"""Kubernetes' own kinds: what applies without complaint and then does not work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mlops.linting.base import Context, Problem, Rule, maps
from mlops.linting.documents import Document

_DEPLOYMENT = ("apps/Deployment",)
_SELECTING = (*_DEPLOYMENT, "apps/DaemonSet", "apps/ReplicaSet", "apps/StatefulSet")
_WORKLOADS = (
    "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Pod", "Job",
)  # fmt: skip
_SET_BY_CONTROLLERS = ("statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index")


def selector(document: Document, context: Context) -> Iterator[Problem]:
    """Find a Deployment whose selector does not match its own pods."""
    wanted = document.at("spec", "selector", "matchLabels") or {}
    labels = document.at("spec", "template", "metadata", "labels") or {}
    for key, value in wanted.items():
        if labels.get(key) != value:
            yield Problem(
                ("spec", "selector", "matchLabels", key),
                f"the pods have no label `{key}: {value}`",
            )


def service_selector(document: Document, context: Context) -> Iterator[Problem]:
    """Find a Service that selects no pods of the Deployments beside it."""
    wanted = {
        key: value
        for key, value in (document.at("spec", "selector") or {}).items()
        if key not in _SET_BY_CONTROLLERS
    }
    if not wanted or not context.beside(document, *_WORKLOADS):
        return
    if not any(
        wanted.items() <= _pod_labels(each).items() for each in context.of_kind(*_WORKLOADS)
    ):
        yield Problem(("spec", "selector"), "no pod of these manifests has these labels")


def service_port(document: Document, context: Context) -> Iterator[Problem]:
    """Find a Service that sends to a named port which its pods do not have."""
    wanted = document.at("spec", "selector")
    if not wanted:
        return
    for deployment in context.beside(document, *_WORKLOADS):
        if not wanted.items() <= _pod_labels(deployment).items():
            continue
        named = {
            port.get("name")
            for container in _containers(deployment)
            for port in maps(container.get("ports"))
        }
        for index, port in enumerate(maps(document.at("spec", "ports"))):
            target = port.get("targetPort")
            if isinstance(target, str) and target not in named:
                yield Problem(
                    ("spec", "ports", index, "targetPort"),
                    f"Deployment `{deployment.name}` has no port called `{target}`",
                )


def hpa_replicas(document: Document, context: Context) -> Iterator[Problem]:
    """Find a Deployment that fixes the replicas an autoscaler is to choose."""
    for hpa in context.beside(document, "HorizontalPodAutoscaler"):
        if _scales(hpa, document) and document.at("spec", "replicas") is not None:
            yield Problem(
                ("spec", "replicas"), f"HorizontalPodAutoscaler `{hpa.name}` sets the replicas"
            )


def hpa_requests(document: Document, context: Context) -> Iterator[Problem]:
    """Find an autoscaler by utilization whose pods request nothing."""
    for deployment in context.beside(document, "Deployment"):
        if not _scales(document, deployment):
            continue
        for index, metric in enumerate(maps(document.at("spec", "metrics"))):
            resource = metric.get("resource") or {}
            if (resource.get("target") or {}).get("type") != "Utilization":
                continue
            name = resource.get("name", "")
            for container in _containers(deployment):
                if name not in ((container.get("resources") or {}).get("requests") or {}):
                    yield Problem(
                        ("spec", "metrics", index, "resource"),
                        f"container `{container.get('name')}` requests no {name}",
                    )


def hpa_bounds(document: Document, context: Context) -> Iterator[Problem]:
    """Find an autoscaler whose least is more than its most."""
    low, high = document.at("spec", "minReplicas"), document.at("spec", "maxReplicas")
    if low is not None and high is not None and low > high:
        yield Problem(("spec", "minReplicas"), f"{low} is more than `maxReplicas`, {high}")


def disruption(document: Document, context: Context) -> Iterator[Problem]:
    """Find a budget that lets no node be drained."""
    least = document.at("spec", "minAvailable")
    most = document.at("spec", "maxUnavailable")
    if most in (0, "0%") or least == "100%":
        yield Problem(("spec",), "no pod can be evicted")
    wanted = document.at("spec", "selector", "matchLabels") or {}
    for deployment in context.beside(document, "Deployment"):
        replicas = _fewest(deployment, context)
        matches = wanted and wanted.items() <= _pod_labels(deployment).items()
        if matches and isinstance(least, int) and least >= replicas:
            yield Problem(
                ("spec", "minAvailable"),
                f"{least} pods must stay, and Deployment `{deployment.name}` may have {replicas}",
            )


def shared_sqlite(document: Document, context: Context) -> Iterator[Problem]:
    """Find several of our servers that would each keep a journal of their own."""
    for container in _containers(document):
        environment = {item.get("name"): item for item in maps(container.get("env"))}
        ours = any(str(word).startswith("mlops.serving") for word in container.get("command") or ())
        if not ours or "MLOPS_JOURNAL_URL" in environment:
            continue
        scalers = context.beside(document, "HorizontalPodAutoscaler")
        hpa = any(_scales(each, document) for each in scalers)
        if hpa or (document.at("spec", "replicas") or 1) > 1:
            yield Problem(("spec", "replicas"), "several replicas need `MLOPS_JOURNAL_URL`")
        elif document.at("spec", "strategy", "type") != "Recreate":
            yield Problem(
                ("spec", "strategy"), "must be `Recreate`: the old pod still holds the journal"
            )


def _pod_labels(document: Document) -> Mapping[str, str]:
    place = () if document.kind == "Pod" else ("spec", "template")
    found = document.at(*place, "metadata", "labels")
    return found if isinstance(found, Mapping) else {}


def _containers(document: Document) -> list[Mapping[str, Any]]:
    place = () if document.kind == "Pod" else ("spec", "template")
    return maps(document.at(*place, "spec", "containers"))


def _scales(hpa: Document, deployment: Document) -> bool:
    target = hpa.at("spec", "scaleTargetRef") or {}
    return (
        target.get("kind") == deployment.kind
        and target.get("name") == deployment.name
        and hpa.namespace == deployment.namespace
    )


def _fewest(deployment: Document, context: Context) -> int:
    for hpa in context.beside(deployment, "HorizontalPodAutoscaler"):
        if _scales(hpa, deployment):
            return int(hpa.at("spec", "minReplicas") or 1)
    found = deployment.at("spec", "replicas")
    return 1 if found is None else int(found)


RULES = (
    Rule(
        "kubernetes/selector",
        "error",
        _SELECTING,
        selector,
        "The API server refuses a workload that does not select its own pods.",
        "https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#selector",
    ),
    Rule(
        "kubernetes/service-selector",
        "warning",
        ("Service",),
        service_selector,
        "The Service gets no endpoints, and every call fails, though all objects apply.",
        "https://kubernetes.io/docs/concepts/services-networking/service/",
    ),
    Rule(
        "kubernetes/service-port",
        "warning",
        ("Service",),
        service_port,
        "A named `targetPort` is looked up in the pods; without it there are no endpoints.",
        "https://kubernetes.io/docs/concepts/services-networking/service/#field-spec-ports",
    ),
    Rule(
        "kubernetes/hpa-replicas",
        "warning",
        _DEPLOYMENT,
        hpa_replicas,
        "Every apply would set the replicas back to this number, regardless of load. Leave the "
        "field out if there is an autoscaler.",
        "https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/",
    ),
    Rule(
        "kubernetes/hpa-requests",
        "error",
        ("autoscaling/HorizontalPodAutoscaler",),
        hpa_requests,
        "Utilization is relative to what the pods request; without requests the autoscaler does "
        "nothing.",
        "https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/",
    ),
    Rule(
        "kubernetes/hpa-bounds",
        "error",
        ("autoscaling/HorizontalPodAutoscaler",),
        hpa_bounds,
        "The API server refuses it.",
    ),
    Rule(
        "kubernetes/disruption",
        "warning",
        ("policy/PodDisruptionBudget",),
        disruption,
        "Draining a node never finishes: a cluster upgrade hangs at this pod.",
        "https://kubernetes.io/docs/tasks/run-application/configure-pdb/",
    ),
    Rule(
        "kubernetes/shared-sqlite",
        "error",
        _DEPLOYMENT,
        shared_sqlite,
        "Without a PostgreSQL URL the server keeps its journal in a SQLite file on its own "
        "volume: one pod, replaced and not rolled (`strategy: Recreate`), and no autoscaler.",
    ),
)
