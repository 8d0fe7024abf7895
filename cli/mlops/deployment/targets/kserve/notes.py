"""Notes and next commands of a rendering for KServe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mlops.deployment.targets import platform
from mlops.deployment.targets.base import RenderOptions
from mlops.deployment.targets.kserve.arms import arms_of, places_graph, split_of
from mlops.deployment.targets.names import label_notes
from mlops.deployment.targets.own_image import OwnImage
from mlops.spec.deployment import DeploymentSpec


def notes(
    spec: DeploymentSpec, options: RenderOptions, own: OwnImage | None, image: str
) -> Iterator[str]:
    """Say what the platform will not do or do differently."""
    yield "KServe is under Apache-2.0."
    if own is not None:
        yield from own.notes
    else:
        yield from platform.image_notes(spec, options, image)
    yield from platform.request_log_notes(spec, options)
    yield from label_notes(spec)
    if not options.cluster.service_account and not options.cluster.storage_secret:
        yield (
            "KServe fetches the models without credentials. Name a Secret (`storage_secret` of "
            "`[cluster]`; `mlops stores secret --for kserve` prints one) or a ServiceAccount "
            "(`service_account`)."
        )
    if len(spec.arms) > 1 and not options.cluster.router:
        yield (
            "KServe takes no feedback and has no sticky arms. With `--router` our server in "
            "front of it does, and has the report; so does `--target kubernetes`."
        )
    if options.cluster.router:
        yield (
            f"KServe makes a Service called `{spec.name}` for an InferenceGraph or an "
            "InferenceService of that name: if it split here before, delete that first."
        )
    split = split_of(spec, options)
    yield from _scheduling_notes(options, split)
    if split == "graph":
        yield (
            "The graph is called at its root, whatever the path, and does not say which arm "
            "answered. It passes on no headers unless the cluster's configuration lists them."
        )
    elif split == "gateway":
        yield (
            "The gateway carries out weights and mirrors: mirrors are an extended "
            "feature, "
            "which not every gateway has."
        )
    elif split == "canary" and options.kserve.mode == "knative":
        yield (
            "`canaryTrafficPercent` splits between the revision that was rolled out last and the "
            "newest: `canary.yaml` is applied once the first is ready."
        )


def _scheduling_notes(options: RenderOptions, split: str) -> Iterator[str]:
    placed = options.cluster.node_selector or options.cluster.tolerations
    if placed and options.kserve.mode == "knative":
        yield (
            "Knative refuses `nodeSelector` and `tolerations` unless its ConfigMap "
            "`config-features` enables `kubernetes.podspec-nodeselector` and "
            "`kubernetes.podspec-tolerations`."
        )
    if split == "graph" and placed and not places_graph(options):
        yield (
            f"KServe {options.kserve.version} does not say on which nodes the router of the graph "
            "runs: `node_selector` and `tolerations` are for the arms alone."
        )
    if split == "graph" and options.cluster.image_pull_secrets:
        yield (
            "An InferenceGraph has no pull secrets; its router runs the image that KServe was "
            "installed with."
        )


def after(spec: DeploymentSpec, options: RenderOptions, later: Mapping[str, str]) -> Iterator[str]:
    """Return the commands for when the manifests were applied.

    Args:
        spec: What was rendered.
        options: How.
        later: Manifests to be applied once the first are ready.
    """
    namespace = f" -n {options.cluster.namespace}" if options.cluster.namespace else ""
    split = split_of(spec, options)
    arms = arms_of(spec, options)
    names = [spec.name] if split == "canary" else [arm.isvc for arm in arms]
    ready = f"kubectl wait{namespace} --for=condition=ready --timeout=10m"
    yield f"{ready} {' '.join(f'isvc/{name}' for name in names)}"
    for file in later:
        yield f"kubectl apply{namespace} -f {{folder}}/{file}"
    if split == "graph":
        yield f"{ready} ig/{spec.name}"
