"""Addresses of this machine in what pods are to call.

In a pod they are the pod itself. Pods that fetch their models from MLflow are refused: they could
not start. The others are noted, as they may be meant: the store and the journal may be forwarded
to this machine while a Secret has their own address, and a sidecar that is injected into the pods
may listen where a sink or an arm is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import urlsplit

from mlops.deployment.targets.base import Refusal, RenderOptions
from mlops.linting.addresses import is_loopback
from mlops.settings.secrets import without_credentials
from mlops.spec.deployment import DeploymentSpec

#: What to do about an address that is the pod itself.
IN_THE_CLUSTER = "Use the address that it has in the cluster."
_SIDECAR = f"{IN_THE_CLUSTER} It works only if a sidecar listens there."
_STORES = ("s3", "gs")


def pod_itself(what: str, address: str) -> str:
    """Say that pods would call themselves.

    >>> pod_itself("MLflow", "http://localhost:5000")
    'MLflow is `http://localhost:5000`, which in a pod is the pod itself'
    """
    return f"{what} is `{without_credentials(address)}`, which in a pod is the pod itself"


def tracking_refusals(options: RenderOptions) -> Iterator[Refusal]:
    """Refuse an MLflow server that pods would look for in themselves."""
    if is_loopback(options.tracking_uri):
        yield Refusal(pod_itself("MLflow", options.tracking_uri), IN_THE_CLUSTER)


def notes(spec: DeploymentSpec, options: RenderOptions, *, bundled: bool) -> Iterator[str]:
    """Note addresses by which pods would call themselves.

    Args:
        spec: What is deployed.
        options: How.
        bundled: Whether the bundled server is in the pods, which has a journal and sinks.
    """
    fetched = {urlsplit(model.source).scheme for model in spec.models if not model.endpoint}
    if fetched & {*_STORES} and is_loopback(options.endpoint_url):
        yield (
            f"{pod_itself('The artifact store', options.endpoint_url)}. The Secret of the store "
            "must have the address that it has in the cluster."
        )
    for model in spec.models:
        if model.endpoint and is_loopback(model.endpoint.url):
            what = f"The server of `{model.label}`"
            yield f"{pod_itself(what, model.endpoint.url)}. {_SIDECAR}"
    if not bundled:
        return
    if options.postgresql and is_loopback(options.journal_url):
        yield (
            f"{pod_itself('The journal', options.journal_url)}. The Secret of the journal must "
            "have the address that it has in the cluster."
        )
    for text in options.sinks:
        sink = json.loads(text)
        called = [*str(sink["to"]).split(","), str(sink["options"].get("endpoint_url") or "")]
        for address in filter(is_loopback, called):
            what = f"The sink `{sink['name']}`"
            yield f"{pod_itself(what, address)}. {_SIDECAR}"
