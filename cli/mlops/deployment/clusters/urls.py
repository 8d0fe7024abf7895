"""Addresses of a deployment on a cluster, and the next commands."""

from __future__ import annotations

from mlops.cluster import Cluster, get
from mlops.deployment.targets import platform_of
from mlops.spec.deployment import DeploymentSpec
from mlops.spec.place import Place


def urls(cluster: Cluster, place: Place) -> tuple[str, ...]:
    """Return the addresses that the objects of a deployment say they have."""
    server = "kubernetes" if is_ours(place) else place.target
    host = place.options.get(f"{server}.host")
    found = [f"http://{host}"] if host else []
    for ref in place.objects:
        if is_ours(place):
            if ref.kind == "Service":
                found.append(f"http://{ref.name}.{place.namespace}.svc")
        elif ref.kind in platform_of(place.target).with_address:
            status = (get(cluster, ref) or {}).get("status", {})
            found.append(status.get("url") or (status.get("address") or {}).get("url") or "")
    return tuple(dict.fromkeys(url for url in found if url))


def is_ours(place: Place) -> bool:
    """Whether an mlops server answers there, by itself or in front of a platform's."""
    return platform_of(place.target).own_server or bool(place.options.get("cluster.router"))


def next_commands(place: Place, spec: DeploymentSpec) -> tuple[str, ...]:
    """Return commands that are useful now."""
    found = []
    if is_ours(place) and not place.options.get("kubernetes.host"):
        found.append(port_forward(place, f"service/{spec.name}", "8080:80"))
    return (*found, f"mlops status {spec.name}", f"mlops logs {spec.name}")


def port_forward(place: Place, what: str, ports: str) -> str:
    """Return the command that forwards a port of the cluster to this machine."""
    context = f" --context {place.context}" if place.context else ""
    return f"kubectl{context} port-forward -n {place.namespace} {what} {ports}"
