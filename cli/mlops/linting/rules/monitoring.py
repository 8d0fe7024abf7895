"""Prometheus Operator and Grafana: what applies without complaint and is then never looked at."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from mlops.linting.base import Context, Problem, Rule, maps
from mlops.linting.documents import Document

_GROUP = "monitoring.coreos.com"
_MONITORS = (f"{_GROUP}/PodMonitor", f"{_GROUP}/ServiceMonitor")
_RULE = f"{_GROUP}/PrometheusRule"
_DASHBOARD = "grafana_dashboard"
#: What has pods, and what has ports that a ServiceMonitor may name.
_WITH_PODS, _SERVICE = ("Deployment", "StatefulSet"), ("Service",)
_ENDPOINTS = {"PodMonitor": "podMetricsEndpoints", "ServiceMonitor": "endpoints"}


def selector(document: Document, context: Context) -> Iterator[Problem]:
    """Find a monitor that selects nothing of what is beside it."""
    beside = _beside(document, context)
    if beside and not _selected(document, context):
        what = "Service" if document.kind == "ServiceMonitor" else "pod"
        yield Problem(("spec", "selector"), f"no {what} of these manifests has these labels")


def port(document: Document, context: Context) -> Iterator[Problem]:
    """Find a monitor of a port that nothing it selects has."""
    selected = _selected(document, context)
    key = _ENDPOINTS[document.kind]
    named = {name for each in selected for name in _ports(each)}
    for index, endpoint in enumerate(maps(document.at("spec", key))):
        name = endpoint.get("port")
        if selected and name and name not in named:
            having = f"; there is {', '.join(f'`{n}`' for n in sorted(named))}" if named else ""
            yield Problem(("spec", key, index, "port"), f"no port is called `{name}`{having}")


def lasting(document: Document, context: Context) -> Iterator[Problem]:
    """Find an alert that fires at the first glance."""
    for number, group in enumerate(maps(document.at("spec", "groups"))):
        for index, rule in enumerate(maps(group.get("rules"))):
            if rule.get("alert") and not rule.get("for"):
                yield Problem(
                    ("spec", "groups", number, "rules", index),
                    f"alert `{rule['alert']}` has no `for`",
                )


def release(document: Document, context: Context) -> Iterator[Problem]:
    """Find an object without the label that those beside it have."""
    others = {
        label
        for each in context.documents
        if each.api_version.startswith(f"{_GROUP}/")
        and (label := each.at("metadata", "labels", "release"))
    }
    if others and not document.at("metadata", "labels", "release"):
        yield Problem(
            ("metadata", "labels"), f"it has no label `release`; others have `{min(others)}`"
        )


def network(document: Document, context: Context) -> Iterator[Problem]:
    """Find a policy that keeps a Prometheus of another namespace away from pods it scrapes."""
    wanted = document.at("spec", "podSelector", "matchLabels") or {}
    policies = document.at("spec", "policyTypes") or ["Ingress"]
    if "Ingress" not in policies or not context.beside(document, "PodMonitor", "ServiceMonitor"):
        return
    if not any(
        wanted.items() <= _pod_labels(each).items()
        for each in context.beside(document, *_WITH_PODS)
    ):
        return
    peers = [maps(rule.get("from")) for rule in maps(document.at("spec", "ingress"))]
    # A rule without `from` admits all traffic.
    if all(each for each in peers) and not any(
        peer.get("namespaceSelector") is not None or peer.get("ipBlock")
        for each in peers
        for peer in each
    ):
        yield Problem(("spec", "ingress"), "it blocks all other namespaces")


def dashboard(document: Document, context: Context) -> Iterator[Problem]:
    """Find a dashboard that is not JSON, or not one dashboard."""
    if not document.at("metadata", "labels", _DASHBOARD):
        return
    for key, text in (document.at("data") or {}).items():
        try:
            found = json.loads(text)
        except ValueError as error:
            yield Problem(("data", key), f"this is not JSON: {error}")
            continue
        if not isinstance(found, Mapping) or "panels" not in found:
            yield Problem(("data", key), "this is not a dashboard: `panels` is missing")


def _beside(document: Document, context: Context) -> list[Document]:
    kinds = _SERVICE if document.kind == "ServiceMonitor" else _WITH_PODS
    return context.beside(document, *kinds)


def _selected(document: Document, context: Context) -> list[Document]:
    wanted = document.at("spec", "selector", "matchLabels") or {}
    found = _beside(document, context)
    if document.at("spec", "selector", "matchExpressions"):
        return found
    return [each for each in found if wanted.items() <= _labels(each).items()]


def _labels(document: Document) -> Mapping[str, str]:
    """Labels by which a monitor finds a Service, or the pods of anything else."""
    if document.kind in _SERVICE:
        found = document.at("metadata", "labels")
        return found if isinstance(found, Mapping) else {}
    return _pod_labels(document)


def _pod_labels(document: Document) -> Mapping[str, str]:
    found = document.at("spec", "template", "metadata", "labels")
    return found if isinstance(found, Mapping) else {}


def _ports(document: Document) -> Iterator[str]:
    places: list[Mapping[str, Any]] = (
        [{"ports": document.at("spec", "ports")}]
        if document.kind in _SERVICE
        else maps(document.at("spec", "template", "spec", "containers"))
    )
    for place in places:
        for each in maps(place.get("ports")):
            if each.get("name"):
                yield str(each["name"])


_OPERATOR = "https://prometheus-operator.dev/docs/developer/getting-started/"

RULES = (
    Rule(
        "monitoring/selector",
        "warning",
        _MONITORS,
        selector,
        "A ServiceMonitor selects Services by their own labels, not pods by theirs, and a "
        "PodMonitor selects pods. A selector without a match is not reported anywhere: there are "
        "just no metrics.",
        _OPERATOR,
    ),
    Rule(
        "monitoring/port",
        "error",
        _MONITORS,
        port,
        "`port` is the name of a port, of the Service or of the container, and never a number. "
        "With an unknown name nothing is scraped, and nothing is reported.",
        "https://prometheus-operator.dev/docs/platform/troubleshooting/",
    ),
    Rule(
        "monitoring/for",
        "warning",
        (_RULE,),
        lasting,
        "One scrape that failed, or one slow minute, pages someone. Say how long the condition "
        "must hold.",
        "https://prometheus.io/docs/prometheus/latest/configuration/alerting_rules/",
    ),
    Rule(
        "monitoring/release",
        "warning",
        (*_MONITORS, _RULE),
        release,
        "The Prometheus of kube-prometheus-stack takes only objects with the label of its "
        "release, and silently ignores the others.",
        "https://github.com/prometheus-community/helm-charts/tree/main/charts/kube-prometheus-stack",
    ),
    Rule(
        "monitoring/network",
        "warning",
        ("networking.k8s.io/NetworkPolicy",),
        network,
        "Unless Prometheus runs in this very namespace it cannot reach the pods, and every target"
        " is down. Let its namespace in with a `namespaceSelector`.",
        "https://kubernetes.io/docs/concepts/services-networking/network-policies/",
    ),
    Rule(
        "monitoring/dashboard",
        "error",
        ("ConfigMap",),
        dashboard,
        "Grafana's sidecar copies what the ConfigMap holds, and Grafana drops what it cannot read"
        " with a line in its log.",
        "https://grafana.com/docs/grafana/latest/administration/provisioning/#dashboards",
    ),
)
