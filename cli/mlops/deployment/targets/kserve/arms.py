"""The arms of a deployment on KServe, and what splits between them."""

from __future__ import annotations

from dataclasses import dataclass

from packaging.version import Version

from mlops.deployment.targets import router
from mlops.deployment.targets.base import RenderOptions
from mlops.deployment.targets.egress import ModelServers
from mlops.deployment.targets.names import labels_of, models_of
from mlops.spec.deployment import DeploymentSpec

#: Model servers that it runs; the first by default.
SERVERS = ("mlops", "mlserver")
# Since when the modes have their new names.
# Of the CRDs that are checked: the first in which an InferenceGraph has these fields.
_GRAPH_NODES = Version("0.20")
_NEW_NAMES = Version("0.16")
_SUFFIX = "-predictor"
# Where a model server listens; a Service with an address of its own listens at 80.
_PORT = 8080
# Where the pods of Knative's local gateway listen, be they Istio's or Kourier's.
_LOCAL_GATEWAY = 8081


@dataclass(frozen=True, slots=True)
class Arm:
    """What the templates need of one arm or shadow.

    Attributes:
        name: Its name.
        label: That as a DNS label.
        isvc: Its InferenceService.
        version: Label of its model.
        uri: Where the model is.
        digest: What distinguishes it from others.
        weight: Its share in the units of what splits the traffic.
        service: Service of its predictor.
        predictor: Name of the predictor within the InferenceService, empty for the usual one.
        percent: Percentage of a canary or mirror; None for all requests.
        canary_percent: Of the newest revision, in Knative mode; None for all.
        numerator: Out of 10000, where a mirror has no whole percentage; else None.
    """

    name: str
    label: str
    isvc: str
    version: str
    uri: str
    digest: str
    weight: int = 0
    service: str = ""
    predictor: str = ""
    percent: int | None = None
    canary_percent: int | None = None
    numerator: int | None = None


def server_of(options: RenderOptions) -> str:
    """Return the model server in force."""
    return options.cluster.model_server or SERVERS[0]


def places_graph(options: RenderOptions) -> bool:
    """Whether an InferenceGraph says on which nodes its router runs."""
    return Version(options.kserve.version) >= _GRAPH_NODES


def split_of(spec: DeploymentSpec, options: RenderOptions) -> str:
    """Say what of KServe's splits; empty if nothing has to, or the bundled server does."""
    if options.cluster.router or (len(spec.arms) == 1 and not spec.shadows):
        return ""
    return options.kserve.split


def mode_of(options: RenderOptions) -> str:
    """Return the deployment mode in the spelling of KServe's version."""
    new = Version(options.kserve.version) >= _NEW_NAMES
    if options.kserve.mode == "standard":
        return "Standard" if new else "RawDeployment"
    return "Knative" if new else "Serverless"


def arms_of(spec: DeploymentSpec, options: RenderOptions) -> list[Arm]:
    """Return the arms and shadows that KServe is to run."""
    labels = labels_of(spec)
    # The bundled server has the deployment's own name.
    alone = len(spec.arms) == 1 and not spec.shadows and not options.cluster.router
    names = router.behind_names(spec) if options.cluster.router else {}
    found = []
    for name, model in models_of(spec).items():
        if router.is_on_platform(model):
            isvc = spec.name if alone else names.get(name, f"{spec.name}-{labels[name]}")
            service = isvc + _SUFFIX
            found.append(
                Arm(
                    name=name,
                    label=labels[name],
                    isvc=isvc,
                    version=model.label,
                    uri=model.source,
                    digest=router.digest(model),
                    service=service,
                )
            )
    return found


def servers_of(options: RenderOptions) -> ModelServers:
    """Return where the model servers are for a NetworkPolicy."""
    if options.kserve.mode == "knative":
        return ModelServers(_LOCAL_GATEWAY, same_namespace=False)
    return ModelServers(_PORT)


def endpoint_of(arm: Arm, spec: DeploymentSpec, options: RenderOptions) -> str:
    """Return the REF by which the bundled server asks an arm.

    In Knative mode the Service is a name for the local gateway, which routes to arms by the host
    that they are called by, and knows that only with the namespace in it.
    """
    port = f":{_PORT}" if options.kserve.headless and options.kserve.mode == "standard" else ""
    return f"v2+http://{router.address(arm.service, options)}{port}/v2/models/{spec.name}"
