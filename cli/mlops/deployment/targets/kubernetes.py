"""Plain Kubernetes: the bundled server as a Deployment, with all features of the local target.

The revision is a ConfigMap named after its content, the models are pulled by an init step, and the
pod runs as any user with a read-only root, as OpenShift wants it. With the journal in PostgreSQL
the server has replicas, a rolling update, an autoscaler and a disruption budget; with SQLite it is
one pod that is replaced, because two cannot share the file.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any
from urllib.parse import SplitResult

from mlops.deployment.prometheus.files import MONITORING, Watching, faults, in_cluster
from mlops.deployment.rollouts import ROLLOUTS, rollout_files
from mlops.deployment.targets import addresses, egress, pods, secrets, sources
from mlops.deployment.targets.base import Platform, Refusal, Rendered, RenderOptions, refuse
from mlops.deployment.targets.egress import ModelServers
from mlops.deployment.targets.names import (
    MAX_NAME,
    begins_with_letter,
    label_notes,
    labels_of,
    models_of,
)
from mlops.deployment.targets.own_image import own_image
from mlops.deployment.yaml_templates import render_template
from mlops.linting.rules.general import MAX_DATA
from mlops.spec.deployment import DeploymentSpec, check, to_dict
from mlops.spec.model import ModelVersion
from mlops.spec.ramp import Ramp

#: What the server reads in the pod: the revision and how to serve it.
CONFIG_VERSION = 1
# Of the Service, for HTTP; and where a pod listens for gRPC.
_HTTP_PORT, _GRPC_PORT = 80, 8081
# For the key in the ConfigMap.
_ROOM = len("revision.json\n")
_MODES = ("plain", "openshift")
_FETCHED = ("s3", "gs")
_GATEWAY = re.compile(r"([a-z0-9-]+)/([a-z0-9.-]+)")
_HOST = re.compile(r"(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)+")
_ARM = "arm-"


class Kubernetes:
    """Renders the bundled server for any Kubernetes."""

    numbered = True
    pins = True
    platform = Platform(own_server=True)

    @staticmethod
    def setting_refusals(options: RenderOptions) -> Iterator[Refusal]:
        """Say which settings are wrong, whatever is deployed."""
        return setting_refusals(options)

    def check(self, spec: DeploymentSpec, options: RenderOptions) -> None:
        """Refuse what no pod could fetch, and settings that are not valid."""
        check(spec)
        refuse(
            f"`{spec.name}` cannot be deployed on Kubernetes",
            [
                *refusals(spec, options),
                *_model_server_refusals(options),
            ],
        )

    def render(self, spec: DeploymentSpec, options: RenderOptions) -> Rendered:
        """Return the objects, the image's Dockerfile, and what the reader should know."""
        self.check(spec, options)
        image = own_image(spec, options)
        files = server_files(spec, options, image.name)
        seen = watching(spec, options, files["service.yaml"])
        files |= seen.files
        beside = {**image.files, **seen.beside, "kustomization.yaml": kustomization(list(files))}
        return Rendered(
            files=files,
            notes=(*image.notes, *notes(spec, options), *seen.notes),
            before_apply=(*image.build, *secrets.commands(spec, options)),
            after_apply=after(spec, options),
            beside=beside,
            image=image.name,
        )


def server_files(
    spec: DeploymentSpec, options: RenderOptions, image: str, behind: ModelServers | None = None
) -> dict[str, str]:
    """Return the manifests of the bundled server.

    Args:
        spec: What it serves.
        options: How.
        image: What it runs from.
        behind: What it is in front of; None if it loads the models itself.

    Returns:
        File name to text.
    """
    values = {
        **server_values(spec, options, image),
        "in_front": behind is not None,
        "limit_egress": options.kubernetes.limit_egress,
        "egress": egress.rules_of(spec, options, behind),
    }
    return {
        f"{kind}.yaml": render_template(f"kubernetes/{kind}.yaml", values)
        for kind in _kinds(options)
    }


def kustomization(files: list[str]) -> str:
    """Return the file by which `kubectl apply -k` takes exactly these."""
    return render_template("kubernetes/kustomization.yaml", {"files": files})


def watching(spec: DeploymentSpec, options: RenderOptions, service: str) -> Watching:
    """Return what `--with` adds about the bundled server; nothing where it was not asked for.

    Args:
        spec: What is deployed.
        options: How.
        service: Manifest of the Service in front of the bundled server.
    """
    extras, open_to_all = options.cluster.extras, options.kubernetes.insecure_no_auth
    seen, secret = Watching({}, {}, ()), _key_secret(spec, options)
    if MONITORING in extras:
        secured = options.monitoring.secured and not open_to_all
        seen = in_cluster(spec, replace(options.monitoring, secured=secured), service, secret)
    if ROLLOUTS in extras:
        token, place = "" if open_to_all else secret, options.cluster.namespace
        files = rollout_files(spec.name, place, options.monitoring, token)
        seen = replace(seen, beside={**seen.beside, **files})
    return seen


def _key_secret(spec: DeploymentSpec, options: RenderOptions) -> str:
    return options.kubernetes.key_secret or f"{spec.name}-mlops"


def _kinds(options: RenderOptions) -> Iterator[str]:
    yield "configmap"
    if not options.postgresql:
        yield "persistentvolumeclaim"
    yield from ("deployment", "service", "networkpolicy", "poddisruptionbudget")
    if options.postgresql:
        yield "horizontalpodautoscaler"
    if options.kubernetes.host:
        yield "httproute" if options.kubernetes.gateway else "ingress"


def configmap(spec: DeploymentSpec, options: RenderOptions, image: str) -> str:
    """Return the manifest of what the bundled component in another server's graph reads."""
    values = {**server_values(spec, options, image), "in_graph": True}
    return render_template("kubernetes/configmap.yaml", values)


def server_values(spec: DeploymentSpec, options: RenderOptions, image: str) -> dict[str, Any]:
    """Return what the templates of the bundled server need."""
    document = config(spec, options)
    cluster, own = options.cluster, options.kubernetes
    labels = labels_of(spec)
    versions = {name: model.label for name, model in models_of(spec).items()}
    gateway = _GATEWAY.fullmatch(own.gateway)
    return {
        "name": spec.name,
        "namespace": cluster.namespace,
        "revision": options.revision,
        "experiment": spec.experiment,
        "reward": spec.reward,
        "arms": [{"label": labels[n], "version": version} for n, version in versions.items()],
        "postgresql": options.postgresql,
        "openshift": own.mode == "openshift",
        "service_account": cluster.service_account,
        "image": image,
        "fetches": bool(_fetched(spec)),
        "tokens": _tokens(spec),
        "tracking_uri": options.tracking_uri if _needs_tracking(spec) else "",
        "storage_secret": cluster.storage_secret,
        "cpu": cluster.cpu,
        "memory": cluster.memory,
        "ephemeral_storage": cluster.ephemeral_storage,
        "scheduling": pods.scheduling(cluster),
        "journal_secret": own.journal_secret or f"{spec.name}-journal",
        "key_secret": _key_secret(spec, options),
        "keys_secret": own.keys_secret or f"{spec.name}-keys",
        "config": f"{spec.name}-{_digest(document)}",
        "document": document,
        "claim": f"{spec.name}-journal",
        "volume": own.volume,
        "replicas": own.replicas,
        "max_replicas": own.max_replicas,
        "allow_from": _callers(options),
        "host": own.host,
        "gateway": {"namespace": gateway[1], "name": gateway[2]} if gateway else None,
        "ingress_class": own.ingress_class,
        "tls_secret": own.tls_secret,
        "grpc_port": own.grpc_port,
        "grpc_target": _GRPC_PORT,
    }


def config(spec: DeploymentSpec, options: RenderOptions) -> dict[str, Any]:
    """Return what the pod reads: the revision as JSON data, and how much of it is kept."""
    features = options.features
    return {
        "schema_version": CONFIG_VERSION,
        "revision": options.revision,
        **({} if options.in_ledger else {"in_ledger": False}),
        "features": features if isinstance(features, str) else list(features),
        "journal_max_mb": options.journal_max_mb,
        **({} if options.client_ids else {"client_ids": False}),
        **({"grpc_port": _GRPC_PORT} if options.kubernetes.grpc_port else {}),
        **({"workers": options.workers} if options.workers else {}),
        **({"insecure_no_auth": True} if options.kubernetes.insecure_no_auth else {}),
        **({"sinks": [json.loads(sink) for sink in options.sinks]} if options.sinks else {}),
        **({"hashed": list(options.hashed)} if options.hashed else {}),
        **({"dropped": list(options.dropped)} if options.dropped else {}),
        **({"watch_changed": list(options.watch_changed)} if options.watch_changed else {}),
        **({"season": options.season} if options.season else {}),
        **({"issuer": asdict(options.auth)} if options.auth.issuer else {}),
        "spec": to_dict(spec),
    }


def _digest(document: Mapping[str, Any]) -> str:
    text = json.dumps(document, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _fetched(spec: DeploymentSpec) -> list[ModelVersion]:
    """Return the models that the bundled server loads itself."""
    return [model for model in spec.models if not model.endpoint]


def _tokens(spec: DeploymentSpec) -> list[str]:
    """Return the variables that endpoints have their tokens in."""
    return sorted({model.endpoint.token for model in spec.models if model.endpoint} - {""})


def _needs_tracking(spec: DeploymentSpec) -> bool:
    return any(model.source.startswith("mlflow-artifacts:") for model in _fetched(spec))


def _callers(options: RenderOptions) -> list[str]:
    own = options.kubernetes
    gateway = _GATEWAY.fullmatch(own.gateway) if own.host else None
    found = [gateway[1]] if gateway else []
    if MONITORING in options.cluster.extras and options.monitoring.namespace:
        found.append(options.monitoring.namespace)
    return list(dict.fromkeys([*found, *own.allow_from]))


def _unfetchable(parts: SplitResult, options: RenderOptions) -> Refusal | None:
    if parts.scheme in _FETCHED:
        return None
    if parts.scheme == "mlflow-artifacts" and options.tracking_uri:
        return None
    return sources.only_mlflow(parts, _REACHABLE) or Refusal(
        f"has the scheme `{parts.scheme}`, for which our image has no client", _REACHABLE
    )


_REACHABLE = (
    "Keep models in s3:// or gs://, or behind an MLflow server that serves artifacts "
    "(`uri` of `[tracking]`)."
)


def refusals(spec: DeploymentSpec, options: RenderOptions) -> Iterator[Refusal]:
    """Say why the bundled server cannot be deployed."""
    yield from _name_refusals(spec)
    yield from sources.refusals(
        spec, lambda parts: _unfetchable(parts, options), lambda model: not model.endpoint
    )
    if _needs_tracking(spec):
        yield from addresses.tracking_refusals(options)
    yield from sources.disk_refusals(spec, options, together=True)
    yield from _size_refusals(spec, options)
    yield from setting_refusals(options)
    yield from _access_refusals(options)


def _name_refusals(spec: DeploymentSpec) -> Iterator[Refusal]:
    if not begins_with_letter(spec.name):
        yield Refusal(
            f"its Service would be called `{spec.name}`, and a Service's name begins with a letter",
            "Give another name with `--name`.",
        )
    for name, label in labels_of(spec).items():
        # Which model an arm has is in an annotation that is named after it.
        if len(f"{_ARM}{label}") > MAX_NAME:
            yield Refusal(
                f"the name `{name}` has more than the {MAX_NAME - len(_ARM)} characters that fit "
                "into an annotation",
                "Give it a shorter one with `--arm NAME=REF`.",
            )


def _size_refusals(spec: DeploymentSpec, options: RenderOptions) -> Iterator[Refusal]:
    size = len(json.dumps(config(spec, options), separators=(",", ":"))) + _ROOM
    if size > MAX_DATA:
        what = f"a cost matrix of {len(spec.costs):,} costs" if spec.costs else "so many names"
        yield Refusal(
            f"with {what} its ConfigMap has {size:,} bytes, and Kubernetes takes {MAX_DATA:,}",
            "Leave out right predictions that cost 0, or compute the reward where the labels are "
            "and send it (`reward: given`)."
            if spec.costs
            else "Keep fewer features by name, or all of them.",
        )


def _model_server_refusals(options: RenderOptions) -> Iterator[Refusal]:
    server = options.cluster.model_server
    if server not in ("", "mlops"):
        yield Refusal(
            f"the model server `{server}` has no router, and this target runs the bundled one",
            "Leave `--model-server` out, or use `--target kserve --router`.",
        )


def setting_refusals(options: RenderOptions) -> Iterator[Refusal]:
    """Say which settings are wrong, whatever is deployed."""
    own = options.kubernetes
    if own.mode not in _MODES:
        yield Refusal(f"there is no mode `{own.mode}` of Kubernetes", "Use `plain` or `openshift`.")
    yield from pods.refusals(options)
    yield from pods.quantity("kubernetes.volume", own.volume)
    if own.gateway and not _GATEWAY.fullmatch(own.gateway):
        yield Refusal(
            f"`kubernetes.gateway` is `{own.gateway}`", "Write `NAMESPACE/NAME` of a Gateway."
        )
    if own.host and not _HOST.fullmatch(own.host):
        yield Refusal(f"`kubernetes.host` is `{own.host}`", "Write a host name.")
    if own.gateway and not own.host:
        yield Refusal("a Gateway is named and no host", "Set `host` of `[kubernetes]` too.")
    if own.tls_secret and (own.gateway or not own.host):
        yield Refusal(
            "`kubernetes.tls_secret` is the certificate of an Ingress, and there is none",
            "Set `host` of `[kubernetes]`, without `gateway`: a Gateway has its own certificates.",
        )
    if own.grpc_port == _HTTP_PORT:
        yield Refusal(
            f"`kubernetes.grpc_port` is {own.grpc_port}",
            "Write a port of the Service other than 80, which is HTTP's, such as 8081.",
        )
    if own.replicas > own.max_replicas:
        yield Refusal(
            f"`kubernetes.replicas` is {own.replicas}, more than the {own.max_replicas} of "
            "`kubernetes.max_replicas`",
            "Raise `max_replicas`, or ask for fewer.",
        )
    yield from pods.object_names(
        ("kubernetes.key_secret", own.key_secret),
        ("kubernetes.keys_secret", own.keys_secret),
        ("kubernetes.journal_secret", own.journal_secret),
        ("kubernetes.tls_secret", own.tls_secret),
        *(("kubernetes.allow_from", namespace) for namespace in own.allow_from),
    )
    yield from egress.refusals(options)
    yield from (Refusal(*fault) for fault in faults(options.monitoring))


def _access_refusals(options: RenderOptions) -> Iterator[Refusal]:
    own = options.kubernetes
    if own.insecure_no_auth and options.auth.issuer:
        yield Refusal(
            "`kubernetes.insecure_no_auth` needs no key, and `[auth]` says who may call",
            "Leave one of them out.",
        )
    if options.auth.issuer and not options.auth.jwks.startswith("https://"):
        yield Refusal(
            f"`auth.jwks` is `{options.auth.jwks}`, which pods cannot read",
            "Write the https:// URL of the issuer's keys.",
        )


def notes(
    spec: DeploymentSpec, options: RenderOptions, behind: ModelServers | None = None
) -> Iterator[str]:
    """Say what the reader should know about the bundled server."""
    if options.kubernetes.grpc_port and options.kubernetes.host:
        yield (
            f"`{options.kubernetes.host}` leads to HTTP. gRPC is at port "
            f"{options.kubernetes.grpc_port} of the Service, inside the cluster; a GRPCRoute or an "
            "Ingress of your own can lead there."
        )
    if behind is None:
        # Where the server is in front, the platform's own notes have them.
        yield from label_notes(spec)
    if spec.ramp is not None:
        yield from _who_moves(spec, spec.ramp, options)
    if not options.postgresql:
        yield (
            "The journal is a SQLite file on a volume: one replica, strategy Recreate, and no "
            "autoscaler, as two pods cannot share it. A new revision means some seconds without "
            "answers. With PostgreSQL (`journal_secret` of `[kubernetes]`) it rolls and scales."
        )
    named = options.cluster.storage_secret or options.cluster.service_account
    if _fetched(spec) and not named:
        yield (
            "The pods fetch models without credentials. Name a Secret (`storage_secret` of "
            "`[cluster]`; `mlops stores secret --for kubernetes` prints one) or a ServiceAccount "
            "with rights in the cloud (`service_account`)."
        )
    if options.kubernetes.limit_egress:
        rules = egress.rules_of(spec, options, behind)
        yield (
            f"The pods may call {', '.join(['DNS', *dict.fromkeys(map(str, rules))])}, and nothing "
            "else; `allow_to` of `[kubernetes]` adds to it."
        )
    for token in _tokens(spec):
        yield (
            f"The token of an endpoint is read from the key `{token}` of the Secret "
            f"`{_key_secret(spec, options)}`."
        )
    yield _who_may_call(spec, options)
    if options.kubernetes.host and not options.kubernetes.gateway:
        if not options.kubernetes.allow_from:
            yield (
                "The namespace of the Ingress controller must be in `allow_from` of "
                "`[kubernetes]`, or the NetworkPolicy keeps it out."
            )
        if not options.kubernetes.tls_secret:
            yield (
                "The Ingress names no certificate: unless its controller has one for "
                f"`{options.kubernetes.host}`, tokens and rows travel in the clear. `tls_secret` "
                "of `[kubernetes]` names a Secret with one."
            )


def _who_moves(spec: DeploymentSpec, ramp: Ramp, options: RenderOptions) -> Iterator[str]:
    if not options.in_ledger:
        yield (
            "`mlops ramp` moves what `--apply` has brought live, and not files that are only "
            "rendered. There the ramp waits until its shares are changed in them, by what "
            "`/verdict.json` says, or until Argo Rollouts or Flagger does (`--with rollouts`)."
        )
    elif ramp.auto:
        yield (
            "`auto` of the ramp is for deployments of a machine: no process of the cluster moves "
            f"it. Run `mlops ramp {spec.name} --url URL` on a schedule, from CI or a CronJob."
        )


def _who_may_call(spec: DeploymentSpec, options: RenderOptions) -> str:
    if options.kubernetes.insecure_no_auth:
        return (
            "All who reach the pods may call: `insecure_no_auth` of `[kubernetes]` is on. The "
            "NetworkPolicy lets in what runs in the namespace and in `allow_from`."
        )
    keys = options.kubernetes.keys_secret or f"{spec.name}-keys"
    issued = ", a token of the issuer in `[auth]`" if options.auth.issuer else ""
    return (
        f"Callers send the `token` of the Secret `{_key_secret(spec, options)}`, a key of the "
        f"Secret `{keys}` (`mlops keys create`){issued}. A pod with none of these does not start."
    )


def after(spec: DeploymentSpec, options: RenderOptions) -> tuple[str, ...]:
    """Return the commands for when the manifests were applied."""
    namespace = f" -n {options.cluster.namespace}" if options.cluster.namespace else ""
    commands = [f"kubectl rollout status{namespace} deployment/{spec.name}"]
    if not options.kubernetes.host:
        commands.append(f"kubectl port-forward{namespace} service/{spec.name} 8080:80")
    return tuple(commands)
