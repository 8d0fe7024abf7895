"""KServe: an InferenceService for each arm, and one of three ways to split between them.

    graph     an InferenceGraph with a Splitter; both modes, any number of arms
    canary    one InferenceService: `canaryTrafficPercent` in Knative mode, for two arms;
              `spec.canary` in Standard mode, from KServe 0.21 on
    gateway   an HTTPRoute of the Gateway API over the arms' Services; Standard mode; the only way
              to have shadows

None of them keeps a unit on its arm, says which arm answered, or takes feedback. With `--router`
none is used: the bundled server is in front and does.

Behaviour is that of kserve/kserve v0.20.0: `pkg/apis/serving/v1beta1/` for refusals,
`pkg/controller/v1beta1/inferenceservice/reconcilers/` for what the modes do, `cmd/router/` for the
graph; and of `master` at aaac4e2 for what 0.21 adds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from mlops.deployment.targets import platform, pods, router
from mlops.deployment.targets.apportionment import finest, whole
from mlops.deployment.targets.base import Platform, Refusal, Rendered, RenderOptions, refuse
from mlops.deployment.targets.kserve.arms import (
    Arm,
    arms_of,
    endpoint_of,
    mode_of,
    places_graph,
    server_of,
    servers_of,
    split_of,
)
from mlops.deployment.targets.kserve.notes import after, notes
from mlops.deployment.targets.kserve.refusals import (
    GATEWAY,
    MOST_WEIGHT,
    refusals,
    setting_refusals,
)
from mlops.deployment.targets.kubernetes import kustomization
from mlops.deployment.targets.own_image import own_image
from mlops.deployment.yaml_templates import render_template
from mlops.spec.deployment import DeploymentSpec, check


class KServe:
    """Renders one model, an A/B test, A/B/n, a canary or shadows for KServe."""

    numbered = False
    platform = Platform(
        versions={"kserve": "kserve.version", "gateway-api": "kserve.gateway_api"},
        groups={"serving.kserve.io": "kserve.version"},
        routed=True,
        with_address=("InferenceGraph", "InferenceService"),
    )

    @staticmethod
    def setting_refusals(options: RenderOptions) -> Iterator[Refusal]:
        """Say which settings are wrong, whatever is deployed."""
        return setting_refusals(options)

    def check(self, spec: DeploymentSpec, options: RenderOptions) -> None:
        """Refuse what KServe would refuse, and what it would silently ignore."""
        check(spec)
        refuse(f"`{spec.name}` cannot be deployed on KServe", refusals(spec, options))

    def render(self, spec: DeploymentSpec, options: RenderOptions) -> Rendered:
        """Return the objects and what their reader should know."""
        self.check(spec, options)
        own = own_image(spec, options) if server_of(options) == "mlops" else None
        image = own.name if own else platform.mlserver_image(options)
        if own is None:
            refuse(
                f"`{spec.name}` cannot be deployed on KServe",
                platform.image_refusals(options, image),
            )
        values = _values(spec, options, image)
        files, later = _files(spec, options, values)
        beside = {**(own.files if own else {}), **later}
        beside["kustomization.yaml"] = kustomization(list(files))
        made = Rendered(
            files=files,
            notes=tuple(notes(spec, options, own, image)),
            before_apply=own.build if own else (),
            after_apply=tuple(after(spec, options, later)),
            beside=beside,
            later=tuple(later),
            image=image,
        )
        if not options.cluster.router:
            return made
        endpoints = {arm.name: endpoint_of(arm, spec, options) for arm in arms_of(spec, options)}
        return router.put_in_front(
            spec,
            options,
            router.Behind("KServe", "isvc", servers_of(options), endpoints, made, own),
        )


def _values(spec: DeploymentSpec, options: RenderOptions, image: str) -> dict[str, Any]:
    own, cluster = options.kserve, options.cluster
    service_account = cluster.service_account
    if not service_account and cluster.storage_secret:
        service_account = f"{spec.name}-storage"
    gateway = GATEWAY.fullmatch(own.gateway)
    scheduling = pods.scheduling(cluster)
    return {
        "name": spec.name,
        "route": f"{spec.name}-split",
        "namespace": cluster.namespace,
        "in_front": options.cluster.router,
        "experiment": spec.experiment,
        "mode": mode_of(options),
        "runtime": f"{spec.name}-{server_of(options)}",
        "server": server_of(options),
        "image": image,
        "served": spec.name,
        "service_account": service_account,
        "storage_secret": cluster.storage_secret,
        "cpu": cluster.cpu,
        "memory": cluster.memory,
        "ephemeral_storage": cluster.ephemeral_storage,
        "scheduling": scheduling,
        # The router runs an image of KServe's.
        "graph_scheduling": {**scheduling, "pull_secrets": ()}
        if scheduling and places_graph(options)
        else {},
        "gateway": {"namespace": gateway[1], "name": gateway[2]} if gateway else None,
        "host": own.host,
        "canaries": [],
    }


def _files(
    spec: DeploymentSpec, options: RenderOptions, values: dict[str, Any]
) -> tuple[dict[str, str], dict[str, str]]:
    """Return manifests to be applied, and those to be applied once the first are ready."""
    files = {}
    if options.cluster.storage_secret and not options.cluster.service_account:
        files["serviceaccount.yaml"] = _render("serviceaccount", values)
    files["servingruntime.yaml"] = _render("servingruntime", values)
    later: dict[str, str] = {}
    arms = arms_of(spec, options)
    split = split_of(spec, options)
    if split == "canary" and options.kserve.mode == "knative":
        stable, canary = _one_after_the_other(spec, arms)
        files["inferenceservice.yaml"] = _isvc(values, stable)
        later["canary.yaml"] = _isvc(values, canary)
    elif split == "canary":
        files["inferenceservice.yaml"] = _side_by_side(spec, arms, values)
    else:
        alone = len(arms) == 1 and not options.cluster.router
        for arm in arms:
            name = "inferenceservice.yaml" if alone else f"inferenceservice-{arm.label}.yaml"
            files[name] = _isvc(values, arm)
    n = len(spec.arms)
    if split == "graph":
        shares = whole([arm.weight for arm in spec.arms], 100)
        weighted = [replace(a, weight=w) for a, w in zip(arms[:n], shares, strict=True)]
        files["inferencegraph.yaml"] = _render("inferencegraph", {**values, "arms": weighted})
    elif split == "gateway":
        shares = finest([arm.weight for arm in spec.arms], MOST_WEIGHT)
        weighted = [replace(a, weight=w) for a, w in zip(arms[:n], shares, strict=True)]
        mirrors = [
            _mirror(arm, shadow.share) for arm, shadow in zip(arms[n:], spec.shadows, strict=True)
        ]
        files["httproute.yaml"] = _render(
            "httproute", {**values, "arms": weighted, "shadows": mirrors}
        )
    return files, later


def _isvc(values: dict[str, Any], arm: Arm) -> str:
    return _render("inferenceservice", {**values, "arm": arm, "annotated": [arm]})


def _one_after_the_other(spec: DeploymentSpec, arms: list[Arm]) -> tuple[Arm, Arm]:
    """Return the two states of one InferenceService: rolled out, then with the newer model."""
    share = whole([arm.weight for arm in spec.arms], 100)[1]
    return (
        replace(arms[0], isvc=spec.name),
        replace(arms[1], isvc=spec.name, canary_percent=share),
    )


def _side_by_side(spec: DeploymentSpec, arms: list[Arm], values: dict[str, Any]) -> str:
    shares = whole([arm.weight for arm in spec.arms], 100)
    stable = replace(arms[0], isvc=spec.name, predictor=arms[0].label)
    canaries = [
        replace(arm, predictor=arm.label, percent=share)
        for arm, share in zip(arms[1:], shares[1:], strict=True)
    ]
    return _render(
        "inferenceservice", {**values, "arm": stable, "annotated": arms, "canaries": canaries}
    )


def _mirror(arm: Arm, share: float) -> Arm:
    if share == 1:
        return arm
    percent = round(share * 100)
    if abs(share * 100 - percent) < 1e-9:
        return replace(arm, percent=percent)
    return replace(arm, numerator=max(1, round(share * 10_000)))


def _render(kind: str, values: dict[str, Any]) -> str:
    return render_template(f"kserve/{kind}.yaml", values)
