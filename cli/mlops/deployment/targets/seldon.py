"""Seldon Core v1: one SeldonDeployment, drawn by the executor's RANDOM_ABTEST.

The split is inside the graph and not between predictors, because only then does an answer say
which arm gave it (`meta.routing`) and feedback reach that arm: a split by the mesh draws again for
the feedback call. The price is two arms at most and no stickiness.

Behaviour is that of SeldonIO/seldon-core v1.18.2: `executor/predictor/` for routing, feedback and
readiness, `operator/apis/machinelearning.seldon.io/v1/seldondeployment_webhook.go` for refusals,
`servers/mlflowserver/` for the model server.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

import yaml
from pydantic import TypeAdapter, ValidationError

from mlops.deployment.rendering import render_template
from mlops.deployment.targets import rclone
from mlops.deployment.targets.base import Refusal, Rendered, RenderOptions
from mlops.deployment.targets.seldon_manifest import (
    MAX_NAME,
    SecretName,
    SeldonDeployment,
    object_name,
)
from mlops.errors import InvalidInputError
from mlops.registry.details import Details
from mlops.settings.secrets import without_credentials
from mlops.spec.deployment import DeploymentSpec, check, unique_names

FILE = "seldondeployment.yaml"
_ROUTER = "ab"
_PREDICTOR = "default"
# The operator adds a container of this name, and an init container to each model server.
_ENGINE = "seldon-container-engine"
_INITIALIZER = "-model-initializer"


@dataclass(frozen=True, slots=True)
class _Probe:
    """How long a model server may take to build its environment: 18 minutes."""

    initial_delay_s: int = 80
    period_s: int = 5
    failures: int = 200
    deadline_s: int = 1200


@dataclass(frozen=True, slots=True)
class _Arm:
    """What the template needs of one arm; `xtype` is empty for the server's default, ndarray."""

    node: str
    label: str
    model_uri: str
    xtype: str


class Seldon:
    """Renders one model, or an A/B test of two, for Seldon Core v1."""

    def check(self, spec: DeploymentSpec) -> None:
        """Refuse what an in-graph A/B test cannot do."""
        check(spec)
        refusals = list(_refusals(spec))
        if refusals:
            hints = dict.fromkeys(refusal.hint for refusal in refusals)
            raise InvalidInputError(
                f"`{spec.name}` cannot be a SeldonDeployment: "
                + "; ".join(refusal.fault for refusal in refusals)
                + ".",
                hint=" ".join(hints),
            )

    def render(self, spec: DeploymentSpec, options: RenderOptions) -> Rendered:
        """Return one manifest and what its reader should know."""
        self.check(spec)
        _check_secret(options.env_secret)
        text = render_template(
            "seldon/abtest.yaml" if len(spec.arms) == 2 else "seldon/model.yaml",
            {
                "name": spec.name,
                "predictor": _PREDICTOR,
                "router": _ROUTER,
                "experiment": spec.experiment,
                "reward": spec.reward,
                "ratio_a": _decimal(ratio_a(spec)),
                "arms": _arms(spec, options),
                "env_secret": options.env_secret,
                "probe": _Probe(),
            },
        )
        _check_manifest(text)
        return Rendered(
            files={FILE: text},
            notes=tuple(_notes(spec, options)),
            after_apply=(f"kubectl wait --for=condition=ready --timeout=20m sdep/{spec.name}",),
        )


def node_names(spec: DeploymentSpec) -> tuple[str, ...]:
    """Name the graph's node of each arm: the arm's name as a DNS label, unique in the pod.

    `meta.routing` and Seldon's metrics name arms in this way.
    """
    taken = [_ROUTER, _ENGINE]
    return tuple(unique_names([*taken, *(_dns_label(arm.name) for arm in spec.arms)])[len(taken) :])


def ratio_a(spec: DeploymentSpec) -> float:
    """Probability in [0, 1] that the first arm is drawn; exactly 0 or 1 if an arm gets nothing."""
    return 1.0 if spec.arms[-1].weight == 0 else spec.arms[0].weight


def _dns_label(name: str) -> str:
    """Turn an arm's name into a DNS label.

    >>> _dns_label("modelA"), _dns_label("wine_v1.2")
    ('model-a', 'wine-v1-2')
    """
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()
    label = re.sub(r"[^a-z0-9]+", "-", words).strip("-")
    while label.endswith(_INITIALIZER):
        label = label.removesuffix(_INITIALIZER)
    return label


def _refusals(spec: DeploymentSpec) -> Iterator[Refusal]:
    count = len(spec.arms)
    if count > 2:
        yield Refusal(
            f"its in-graph A/B test never calls a third child, and there are {count} arms",
            "Deploy two of them; `--target local` takes more.",
        )
    if spec.sticky_by:
        yield Refusal(
            "RANDOM_ABTEST draws an arm anew for every request, so it cannot keep "
            f"`{spec.sticky_by}` on one",
            "Leave `sticky_by` out; `--target local` has sticky arms.",
        )
    if spec.policy != "weighted":
        yield Refusal(
            f"RANDOM_ABTEST knows fixed weights only, not the policy `{spec.policy}`",
            "Use the policy `weighted`; `--target local` has others.",
        )
    if not spec.name[0].isalpha():
        yield Refusal(
            f"its services would be named after `{spec.name}`, and a service's name begins with a "
            "letter",
            "Give another name with `--name`.",
        )
    yield from _long_names(spec)
    for number, arm in enumerate(spec.arms, start=1):
        refusal = rclone.refusal(arm.model.source)
        if refusal is not None:
            shown = without_credentials(arm.model.source).partition("?")[0]
            yield Refusal(f"the model of arm {number}, `{shown}`, {refusal.fault}", refusal.hint)


def _long_names(spec: DeploymentSpec) -> Iterator[Refusal]:
    for index, node in enumerate(node_names(spec)):
        name = object_name(spec.name, _PREDICTOR, index, [node])
        # An arm is named after its URI; one that may carry a secret must not show up here.
        if len(name) > MAX_NAME and rclone.refusal(spec.arms[index].model.source) is None:
            yield Refusal(
                f"the operator would join names to `{name}`, which has {len(name)} characters, and "
                f"replace it by a hash because it is longer than {MAX_NAME}",
                "Give shorter names with `--name` and `--arm NAME=REF`.",
            )


def _arms(spec: DeploymentSpec, options: RenderOptions) -> list[_Arm]:
    return [
        _Arm(node, arm.model.label, arm.model.source, _xtype(options.details.get(arm.name)))
        for node, arm in zip(node_names(spec), spec.arms, strict=True)
    ]


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


def _notes(spec: DeploymentSpec, options: RenderOptions) -> Iterator[str]:
    yield (
        "Seldon Core up to 1.17.1 is under Apache-2.0. From 1.18.0 on, images and charts included, "
        "it is under the Business Source License 1.1: no production use without a licence."
    )
    yield _image_note(spec, options)
    yield (
        "A model server builds the model's conda environment when it starts: it needs the internet "
        "and some minutes. The probes wait for 18."
    )
    yield from rclone.notes((arm.model.source for arm in spec.arms), options.env_secret)
    guessed = [f"`{arm.name}`" for arm in spec.arms if arm.name not in options.details]
    if guessed:
        yield (
            f"The signature of {', '.join(guessed)} was not read; `xtype` DataFrame is a guess, "
            "right for models with named columns."
        )
    yield from _traffic_notes(spec)
    yield from _reward_notes(spec)


def _image_note(spec: DeploymentSpec, options: RenderOptions) -> str:
    known = [(arm.name, options.details.get(arm.name)) for arm in spec.arms]
    logged = [
        f"`{name}` was logged by MLflow {details.mlflow or 'of an unknown version'} and Python "
        f"{details.python or 'of an unknown version'}"
        for name, details in known
        if details is not None
    ]
    return (
        "The images of MLFLOW_SERVER bring an old Python and an old MLflow and may be unable to "
        "read a model that a current MLflow has logged; try it before you rely on it."
        + (f" Here {'; '.join(logged)}." if logged else "")
    )


def _traffic_notes(spec: DeploymentSpec) -> Iterator[str]:
    if len(spec.arms) < 2:
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


def _reward_notes(spec: DeploymentSpec) -> Iterator[str]:
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


def _check_secret(name: str) -> None:
    try:
        TypeAdapter(SecretName | None).validate_python(name or None)
    except ValidationError as error:
        raise InvalidInputError(
            f"`{name}` cannot be the name of a Kubernetes secret.",
            hint="Name the secret; what it holds never goes into a manifest.",
        ) from error


def _check_manifest(text: str) -> None:
    try:
        SeldonDeployment.model_validate(yaml.safe_load(text))
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()
        )
        raise InvalidInputError(
            f"The rendered SeldonDeployment breaks Seldon's rules: {faults}.",
            hint="If you did not change the template, please report this.",
        ) from error
