"""The bundled server in front of a platform's model servers, as `--router` asks for.

The bundled server, as the `kubernetes` target renders it, draws the arm, calls its model server by
its address in the cluster, and has all its features: feedback that is credited to the arm that
answered, sticky arms, policies, shadows off the path, any number of arms and any share, the report.

Each arm and each shadow is one model on the platform, with no split of its own, and named after
what it is: where an arm gets another model that is another object, and the server moves to it
with the new revision. Updated in place, it would for a while be counted as the old one.

The revision that the server reads names the models as before, and where each is called. So the
same models on another platform are the same experiment.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from mlops.deployment.targets import kubernetes, secrets
from mlops.deployment.targets.base import Refusal, Rendered, RenderOptions
from mlops.deployment.targets.egress import ModelServers
from mlops.deployment.targets.names import labels_of, models_of
from mlops.deployment.targets.own_image import OwnImage, own_image
from mlops.spec.deployment import DeploymentSpec
from mlops.spec.model import ModelVersion

#: The label that objects behind the bundled server carry, with the digest of their model.
LABEL = "mlops/model-digest"
_DIGEST = 6
_IMAGE = "`router_image` of `[cluster]`"


@dataclass(frozen=True, slots=True)
class Behind:
    """What a platform runs behind the bundled server.

    Attributes:
        platform: Its name, human-readable.
        kind: The kind of its objects, for kubectl.
        servers: Where its model servers are for a NetworkPolicy.
        endpoints: Name of each arm and shadow on the platform to the REF by which it is called.
        rendered: Its objects; `after_apply` waits for them.
        image: The image of the model servers, if the bundled server is what they run.
    """

    platform: str
    kind: str
    servers: ModelServers
    endpoints: Mapping[str, str]
    rendered: Rendered
    image: OwnImage | None


def is_on_platform(model: ModelVersion) -> bool:
    """Whether the platform is to load a model; a server that runs already is only called."""
    return not model.endpoint


def digest(model: ModelVersion) -> str:
    """Return what distinguishes a model from earlier ones of an arm of the same name."""
    return hashlib.sha256("\0".join(model.identity).encode()).hexdigest()[:_DIGEST]


def behind_names(spec: DeploymentSpec) -> dict[str, str]:
    """Name the models that the platform is to run.

    Returns:
        Name of the arm or shadow to the name of its object, in the spec's order.
    """
    labels = labels_of(spec)
    return {
        name: f"{spec.name}-{labels[name]}-{digest(model)}"
        for name, model in models_of(spec).items()
        if is_on_platform(model)
    }


def address(service: str, options: RenderOptions) -> str:
    """Return the host name by which pods of the deployment's namespace reach a Service.

    Without the cluster's domain, which may be other than `cluster.local`.

    >>> address("wine", RenderOptions())
    'wine'
    """
    namespace = options.cluster.namespace
    return f"{service}.{namespace}.svc" if namespace else service


def refusals(spec: DeploymentSpec, options: RenderOptions) -> Iterator[Refusal]:
    """Say why the bundled server cannot be in front."""
    if not any(map(is_on_platform, spec.models)):
        yield Refusal(
            "every arm is a server that runs already, so the platform has nothing to run",
            "`--target kubernetes` calls them as arms.",
        )
    # Where its models are fetched from is left to the platform.
    yield from kubernetes.refusals(_routed(spec, _asked(spec)), _its_own(options))


def put_in_front(spec: DeploymentSpec, options: RenderOptions, behind: Behind) -> Rendered:
    """Return what the platform runs and the bundled server in front of it."""
    routed = _routed(spec, behind.endpoints)
    own = _its_own(options)
    image = behind.image or own_image(routed, own, _IMAGE)
    files = kubernetes.server_files(routed, own, image.name, behind.servers)
    seen = kubernetes.watching(routed, own, files["service.yaml"])
    platform = behind.rendered
    together = {**platform.files, **files, **seen.files}
    named = " ".join(f"-f {{folder}}/{name}" for name in platform.files)
    extra = {} if behind.image else image.files
    rolled_out, *call = kubernetes.after(routed, own)
    return Rendered(
        files=together,
        notes=(
            *platform.notes,
            *(() if behind.image else image.notes),
            *_notes(spec, behind),
            *kubernetes.notes(routed, own, behind.servers),
            *seen.notes,
        ),
        # A new arm gets traffic as soon as the bundled server is there.
        first=tuple(platform.files),
        image=platform.image,
        router_image="" if behind.image else image.name,
        before_apply=(
            *platform.before_apply,
            *(() if behind.image else image.build),
            *secrets.commands(routed, own),
            f"kubectl apply {named}",
            *platform.after_apply,
        ),
        after_apply=(rolled_out, _tidy(spec, options, behind), *call),
        beside={
            **platform.beside,
            **extra,
            **seen.beside,
            "kustomization.yaml": kubernetes.kustomization(list(together)),
        },
    )


def _its_own(options: RenderOptions) -> RenderOptions:
    """Return the server's options: it has no models to fetch, and so no credentials."""
    cluster = replace(
        options.cluster,
        image=options.cluster.router_image,
        service_account="",
        storage_secret="",
    )
    return replace(options, cluster=cluster, details={})


def _routed(spec: DeploymentSpec, endpoints: Mapping[str, str]) -> DeploymentSpec:
    def asked(name: str, model: ModelVersion) -> ModelVersion:
        return replace(model, remote=endpoints[name]) if name in endpoints else model

    return replace(
        spec,
        arms=tuple(replace(arm, model=asked(arm.name, arm.model)) for arm in spec.arms),
        shadows=tuple(replace(each, model=asked(each.name, each.model)) for each in spec.shadows),
    )


def _asked(spec: DeploymentSpec) -> dict[str, str]:
    """Give every arm a placeholder endpoint, before its own is known."""
    return dict.fromkeys(behind_names(spec), "seldon+http://arm")


def _tidy(spec: DeploymentSpec, options: RenderOptions, behind: Behind) -> str:
    """Return the command that removes the models of earlier revisions."""
    namespace = f" -n {options.cluster.namespace}" if options.cluster.namespace else ""
    models = sorted({digest(model) for model in spec.models if is_on_platform(model)})
    wanted = f"app.kubernetes.io/part-of={spec.name},{LABEL},{LABEL} notin ({','.join(models)})"
    return f"kubectl delete{namespace} {behind.kind} -l '{wanted}'  # models of earlier revisions"


def _notes(spec: DeploymentSpec, behind: Behind) -> Iterator[str]:
    yield (
        f"The bundled server splits, before {behind.platform}: call the Service `{spec.name}`. "
        "Requests sent directly to a model server are in no statistic."
    )
