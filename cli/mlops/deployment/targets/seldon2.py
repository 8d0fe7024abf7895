"""Seldon Core v2: a Model for each arm, and an Experiment that splits between them.

With `--router` there is no Experiment: the server in front asks each Model, through the runtime's
Envoy, by the header that routes there.

The scheduler loads and unloads models through MLServer's repository API, so the model server is
MLServer here: the bundled server has no such API. A Server of its own pins its Apache-only image.

Behaviour is that of SeldonIO/seldon-core v2.10.2: `scheduler/pkg/store/experiment/validate.go` for
refusals, `scheduler/pkg/envoy/` for routing. Only fields that 2.6.0 has are used.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mlops.deployment.targets import platform, pods, rclone, router, sources
from mlops.deployment.targets.apportionment import finest, too_small
from mlops.deployment.targets.base import Platform, Refusal, Rendered, RenderOptions, refuse
from mlops.deployment.targets.egress import ModelServers
from mlops.deployment.targets.kubernetes import kustomization
from mlops.deployment.targets.names import MAX_NAME, label_notes, labels_of
from mlops.deployment.yaml_templates import render_template
from mlops.spec.deployment import DeploymentSpec, check
from mlops.spec.model import ModelVersion

LAST_APACHE = "2.6.0"
_PLATFORM = "Seldon Core v2"
#: The platform's own metrics, and how they are scraped.
_METRICS = (
    "Its agent reports requests and mean latency by model (`seldon_model_infer_total`, "
    "`seldon_model_infer_seconds_total`); the monitors are in Seldon's repository, in "
    "`prometheus/monitors`."
)
_OLDEST = "2.4.0"
_MOST_WEIGHT = 1_000_000
# The Service of the runtime's Envoy, which is in the namespace of the Models.
_MESH = "seldon-mesh"
_ENVOY = ModelServers(9000)


@dataclass(frozen=True, slots=True)
class _Arm:
    """What the templates need of one arm or shadow.

    Attributes:
        name: Its name.
        label: That as a DNS label.
        model: Its Model.
        version: Label of its model version.
        uri: Where the model is.
        digest: What distinguishes it from others.
        weight: Its relative weight.
        percent: Percentage of the requests a mirror gets.
    """

    name: str
    label: str
    model: str
    version: str
    uri: str
    digest: str
    weight: int = 0
    percent: int = 100


class Seldon2:
    """Renders one model, an A/B test, A/B/n, a canary or a shadow for Seldon Core v2."""

    numbered = False
    platform = Platform(
        versions={"seldon2": "seldon2.version"},
        groups={"mlops.seldon.io": "seldon2.version"},
        routed=True,
        shared_pods="Seldon Core v2 runs models in pods that deployments share: "
        "`kubectl logs -n {namespace} -l seldon-server-name=mlserver`.",
    )

    @staticmethod
    def setting_refusals(options: RenderOptions) -> Iterator[Refusal]:
        """Say which settings are wrong, whatever is deployed."""
        return _setting_refusals(options)

    def check(self, spec: DeploymentSpec, options: RenderOptions) -> None:
        """Refuse what Seldon Core v2 cannot do."""
        check(spec)
        refuse(f"`{spec.name}` cannot be deployed on Seldon Core v2", _refusals(spec, options))

    def render(self, spec: DeploymentSpec, options: RenderOptions) -> Rendered:
        """Return the objects and what their reader should know."""
        self.check(spec, options)
        image = platform.mlserver_image(options)
        refuse(
            f"`{spec.name}` cannot be deployed on Seldon Core v2",
            platform.image_refusals(options, image),
        )
        files = _files(spec, options, image)
        made = Rendered(
            files=files,
            notes=tuple(_notes(spec, options, image)),
            after_apply=tuple(_after(spec, options)),
            beside={"kustomization.yaml": kustomization(list(files))},
            image=image,
        )
        if not options.cluster.router:
            return made
        endpoints = {arm.name: _endpoint(arm, options) for arm in _arms(spec, options)}
        return router.put_in_front(
            spec,
            options,
            router.Behind("Seldon Core", "models.mlops.seldon.io", _ENVOY, endpoints, made, None),
        )


def _has_experiment(spec: DeploymentSpec, options: RenderOptions) -> bool:
    return not options.cluster.router and (len(spec.arms) > 1 or bool(spec.shadows))


def _arms(spec: DeploymentSpec, options: RenderOptions) -> list[_Arm]:
    """Return the arms, then the shadows, that Seldon is to run."""
    labels = labels_of(spec)
    weights = finest([arm.weight for arm in spec.arms], _MOST_WEIGHT)
    several = _has_experiment(spec, options)
    behind = router.behind_names(spec) if options.cluster.router else {}

    def arm_of(name: str, model: ModelVersion, **share: int) -> _Arm:
        label = labels[name]
        called = behind.get(name) or (f"{spec.name}-{label}" if several else spec.name)
        return _Arm(name, label, called, model.label, model.source, router.digest(model), **share)

    arms = [
        arm_of(arm.name, arm.model, weight=weight)
        for arm, weight in zip(spec.arms, weights, strict=True)
        if router.is_on_platform(arm.model)
    ]
    return arms + [
        arm_of(shadow.name, shadow.model, percent=round(shadow.share * 100))
        for shadow in spec.shadows
        if router.is_on_platform(shadow.model)
    ]


def _endpoint(arm: _Arm, options: RenderOptions) -> str:
    """Return the REF by which the bundled server asks a Model.

    Its path alone would do for most requests; the header does for all, and no Experiment takes it
    over.
    """
    host = router.address(_MESH, options)
    return f"v2+http://{host}/v2/models/{arm.model}#seldon-model={arm.model}"


def _files(spec: DeploymentSpec, options: RenderOptions, image: str) -> dict[str, str]:
    values: dict[str, Any] = {
        "name": spec.name,
        "namespace": options.cluster.namespace,
        "in_front": options.cluster.router,
        "experiment": spec.experiment,
        "storage_secret": options.cluster.storage_secret,
        "server": f"{spec.name}-mlserver",
        "memory": options.seldon2.memory,
        "image": image,
        "scheduling": pods.scheduling(options.cluster),
    }
    arms = _arms(spec, options)
    alone = len(arms) == 1 and not options.cluster.router
    files = {"server.yaml": render_template("seldon2/server.yaml", values)}
    for arm in arms:
        name = "model.yaml" if alone else f"model-{arm.label}.yaml"
        files[name] = render_template("seldon2/model.yaml", {**values, "arm": arm})
    if _has_experiment(spec, options):
        n = len(spec.arms)
        mirror = arms[n] if spec.shadows else None
        files["experiment.yaml"] = render_template(
            "seldon2/experiment.yaml", {**values, "arms": arms[:n], "mirror": mirror}
        )
    return files


def _setting_refusals(options: RenderOptions) -> Iterator[Refusal]:
    yield from platform.version_of("seldon2.version", options.seldon2.version, _OLDEST)
    yield from pods.quantity("seldon2.memory", options.seldon2.memory)
    yield from pods.refusals(options)


def _refusals(spec: DeploymentSpec, options: RenderOptions) -> Iterator[Refusal]:
    settings = list(_setting_refusals(options))
    yield from settings
    if settings:
        return
    if options.cluster.model_server not in ("", "mlserver"):
        yield Refusal(
            f"its scheduler loads models through MLServer's repository API, which the model server "
            f"`{options.cluster.model_server}` does not have",
            "Leave `--model-server` out; `--target kserve` and `--target seldon` run our server.",
        )
    yield from sources.refusals(spec, rclone.unfetchable, router.is_on_platform)
    if options.cluster.router:
        yield from router.refusals(spec, options)
    else:
        yield from platform.no_router(spec, _PLATFORM)
        yield from platform.no_monitoring(options, _PLATFORM, _METRICS)
        yield from _split_refusals(spec)
    if not any(True for _ in sources.refusals(spec, rclone.unfetchable, router.is_on_platform)):
        for arm in _arms(spec, options):
            if len(arm.model) > MAX_NAME:
                yield Refusal(
                    f"the Model `{arm.model}` would have {len(arm.model)} characters, more than "
                    f"{MAX_NAME}",
                    "Give shorter names with `--name` and `--arm NAME=REF`.",
                )


def _split_refusals(spec: DeploymentSpec) -> Iterator[Refusal]:
    """Say why an Experiment cannot split this way."""
    for index in too_small([arm.weight for arm in spec.arms], _MOST_WEIGHT):
        yield Refusal(
            f"the share of `{spec.arms[index].name}` is below one in a million",
            "Give it more, or 0; `--router` takes any share.",
        )
    if len(spec.shadows) > 1:
        yield Refusal(
            f"an Experiment has one mirror, and there are {len(spec.shadows)} shadows",
            "Leave the others out; `--router` and `--target kubernetes` take several.",
        )
    for shadow in spec.shadows:
        if round(shadow.share * 100) < 1:
            yield Refusal(
                f"the shadow `{shadow.name}` gets {shadow.share * 100:.3g} % of the requests, "
                "and a mirror has whole percentages",
                "Give it 1 % or more; `--router` takes any share.",
            )


def _notes(spec: DeploymentSpec, options: RenderOptions, image: str) -> Iterator[str]:
    yield platform.licence_note("Seldon Core", options.seldon2.version, LAST_APACHE)
    yield from platform.image_notes(spec, options, image)
    yield from platform.request_log_notes(spec, options)
    yield from label_notes(spec)
    if not options.cluster.storage_secret:
        yield (
            "Models are fetched with what the runtime was set up with, public gs:// by default. "
            "Name a Secret of the Server's namespace (`storage_secret` of `[cluster]`); `mlops "
            "stores secret --for seldon2` prints one."
        )
    if _has_experiment(spec, options):
        yield (
            "Seldon Core v2 takes no feedback. Which arm answered is in the header "
            "`x-seldon-route` "
            "and in `model_name`; sent back, the header keeps a client on its arm. With `--router` "
            "our server in front has feedback, sticky arms and the report; so has `--target "
            "kubernetes`."
        )
        yield (
            "Weights that are edited in a live Experiment were added to the old ones instead of "
            "replacing them (SeldonIO/seldon-core#5181): delete it and apply again."
        )


def _after(spec: DeploymentSpec, options: RenderOptions) -> Iterator[str]:
    namespace = f" -n {options.cluster.namespace}" if options.cluster.namespace else ""
    ready = f"kubectl wait{namespace} --for=condition=ready --timeout=10m"
    yield f"{ready} {' '.join(f'model/{arm.model}' for arm in _arms(spec, options))}"
    if _has_experiment(spec, options):
        yield f"{ready} experiment/{spec.name}"
