"""What is in a SeldonDeployment: predictors, and arms in their graphs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

from mlops.deployment.targets import router
from mlops.deployment.targets.apportionment import whole
from mlops.deployment.targets.base import RenderOptions
from mlops.deployment.targets.egress import ModelServers
from mlops.deployment.targets.names import labels_of, models_of
from mlops.registry.details import Details
from mlops.spec.deployment import Arm as SpecArm
from mlops.spec.deployment import DeploymentSpec

#: Model servers that it runs; the first by default.
SERVERS = ("mlops", "mlserver", "prepackaged")
#: The policy that needs no bundled component.
FIXED = "weighted"
#: Name of the node that splits.
ROUTER = "ab"
#: Name of the predictor where there is one.
PREDICTOR = "default"
# The operator adds a container of this name, and an init container to each model server.
_ENGINE = "seldon-container-engine"
_INITIALIZER = "-model-initializer"
# Name of the node behind the bundled server: short, as names of objects are made from it.
_BEHIND = "model"
# Where the executor listens.
_PORT = 8000
#: Where the model servers behind the bundled server are: their executors.
SERVERS_BEHIND = ModelServers(_PORT)


@dataclass(frozen=True, slots=True)
class Probe:
    """How long a model server may take to build its environment: 18 minutes."""

    initial_delay_s: int = 80
    period_s: int = 5
    failures: int = 200
    deadline_s: int = 1200


@dataclass(frozen=True, slots=True)
class Arm:
    """What the template needs of one arm or shadow.

    Attributes:
        node: Its name in annotations.
        container: Name of its node in the graph and of its container.
        version: Label of its model.
        uri: Where the model is.
        xtype: What the prepackaged server hands to it; empty for the default, ndarray.
    """

    node: str
    container: str
    version: str
    uri: str
    xtype: str


@dataclass(frozen=True, slots=True)
class Predictor:
    """One predictor: several arms behind a router, or one arm.

    Attributes:
        name: Its name.
        arms: At least one.
        version: Its name in metrics.
        traffic: Percentage; None for the only one.
        shadow: Whether it gets copies.
        ratio_a: Share of the first of two arms, empty for one arm.
        policy: That of the bundled component, which draws among the arms; empty for none.
    """

    name: str
    arms: tuple[Arm, ...]
    version: str
    traffic: int | None = None
    shadow: bool = False
    ratio_a: str = ""
    policy: str = ""


def server_of(options: RenderOptions) -> str:
    """Return the model server in force."""
    return options.cluster.model_server or SERVERS[0]


def learns(spec: DeploymentSpec, options: RenderOptions) -> bool:
    """Whether a bundled component in the graph draws, by a policy."""
    return spec.policy != FIXED and len(spec.arms) > 1 and not options.cluster.router


def in_graph(spec: DeploymentSpec, options: RenderOptions) -> bool:
    """Whether arms are split in the graph, rather than by the gateway."""
    if learns(spec, options):
        return True
    split, server = options.seldon.split, server_of(options)
    # With MLServer the protocol is V2, which has no feedback that a graph could attribute.
    return len(spec.arms) == 2 and (split == "graph" or (split == "auto" and server != "mlserver"))


def node_names(spec: DeploymentSpec) -> dict[str, str]:
    """Name each arm and shadow as a DNS label, unique in the pod.

    `meta.routing` and Seldon's metrics name arms in this way.
    """
    labels = labels_of(spec, (ROUTER, _ENGINE))
    return {name: _without_suffix(label) for name, label in labels.items()}


def _without_suffix(label: str) -> str:
    while label.endswith(_INITIALIZER):
        label = label.removesuffix(_INITIALIZER) + "-m"
    return label


def object_name(deployment: str, predictor: str, index: int, container: str) -> str:
    """Name that the operator gives to the Deployment of a component, its longest name.

    >>> object_name("wine", "default", 0, "model-a")
    'wine-default-0-model-a'
    """
    return f"{deployment}-{predictor}-{index}-{container}"


def ratio_a(spec: DeploymentSpec) -> float:
    """Probability in [0, 1] that the first arm is drawn; exactly 0 or 1 if an arm gets nothing."""
    return 1.0 if spec.arms[-1].weight == 0 else spec.arms[0].weight


def by_gateway(spec: DeploymentSpec, options: RenderOptions) -> bool:
    """Whether the gateway splits."""
    return len(spec.arms) > 1 and not in_graph(spec, options)


def predictors_of(spec: DeploymentSpec, options: RenderOptions) -> list[Predictor]:
    """Return the predictors of one SeldonDeployment."""
    nodes = node_names(spec)
    if in_graph(spec, options):
        arms = tuple(_arm(spec, options, arm.name, nodes[arm.name]) for arm in spec.arms)
        ratio, policy = _decimal(ratio_a(spec)), ""
        if learns(spec, options):
            ratio, policy = "", spec.policy
        found = [Predictor(PREDICTOR, arms, spec.experiment, ratio_a=ratio, policy=policy)]
    elif len(spec.arms) == 1:
        only, behind = spec.arms[0], options.cluster.router
        arm = _arm(spec, options, only.name, _BEHIND if behind else nodes[only.name])
        version = only.model.label if behind else spec.experiment
        found = [Predictor(PREDICTOR, (arm,), version)]
    else:
        shares = whole([arm.weight for arm in spec.arms], 100)
        found = [
            Predictor(
                nodes[arm.name],
                (_arm(spec, options, arm.name, spec.name),),
                arm.model.label,
                share,
            )
            for arm, share in zip(spec.arms, shares, strict=True)
        ]
    for shadow in spec.shadows:
        container = found[0].arms[0].container if len(found[0].arms) == 1 else spec.name
        arm = _arm(spec, options, shadow.name, container)
        percent = whole([shadow.share, 1 - shadow.share], 100)[0]
        found.append(
            Predictor(nodes[shadow.name], (arm,), shadow.model.label, percent, shadow=True)
        )
    return found


def _arm(spec: DeploymentSpec, options: RenderOptions, name: str, container: str) -> Arm:
    model = models_of(spec)[name]
    prepackaged = server_of(options) == "prepackaged"
    return Arm(
        node=node_names(spec)[name],
        container=container,
        version=model.label,
        uri=model.source,
        xtype=_xtype(options.details.get(name)) if prepackaged else "",
    )


def _xtype(details: Details | None) -> str:
    # A model without named inputs takes an array; a DataFrame suits both, so it is the safe guess.
    if details is None or any(column.name for column in details.inputs):
        return "DataFrame"
    return ""


def _decimal(ratio: float) -> str:
    """Write a float in full and without an exponent, to be readable.

    >>> _decimal(0.1), _decimal(1e-7), _decimal(1.0)
    ('0.1', '0.0000001', '1.0')
    """
    return format(Decimal(repr(ratio)), "f")


def protocol_of(options: RenderOptions) -> str:
    """Return the protocol of the SeldonDeployment."""
    server = server_of(options)
    # `seldon` is the only one with feedback, which our server in front does not send on; V2 has
    # names and types of columns.
    if server == "mlserver" or (server == "mlops" and options.cluster.router):
        return "v2"
    return "seldon"


def behind_router(spec: DeploymentSpec) -> dict[str, DeploymentSpec]:
    """Return a SeldonDeployment of its own for each model that the platform is to run.

    Returns:
        Name of the arm or shadow to a spec with it alone.
    """
    models = models_of(spec)
    return {
        name: replace(
            spec,
            name=called,
            arms=(SpecArm(name, models[name], 1.0),),
            shadows=(),
            sticky_by="",
        )
        for name, called in router.behind_names(spec).items()
    }


def endpoint_of(deployment: str, options: RenderOptions) -> str:
    """Return the REF by which our server asks a SeldonDeployment behind it: its executor's."""
    service = router.address(f"{deployment}-{PREDICTOR}", options)
    if protocol_of(options) == "seldon":
        return f"seldon+http://{service}:{_PORT}"
    return f"v2+http://{service}:{_PORT}/v2/models/{_BEHIND}"
