"""What `--with monitoring` writes, for a cluster and for a machine without one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from mlops.deployment.prometheus.alerts import alerts
from mlops.deployment.prometheus.dashboard import dashboard
from mlops.deployment.prometheus.queries import Queries
from mlops.deployment.prometheus.split import testable
from mlops.deployment.yaml_templates import render_template
from mlops.settings.platforms import MonitoringSettings
from mlops.spec.deployment import DeploymentSpec
from mlops.spec.metrics import LATENCY_BOUNDS_S

#: The name by which `--with` and the setting `cluster.extras` ask for it.
MONITORING = "monitoring"
MONITORS = ("pod", "service")
#: The files for a Prometheus and a Grafana outside of a cluster.
RULES, DASHBOARD, PROMETHEUS = "rules.yml", "dashboard.json", "prometheus.yml"
_DURATION = re.compile(r"[1-9][0-9]{0,5}[smhdw]")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
# Rates are taken over 5 minutes, in which there must be two scrapes, also if one fails.
_SLOWEST_S = 120
_OBJECT = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Watching:
    """Manifests and files about the monitoring of a deployment.

    Attributes:
        files: File name to manifest, to be applied with the deployment's.
        beside: File name to text for those who run Prometheus and Grafana without their operators.
        notes: What the reader should know.
    """

    files: Mapping[str, str]
    beside: Mapping[str, str]
    notes: tuple[str, ...]


def in_cluster(
    spec: DeploymentSpec, options: MonitoringSettings, service: str, token_secret: str
) -> Watching:
    """Return what a cluster needs to watch the bundled server.

    Args:
        spec: What is deployed.
        options: How it is watched.
        service: Manifest of the Service in front of the server's pods; it says which pods to
            scrape, on which port, in which namespace.
        token_secret: Secret whose key `token` callers must send.
    """
    front = yaml.safe_load(service)
    metadata = front["metadata"]
    namespace = metadata.get("namespace", "")
    (port,) = front["spec"]["ports"]
    by_pod = options.monitor == "pod"
    values: dict[str, Any] = {
        "name": metadata["name"],
        "namespace": namespace,
        "release": options.release,
        "interval": options.interval,
        "token_secret": token_secret if options.secured else "",
        "pod_labels": front["spec"]["selector"],
        "service_labels": metadata["labels"],
        "port": port["targetPort"] if by_pod else port["name"],
        **_content(spec, options, namespace),
    }
    kinds = ("podmonitor" if by_pod else "servicemonitor", "prometheusrule", "dashboard")
    return Watching(
        files={
            f"{kind}.yaml": render_template(f"monitoring/{kind}.yaml", values) for kind in kinds
        },
        beside=_plain(spec, options, {}),
        notes=tuple(_notes(spec, options, namespace)),
    )


def on_machine(
    spec: DeploymentSpec,
    options: MonitoringSettings,
    address: str,
    token_file: str,
    ca_file: str = "",
) -> Mapping[str, str]:
    """Return the files of a Prometheus and a Grafana for a server of this machine.

    Args:
        spec: What is deployed.
        options: How it is watched.
        address: `host:port` of the server.
        token_file: File with the token that callers must send, empty if they need none.
        ca_file: Certificate by which a server of `https` is known; empty for `http`.
    """
    values = {
        "name": spec.name,
        "interval": options.interval,
        "address": address,
        "token_file": token_file,
        "ca_file": ca_file,
    }
    return _plain(spec, options, values)


def faults(options: MonitoringSettings) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with the settings, and what to write instead."""
    if options.monitor not in MONITORS:
        yield f"`monitoring.monitor` is `{options.monitor}`", "Use `pod` or `service`."
    for key in ("interval", "feedback_within"):
        value = getattr(options, key)
        if not _DURATION.fullmatch(value):
            yield f"`monitoring.{key}` is `{value}`", "Write a duration such as `30s` or `1d`."
        elif key == "interval" and int(value[:-1]) * _SECONDS[value[-1]] > _SLOWEST_S:
            yield (
                f"`monitoring.interval` is `{value}`, too rare for the alerts",
                "They take rates over 5 minutes: scrape at least every 2.",
            )
    slowest = int(LATENCY_BOUNDS_S[-1] * 1000)
    if not 0 < options.max_latency_ms < slowest:
        yield (
            f"`monitoring.max_latency_ms` is {options.max_latency_ms}, not from 1 to {slowest - 1}",
            "Latencies beyond the last bucket cannot be told apart.",
        )
    for key in ("release", "namespace"):
        value = getattr(options, key)
        if value and not _OBJECT.fullmatch(value):
            yield f"`monitoring.{key}` is not a name", "Use lower-case letters, digits and `-`."


def _plain(
    spec: DeploymentSpec, options: MonitoringSettings, values: Mapping[str, Any]
) -> dict[str, str]:
    content = {"name": spec.name, **_content(spec, options, "")}
    found = {
        RULES: render_template(f"monitoring/{RULES}", content),
        DASHBOARD: json.dumps(content["dashboard"], indent=2) + "\n",
    }
    if values:
        found[PROMETHEUS] = render_template(f"monitoring/{PROMETHEUS}", values)
    return found


def _content(spec: DeploymentSpec, options: MonitoringSettings, namespace: str) -> dict[str, Any]:
    queries = Queries(spec.name, namespace)
    return {
        "group": f"mlops-{spec.name}",
        "alerts": alerts(spec, queries, options),
        "dashboard": dashboard(spec, queries),
    }


def _notes(spec: DeploymentSpec, options: MonitoringSettings, namespace: str) -> Iterator[str]:
    yield (
        "The cluster must have the Prometheus Operator, or these objects are refused; Grafana's "
        "sidecar finds the dashboard where it searches this namespace."
    )
    if not options.release:
        yield (
            "The monitoring objects have no label `release`; a Prometheus of "
            "kube-prometheus-stack takes none without its own (`release` of `[monitoring]`)."
        )
    if not namespace:
        yield (
            "No namespace is named, so rules and dashboard take servers called "
            f"`{spec.name}` of all namespaces together; `--namespace` keeps them apart."
        )
    if not options.secured:
        yield (
            "If the key's Secret has a `token`, Prometheus needs it too: `secured = true` of "
            "`[monitoring]`."
        )
    if len(spec.arms) > 1 and not testable(spec):
        yield (
            f"There is no alert about the sample ratio: with `{spec.sticky_by}` the requests of a "
            "unit are not independent draws. `mlops report` counts units and tests them."
        )
