"""What the pods may call: the rules of the NetworkPolicy's egress.

A policy knows addresses and ports, no host names. A Service of the cluster becomes its namespace
at any port, since a policy sees the port of the pod and not that of the Service. Any other host
becomes its port, wherever it is.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from mlops.deployment.targets.base import Refusal, RenderOptions
from mlops.linting.addresses import is_loopback
from mlops.spec.deployment import DeploymentSpec

_SCHEME_PORTS = {"http": 80, "https": 443}
_POSTGRESQL = 5432
_MINIO = 9000
#: Where clouds give a ServiceAccount its credentials: the metadata server of GKE, the agent of EKS.
_METADATA = {
    "gs": (("169.254.169.252/32", 988), ("169.254.169.254/32", 80)),
    "s3": (("169.254.170.23/32", 80),),
}
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class ModelServers:
    """Where the model servers are that the bundled server is in front of.

    Attributes:
        port: At which their pods listen, or those of the gateway before them.
        same_namespace: Whether these pods are in the namespace of the bundled server.
    """

    port: int
    same_namespace: bool = True


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a policy's egress.

    Attributes:
        what: What is called, a comment.
        peer: `pods` of our namespace, `cluster` for pods of any, `namespace`, `block`, or empty for
            anywhere.
        where: Name of the namespace, or the block in CIDR notation.
        port: The port of the pods; 0 for any.
    """

    what: str
    peer: str = ""
    where: str = ""
    port: int = 0

    def __str__(self) -> str:
        """Say it in a note."""
        place = {"": "", "pods": "this namespace", "cluster": "any namespace"}.get(
            self.peer, self.where
        )
        return " at ".join(filter(None, (place, f"port {self.port}" if self.port else "")))


def rules_of(
    spec: DeploymentSpec, options: RenderOptions, behind: ModelServers | None
) -> tuple[Rule, ...]:
    """Return what the pods of a server need to call, beside DNS.

    Args:
        spec: What it serves.
        options: How.
        behind: The model servers that it is in front of; None if there are none.
    """
    found = dict.fromkeys(_needed(spec, options, behind))
    return tuple(found)


def _needed(
    spec: DeploymentSpec, options: RenderOptions, behind: ModelServers | None
) -> Iterator[Rule]:
    schemes = {urlsplit(model.source).scheme for model in spec.models if not model.endpoint}
    for scheme in sorted(schemes):
        yield from _store(scheme, options)
    if behind is not None:
        here = "The model servers" if behind.same_namespace else "The gateway of the model servers"
        yield Rule(here, "pods" if behind.same_namespace else "cluster", port=behind.port)
    for model in spec.models:
        # What the platform runs here is among the model servers.
        if model.endpoint and not (behind is not None and model.remote):
            yield from _reach("A model on another server", model.endpoint.url)
    if options.postgresql:
        yield Rule("PostgreSQL, wherever it is", port=_POSTGRESQL)
    if options.auth.issuer:
        yield from _reach("The keys of the tokens' issuer", options.auth.jwks)
    yield from map(_allowed, options.kubernetes.allow_to)


def _store(scheme: str, options: RenderOptions) -> Iterator[Rule]:
    if scheme == "mlflow-artifacts":
        yield from _reach("MLflow, which serves the models", options.tracking_uri)
        return
    what = "The artifact store"
    # Forwarded to this machine: where pods reach it is known to its Secret alone.
    if options.endpoint_url and not is_loopback(options.endpoint_url):
        yield from _reach(what, options.endpoint_url)
        return
    yield Rule(what, port=_SCHEME_PORTS["https"])
    if scheme == "s3" and options.cluster.storage_secret:
        yield Rule("MinIO, if the store's Secret names an endpoint of its own", port=_MINIO)
    if options.cluster.service_account:
        for block, port in _METADATA.get(scheme, ()):
            yield Rule("Credentials of the ServiceAccount", "block", block, port)


def _reach(what: str, url: str) -> Iterator[Rule]:
    """Yield how pods reach a server, from its URL alone."""
    if is_loopback(url):
        # A sidecar: what stays in the pod passes no policy.
        return
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or _SCHEME_PORTS.get(parts.scheme, 0)
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        yield Rule(what, "block", f"{address}/{address.max_prefixlen}", port)
        return
    labels = host.split(".")
    if len(labels) == 1:
        yield Rule(what, "pods")
        return
    service = len(labels) == 2 or "svc" in labels[2:3]
    if service:
        yield Rule(what, "namespace", labels[1])
    # `mlflow.shop` may be a Service and its namespace, or a public host.
    if not service or len(labels) == 2:
        yield Rule(what, port=port)


def refusals(options: RenderOptions) -> Iterator[Refusal]:
    """Refuse entries of `allow_to` that a policy cannot express."""
    for text in options.kubernetes.allow_to:
        try:
            _allowed(text)
        except ValueError:
            yield Refusal(
                f"`kubernetes.allow_to` has `{text}`",
                "Write a port (`6432`), a block (`10.0.0.0/8`, `10.0.0.0/8:5432`) or a namespace "
                "(`kafka`, `kafka:9092`). A NetworkPolicy knows no host names.",
            )


def _allowed(text: str) -> Rule:
    """Read an entry of `allow_to`.

    Raises:
        ValueError: It is malformed.
    """
    what = "As `allow_to` says"
    if text.isdigit():
        return Rule(what, port=_port(text))
    address, slash, rest = text.partition("/")
    if slash:
        bits, _, port = rest.partition(":")
        return Rule(what, "block", str(ipaddress.ip_network(f"{address}/{bits}")), _port(port))
    namespace, _, port = text.partition(":")
    if not _LABEL.fullmatch(namespace):
        raise ValueError(text)
    return Rule(what, "namespace", namespace, _port(port))


def _port(text: str) -> int:
    """Read a port; none is 0, which means any."""
    if not text:
        return 0
    if not text.isdigit() or not 1 <= int(text) <= 65_535:
        raise ValueError(text)
    return int(text)
