"""Seldon Core v1: one SeldonDeployment.

Two arms are split inside the graph by the executor's RANDOM_ABTEST, because only then does an
answer say which arm gave it (`meta.routing`) and feedback reach that arm. Three arms and more have
a predictor each and are split by the gateway, which draws again for the feedback call: then there
is no feedback, and the manifest says so. A policy that learns is a bundled component in the graph,
for any number of arms, with its state in PostgreSQL. With `--router` each arm is a SeldonDeployment
of its own, which the bundled server in front asks.

Behaviour is that of SeldonIO/seldon-core v1.17.1 and v1.18.2: `executor/predictor/` for routing,
feedback and readiness, `operator/apis/machinelearning.seldon.io/v1/seldondeployment_webhook.go` for
refusals, `operator/controllers/seldondeployment_prepackaged_servers.go` for how an image takes the
place of a prepackaged server's, `servers/mlflowserver/` for that server.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from mlops.deployment.targets import platform, pods, router, secrets
from mlops.deployment.targets.base import Platform, Refusal, Rendered, RenderOptions, refuse
from mlops.deployment.targets.kubernetes import (
    configmap,
    kustomization,
    server_values,
)
from mlops.deployment.targets.names import labels_of
from mlops.deployment.targets.own_image import OwnImage, own_image
from mlops.deployment.targets.seldon.graph import (
    ROUTER,
    SERVERS_BEHIND,
    Probe,
    behind_router,
    by_gateway,
    endpoint_of,
    learns,
    predictors_of,
    protocol_of,
    server_of,
)
from mlops.deployment.targets.seldon.notes import notes
from mlops.deployment.targets.seldon.refusals import refusals, setting_refusals
from mlops.deployment.yaml_templates import render_template
from mlops.spec.deployment import DeploymentSpec, check

FILE = "seldondeployment.yaml"


class Seldon:
    """Renders one model, an A/B test, A/B/n, a canary or a shadow for Seldon Core v1."""

    numbered = False
    platform = Platform(
        versions={"seldon": "seldon.version"},
        groups={"machinelearning.seldon.io": "seldon.version"},
        routed=True,
        with_address=("SeldonDeployment",),
    )

    @staticmethod
    def setting_refusals(options: RenderOptions) -> Iterator[Refusal]:
        """Say which settings are wrong, whatever is deployed."""
        return setting_refusals(options)

    def check(self, spec: DeploymentSpec, options: RenderOptions) -> None:
        """Refuse what Seldon Core v1 cannot do, or would do otherwise."""
        check(spec)
        refuse(f"`{spec.name}` cannot be a SeldonDeployment", refusals(spec, options))

    def render(self, spec: DeploymentSpec, options: RenderOptions) -> Rendered:
        """Return one manifest, or one for each arm behind the bundled server, and what to know."""
        self.check(spec, options)
        server = server_of(options)
        own = own_image(spec, options) if server == "mlops" else None
        image = own.name if own else platform.mlserver_image(options)
        if server == "mlserver":
            refuse(
                f"`{spec.name}` cannot be a SeldonDeployment",
                platform.image_refusals(options, image),
            )
        if options.cluster.router:
            return _behind(spec, options, own, image)
        files = {FILE: _manifest(spec, spec, options, image)}
        if not learns(spec, options):
            return _rendered(spec, options, own, image, files)
        files = {"configmap.yaml": configmap(spec, options, image)} | files
        made = _rendered(spec, options, own, image, files)
        # Its callers send no token: the executor has asked who they are.
        quiet = replace(options.kubernetes, insecure_no_auth=True)
        needed = secrets.commands(spec, replace(options, kubernetes=quiet))
        return replace(made, before_apply=(*made.before_apply, *needed))


def _behind(
    spec: DeploymentSpec, options: RenderOptions, own: OwnImage | None, image: str
) -> Rendered:
    found = behind_router(spec)
    labels = labels_of(spec)
    files = {
        f"seldondeployment-{labels[name]}.yaml": _manifest(spec, one, options, image)
        for name, one in found.items()
    }
    made = _rendered(spec, options, own, image, files, *(one.name for one in found.values()))
    endpoints = {name: endpoint_of(one.name, options) for name, one in found.items()}
    return router.put_in_front(
        spec, options, router.Behind("Seldon Core", "sdep", SERVERS_BEHIND, endpoints, made, own)
    )


def _rendered(
    spec: DeploymentSpec,
    options: RenderOptions,
    own: OwnImage | None,
    image: str,
    files: dict[str, str],
    *names: str,
) -> Rendered:
    namespace = f" -n {options.cluster.namespace}" if options.cluster.namespace else ""
    waited = " ".join(f"sdep/{name}" for name in names or (spec.name,))
    return Rendered(
        files=files,
        notes=tuple(notes(spec, options, own, image)),
        before_apply=own.build if own else (),
        after_apply=(f"kubectl wait{namespace} --for=condition=ready --timeout=20m {waited}",),
        beside={
            **(own.files if own else {}),
            "kustomization.yaml": kustomization(list(files)),
        },
        image=image,
    )


def _manifest(
    whole: DeploymentSpec, spec: DeploymentSpec, options: RenderOptions, image: str
) -> str:
    """Return a SeldonDeployment of `spec`, which is the whole or one arm of it."""
    values = {
        **_values(spec, options, image),
        "whole": whole.name,
        "digest": router.digest(spec.arms[0].model),
    }
    return render_template("seldon/seldondeployment.yaml", values)


def _component(spec: DeploymentSpec, options: RenderOptions, image: str) -> dict[str, Any]:
    """Return what the template needs of the component that draws."""
    values = server_values(spec, options, image)
    return {name: values[name] for name in ("config", "journal_secret", "key_secret")}


def _values(spec: DeploymentSpec, options: RenderOptions, image: str) -> dict[str, Any]:
    predictors = predictors_of(spec, options)
    return {
        "name": spec.name,
        "namespace": options.cluster.namespace,
        "experiment": spec.experiment,
        "in_front": options.cluster.router,
        "reward": spec.reward,
        "arms": [arm for predictor in predictors for arm in predictor.arms],
        "split": by_gateway(spec, options),
        "protocol": protocol_of(options),
        "predictors": predictors,
        **(_component(spec, options, image) if learns(spec, options) else {}),
        "router": ROUTER,
        "server": server_of(options),
        "image": image,
        "env_secret": options.seldon.env_secret or options.cluster.storage_secret,
        "service_account": options.cluster.service_account,
        "cpu": options.cluster.cpu,
        "memory": options.cluster.memory,
        "ephemeral_storage": options.cluster.ephemeral_storage,
        "scheduling": pods.scheduling(options.cluster),
        "probe": Probe(),
    }
