"""Seldon Core v1: one SeldonDeployment.

Two arms are split inside the graph by the executor's RANDOM_ABTEST, because only then does an
answer say which arm gave it (`meta.routing`) and feedback reach that arm. Three arms and more have
a predictor each and are split by the gateway, which draws again for the feedback call: then there
is no feedback, and the manifest says so.

Behaviour is that of SeldonIO/seldon-core v1.17.1 and v1.18.2: `executor/predictor/` for routing,
feedback and readiness, `operator/apis/machinelearning.seldon.io/v1/seldondeployment_webhook.go` for
refusals, `operator/controllers/seldondeployment_prepackaged_servers.go` for how an image takes the
place of a prepackaged server's, `servers/mlflowserver/` for that server.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from mlops.deployment.rendering import render_template
from mlops.deployment.targets import platform, rclone, sources
from mlops.deployment.targets.base import Refusal, Rendered, RenderOptions, refuse
from mlops.deployment.targets.names import MAX_NAME, begins_with_letter, labels_of, models_of
from mlops.deployment.targets.own_image import OwnImage, own_image
from mlops.deployment.targets.weights import too_small, whole
from mlops.registry.details import Details
from mlops.spec.deployment import DeploymentSpec, check

FILE = "seldondeployment.yaml"
LAST_APACHE = "1.17.1"
_OLDEST = "1.8.0"
_PLATFORM = "Seldon Core v1"
#: What the platform counts by itself, and how it is scraped.
_METRICS = (
    "Its executor tells requests, errors and latency by predictor and model "
    "(`seldon_api_executor_client_requests_seconds`): scrape pods with the label "
    "`app.kubernetes.io/managed-by: seldon-core`, port `metrics`, path `/prometheus`."
)
_ROUTER = "ab"
_PREDICTOR = "default"
# The operator adds a container of this name, and an init container to each model server.
_ENGINE = "seldon-container-engine"
_INITIALIZER = "-model-initializer"
_SERVERS = ("mlops", "mlserver", "prepackaged")
_GATEWAYS = ("istio", "ambassador")
_SPLITS = ("auto", "graph", "predictors")


@dataclass(frozen=True, slots=True)
class _Probe:
    """How long a model server may take to build its environment: 18 minutes."""

    initial_delay_s: int = 80
    period_s: int = 5
    failures: int = 200
    deadline_s: int = 1200


@dataclass(frozen=True, slots=True)
class _Arm:
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
class _Predictor:
    """One predictor: several arms behind a router, or one arm.

    Attributes:
        name: Its name.
        arms: At least one.
        version: What metrics call it.
        traffic: Percentage; None for the only one.
        shadow: Whether it gets copies.
        ratio_a: Share of the first of two arms, empty for one arm.
    """

    name: str
    arms: tuple[_Arm, ...]
    version: str
    traffic: int | None = None
    shadow: bool = False
    ratio_a: str = ""


class Seldon:
    """Renders one model, an A/B test, A/B/n, a canary or a shadow for Seldon Core v1."""

    numbered = False

    def check(self, spec: DeploymentSpec, options: RenderOptions) -> None:
        """Refuse what Seldon Core v1 cannot do, or would do otherwise."""
        check(spec)
        refuse(f"`{spec.name}` cannot be a SeldonDeployment", _refusals(spec, options))

    def render(self, spec: DeploymentSpec, options: RenderOptions) -> Rendered:
        """Return one manifest and what its reader should know."""
        self.check(spec, options)
        server = _server(options)
        own = own_image(spec, options) if server == "mlops" else None
        image = own.name if own else platform.mlserver_image(options)
        if server == "mlserver":
            refuse(
                f"`{spec.name}` cannot be a SeldonDeployment",
                platform.image_refusals(options, image),
            )
        text = render_template("seldon/seldondeployment.yaml", _values(spec, options, image))
        return Rendered(
            files={FILE: text},
            notes=tuple(_notes(spec, options, own, image)),
            before_apply=own.build if own else (),
            after_apply=(
                (
                    f"kubectl wait{_namespace(options)} --for=condition=ready --timeout=20m "
                    f"sdep/{spec.name}"
                ),
            ),
            beside=own.files if own else {},
        )


def _server(options: RenderOptions) -> str:
    return options.cluster.model_server or _SERVERS[0]


def in_graph(spec: DeploymentSpec, options: RenderOptions) -> bool:
    """Whether the executor splits, rather than the gateway."""
    split, server = options.seldon.split, _server(options)
    # With MLServer the protocol is V2, which has no feedback that a graph could attribute.
    return len(spec.arms) == 2 and (split == "graph" or (split == "auto" and server != "mlserver"))


def node_names(spec: DeploymentSpec) -> dict[str, str]:
    """Name each arm and shadow as a DNS label, unique in the pod.

    `meta.routing` and Seldon's metrics name arms in this way.
    """
    labels = labels_of(spec, (_ROUTER, _ENGINE))
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


def _values(spec: DeploymentSpec, options: RenderOptions, image: str) -> dict[str, Any]:
    predictors = _predictors(spec, options)
    server = _server(options)
    return {
        "name": spec.name,
        "namespace": options.cluster.namespace,
        "experiment": spec.experiment,
        "reward": spec.reward,
        "arms": [arm for predictor in predictors for arm in predictor.arms],
        "split": _by_gateway(spec, options),
        "protocol": "v2" if server == "mlserver" else "seldon",
        "predictors": predictors,
        "router": _ROUTER,
        "server": server,
        "image": image,
        "env_secret": options.seldon.env_secret or options.cluster.storage_secret,
        "service_account": options.cluster.service_account,
        "cpu": options.cluster.cpu,
        "memory": options.cluster.memory,
        "probe": _Probe(),
    }


def _by_gateway(spec: DeploymentSpec, options: RenderOptions) -> bool:
    return len(spec.arms) > 1 and not in_graph(spec, options)


def _predictors(spec: DeploymentSpec, options: RenderOptions) -> list[_Predictor]:
    nodes = node_names(spec)
    if in_graph(spec, options):
        arms = tuple(_arm(spec, options, arm.name, nodes[arm.name]) for arm in spec.arms)
        ratio = _decimal(ratio_a(spec))
        found = [_Predictor(_PREDICTOR, arms, spec.experiment, ratio_a=ratio)]
    elif len(spec.arms) == 1:
        arm = _arm(spec, options, spec.arms[0].name, nodes[spec.arms[0].name])
        found = [_Predictor(_PREDICTOR, (arm,), spec.experiment)]
    else:
        shares = whole([arm.weight for arm in spec.arms], 100)
        found = [
            _Predictor(
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
            _Predictor(nodes[shadow.name], (arm,), shadow.model.label, percent, shadow=True)
        )
    return found


def _arm(spec: DeploymentSpec, options: RenderOptions, name: str, container: str) -> _Arm:
    model = models_of(spec)[name]
    prepackaged = _server(options) == "prepackaged"
    return _Arm(
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
    """Write a float in full and without an exponent, so that people can read it too.

    >>> _decimal(0.1), _decimal(1e-7), _decimal(1.0)
    ('0.1', '0.0000001', '1.0')
    """
    return format(Decimal(repr(ratio)), "f")


def _refusals(spec: DeploymentSpec, options: RenderOptions) -> Iterator[Refusal]:
    own = options.seldon
    settings = [
        *platform.one_among("seldon.mode", own.mode, _GATEWAYS),
        *platform.one_among("seldon.split", own.split, _SPLITS),
        *platform.one_among("cluster.model_server", _server(options), _SERVERS),
        *platform.version_of("seldon.version", own.version, _OLDEST),
        *platform.object_names(options),
    ]
    yield from settings
    if settings:
        return
    yield from platform.no_router(spec, _PLATFORM)
    yield from platform.no_monitoring(options, _PLATFORM, _METRICS)
    yield from sources.refusals(spec, rclone.unfetchable)
    if not begins_with_letter(spec.name):
        yield Refusal(
            f"its services would be named after `{spec.name}`, and a service's name begins with a "
            "letter",
            "Give another name with `--name`.",
        )
    yield from _split_refusals(spec, options)
    yield from _shadow_refusals(spec)
    yield from _long_names(spec, options)


def _split_refusals(spec: DeploymentSpec, options: RenderOptions) -> Iterator[Refusal]:
    count = len(spec.arms)
    own, server = options.seldon, _server(options)
    if own.split == "graph" and count > 2:
        yield Refusal(
            f"its in-graph A/B test never calls a third child, and there are {count} arms",
            "Leave `--traffic-by graph` out and the gateway splits; `--target kubernetes` takes "
            "any "
            "number of arms, with feedback.",
        )
    if own.split == "graph" and server == "mlserver":
        yield Refusal(
            "an in-graph A/B test is there for feedback, which MLServer's protocol, V2, has none "
            "of",
            "Use `--model-server mlops`, or `--traffic-by predictors`.",
        )
    if not _by_gateway(spec, options):
        return
    weights = [arm.weight for arm in spec.arms]
    for index in too_small(weights, 100):
        yield Refusal(
            f"`{spec.arms[index].name}` gets {weights[index] * 100:.3g} % of the traffic, and "
            "predictors have whole percentages",
            "Give it 1 % or 0; `--target kubernetes` takes any share.",
        )
    if own.mode == "ambassador" and 0 in whole(weights, 100):
        yield Refusal(
            "Ambassador leaves out a weight of 0, so that an arm that is to get nothing would get "
            "an equal share",
            "Leave the arm out, or deploy behind Istio.",
        )


def _shadow_refusals(spec: DeploymentSpec) -> Iterator[Refusal]:
    if len(spec.shadows) > 1:
        yield Refusal(
            f"it takes one shadow, and there are {len(spec.shadows)}",
            "Leave the others out; `--target kubernetes` takes several.",
        )
    for shadow in spec.shadows:
        # A percentage of 0 would mean all requests.
        if round(shadow.share * 100) < 1:
            yield Refusal(
                f"the shadow `{shadow.name}` gets {shadow.share * 100:.3g} % of the requests, and "
                "predictors have whole percentages",
                "Give it 1 % or more.",
            )


def _long_names(spec: DeploymentSpec, options: RenderOptions) -> Iterator[Refusal]:
    # An arm is named after its URI; one that may carry a secret must not show up here.
    if any(True for _ in sources.refusals(spec, rclone.unfetchable)):
        return
    for predictor in _predictors(spec, options):
        for index, arm in enumerate(predictor.arms):
            name = object_name(spec.name, predictor.name, index, arm.container)
            if len(name) > MAX_NAME:
                yield Refusal(
                    f"the operator would join names to `{name}`, which has {len(name)} characters, "
                    f"and replace it by a hash because it is longer than {MAX_NAME}",
                    "Give shorter names with `--name` and `--arm NAME=REF`.",
                )


def _notes(
    spec: DeploymentSpec, options: RenderOptions, own: OwnImage | None, image: str
) -> Iterator[str]:
    yield platform.licence_note("Seldon Core", options.seldon.version, LAST_APACHE)
    if own is not None:
        yield from own.notes
    elif _server(options) == "mlserver":
        yield from platform.image_notes(spec, options, image)
    else:
        yield from _prepackaged_notes(spec, options)
    secret = options.seldon.env_secret or options.cluster.storage_secret
    yield from rclone.notes((model.source for model in spec.models), secret)
    yield from _traffic_notes(spec, options)
    yield from _reward_notes(spec, options)


def _prepackaged_notes(spec: DeploymentSpec, options: RenderOptions) -> Iterator[str]:
    logged = [
        f"`{name}` was logged by MLflow {details.mlflow or 'of an unknown version'} and Python "
        f"{details.python or 'of an unknown version'}"
        for name, details in options.details.items()
    ]
    yield (
        "The images of MLFLOW_SERVER bring an old Python and an old MLflow and may be unable to "
        "read a model that a current MLflow has logged; try it before you rely on it."
        + (f" Here {'; '.join(logged)}." if logged else "")
    )
    yield (
        "A model server builds the model's conda environment when it starts: it needs the internet "
        "and some minutes. The probes wait for 18."
    )
    guessed = [f"`{arm.name}`" for arm in spec.arms if arm.name not in options.details]
    if guessed:
        yield (
            f"The signature of {', '.join(guessed)} was not read; `xtype` DataFrame is a guess, "
            "right for models with named columns."
        )


def _traffic_notes(spec: DeploymentSpec, options: RenderOptions) -> Iterator[str]:
    if spec.shadows:
        yield (
            f"`{spec.shadows[0].name}` gets copies of feedback calls too, as the gateway cannot "
            "tell them from requests."
        )
    if len(spec.arms) < 2:
        return
    if not in_graph(spec, options):
        yield (
            "The gateway splits between predictors and draws again for the feedback call, so a "
            "reward would land on any arm: feedback is not possible here. `--target kubernetes` "
            "has "
            "it for any number of arms."
        )
        return
    # The executor reads ratioA in single precision.
    (ratio,) = struct.unpack("f", struct.pack("f", ratio_a(spec)))
    if ratio in (0, 1):
        idle, busy = spec.arms if ratio == 0 else reversed(spec.arms)
        yield (
            f"`{idle.name}` gets no request at all, so nothing will be learned about it; its "
            f"server runs nevertheless. To serve `{busy.name}` alone, deploy it with `--model`."
        )
    yield (
        "The executor is ready only while both model servers are: if one is down, neither arm "
        "answers."
    )


def _reward_notes(spec: DeploymentSpec, options: RenderOptions) -> Iterator[str]:
    if _by_gateway(spec, options) or _server(options) == "mlserver":
        return
    if _server(options) == "mlops":
        yield (
            "Feedback is counted by each arm's server (`/metrics`, a reward of 0 and negative ones "
            "too) and kept nowhere, so `mlops report` knows nothing of it."
        )
        return
    yield (
        "Feedback moves only Seldon's Prometheus counters, and a reward of 0 not even those: "
        "reward divided by feedback leaves such answers out."
    )
    if spec.reward in ("squared-error", "absolute-error"):
        yield (
            f"The reward `{spec.reward}` is negative. It makes Seldon's reward counter fall, which "
            "Prometheus takes for a restart: rate() of it means nothing."
        )
    elif spec.reward != "exact":
        yield (
            f"If the reward `{spec.reward}` can be negative, Seldon's reward counter falls, which "
            "Prometheus takes for a restart."
        )


def _namespace(options: RenderOptions) -> str:
    return f" -n {options.cluster.namespace}" if options.cluster.namespace else ""
