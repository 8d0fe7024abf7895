"""KServe: an InferenceService for each arm, and one of three ways to split between them.

    graph     an InferenceGraph with a Splitter; both modes, any number of arms
    canary    one InferenceService: `canaryTrafficPercent` in Knative mode, for two arms;
              `spec.canary` in Standard mode, from KServe 0.21 on
    gateway   an HTTPRoute of the Gateway API over the arms' Services; Standard mode; the only way
              to have shadows

None of them keeps a unit on its arm, says which arm answered, or takes feedback.

Behaviour is that of kserve/kserve v0.20.0: `pkg/apis/serving/v1beta1/` for refusals,
`pkg/controller/v1beta1/inferenceservice/reconcilers/` for what the modes do, `cmd/router/` for the
graph; and of `master` at aaac4e2 for what 0.21 adds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import SplitResult

from packaging.version import Version

from mlops.deployment.rendering import render_template
from mlops.deployment.targets import platform, sources
from mlops.deployment.targets.base import Refusal, Rendered, RenderOptions, refuse
from mlops.deployment.targets.kubernetes import kustomization
from mlops.deployment.targets.names import MAX_NAME, labels_of, models_of
from mlops.deployment.targets.own_image import OwnImage, own_image
from mlops.deployment.targets.weights import finest, too_small, whole
from mlops.spec.deployment import DeploymentSpec, check

_PLATFORM = "KServe"
#: What the platform counts by itself, and how it is scraped.
_METRICS = (
    "KServe's pods tell requests and latency of their model only: scrape those with the label "
    "`serving.kserve.io/inferenceservice` at `/metrics`, on port 8080 with our model server, and "
    "8082 with MLServer."
)
_OLDEST = "0.15"
# Since when the modes have their new names, `spec.canary` exists, and its shares have routes.
_NEW_NAMES, _CANARY, _CANARY_ROUTES = Version("0.16"), Version("0.20"), Version("0.21")
# Since when the Gateway API knows a share of a mirror.
_PARTIAL_MIRROR = Version("1.3")
_SERVERS = ("mlops", "mlserver")
_MODES = ("standard", "knative")
_SPLITS = ("graph", "canary", "gateway")
_SCHEMES = ("gs", "s3", "hdfs", "webhdfs", "hf", "http", "https", "pvc", "oci")
_GATEWAY = re.compile(r"([a-z0-9-]+)/([a-z0-9.-]+)")
_HOST = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)+")
_MOST_WEIGHT = 1_000_000
_SUFFIX = "-predictor"


@dataclass(frozen=True, slots=True)
class _Arm:
    """What the templates need of one arm or shadow.

    Attributes:
        label: Its name as a DNS label.
        isvc: Its InferenceService.
        version: Label of its model.
        uri: Where the model is.
        weight: Its share in the numbers of whoever splits.
        service: Service of its predictor.
        predictor: Name of the predictor within the InferenceService, empty for the usual one.
        percent: Percentage of a canary or mirror; None for all requests.
        canary_percent: Of the newest revision, in Knative mode; None for all.
        numerator: Out of 10000, where a mirror has no whole percentage; else None.
    """

    label: str
    isvc: str
    version: str
    uri: str
    weight: int = 0
    service: str = ""
    predictor: str = ""
    percent: int | None = None
    canary_percent: int | None = None
    numerator: int | None = None


class KServe:
    """Renders one model, an A/B test, A/B/n, a canary or shadows for KServe."""

    numbered = False

    def check(self, spec: DeploymentSpec, options: RenderOptions) -> None:
        """Refuse what KServe would refuse, and what it would silently ignore."""
        check(spec)
        refuse(f"`{spec.name}` cannot be deployed on KServe", _refusals(spec, options))

    def render(self, spec: DeploymentSpec, options: RenderOptions) -> Rendered:
        """Return the objects and what their reader should know."""
        self.check(spec, options)
        own = own_image(spec, options) if _server(options) == "mlops" else None
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
        return Rendered(
            files=files,
            notes=tuple(_notes(spec, options, own, image)),
            before_apply=own.build if own else (),
            after_apply=tuple(_after(spec, options, later)),
            beside=beside,
        )


def _server(options: RenderOptions) -> str:
    return options.cluster.model_server or _SERVERS[0]


def _split(spec: DeploymentSpec, options: RenderOptions) -> str:
    """Say who splits; nobody has to where there is one arm without a shadow."""
    if len(spec.arms) == 1 and not spec.shadows:
        return ""
    return options.kserve.split


def _values(spec: DeploymentSpec, options: RenderOptions, image: str) -> dict[str, Any]:
    own, cluster = options.kserve, options.cluster
    service_account = cluster.service_account
    if not service_account and cluster.storage_secret:
        service_account = f"{spec.name}-storage"
    gateway = _GATEWAY.fullmatch(own.gateway)
    return {
        "name": spec.name,
        "route": f"{spec.name}-split",
        "namespace": cluster.namespace,
        "experiment": spec.experiment,
        "mode": _mode(options),
        "runtime": f"{spec.name}-{_server(options)}",
        "server": _server(options),
        "image": image,
        "served": spec.name,
        "service_account": service_account,
        "storage_secret": cluster.storage_secret,
        "cpu": cluster.cpu,
        "memory": cluster.memory,
        "gateway": {"namespace": gateway[1], "name": gateway[2]} if gateway else None,
        "host": own.host,
        "canaries": [],
    }


def _mode(options: RenderOptions) -> str:
    new = Version(options.kserve.version) >= _NEW_NAMES
    if options.kserve.mode == "standard":
        return "Standard" if new else "RawDeployment"
    return "Knative" if new else "Serverless"


def _arms(spec: DeploymentSpec) -> list[_Arm]:
    labels = labels_of(spec)
    alone = len(spec.arms) == 1 and not spec.shadows
    found = []
    for name, model in models_of(spec).items():
        label = labels[name]
        isvc = spec.name if alone else f"{spec.name}-{label}"
        found.append(_Arm(label, isvc, model.label, model.source, service=isvc + _SUFFIX))
    return found


def _files(
    spec: DeploymentSpec, options: RenderOptions, values: dict[str, Any]
) -> tuple[dict[str, str], dict[str, str]]:
    """Return manifests to be applied, and those to be applied once the first are ready."""
    files = {}
    if options.cluster.storage_secret and not options.cluster.service_account:
        files["serviceaccount.yaml"] = _render("serviceaccount", values)
    files["servingruntime.yaml"] = _render("servingruntime", values)
    later: dict[str, str] = {}
    arms = _arms(spec)
    split = _split(spec, options)
    if split == "canary" and options.kserve.mode == "knative":
        stable, canary = _one_after_the_other(spec, arms)
        files["inferenceservice.yaml"] = _isvc(values, stable)
        later["canary.yaml"] = _isvc(values, canary)
    elif split == "canary":
        files["inferenceservice.yaml"] = _side_by_side(spec, arms, values)
    else:
        for arm in arms:
            name = "inferenceservice.yaml" if not split else f"inferenceservice-{arm.label}.yaml"
            files[name] = _isvc(values, arm)
    n = len(spec.arms)
    if split == "graph":
        shares = whole([arm.weight for arm in spec.arms], 100)
        weighted = [replace(a, weight=w) for a, w in zip(arms[:n], shares, strict=True)]
        files["inferencegraph.yaml"] = _render("inferencegraph", {**values, "arms": weighted})
    elif split == "gateway":
        shares = finest([arm.weight for arm in spec.arms], _MOST_WEIGHT)
        weighted = [replace(a, weight=w) for a, w in zip(arms[:n], shares, strict=True)]
        mirrors = [
            _mirror(arm, shadow.share) for arm, shadow in zip(arms[n:], spec.shadows, strict=True)
        ]
        files["httproute.yaml"] = _render(
            "httproute", {**values, "arms": weighted, "shadows": mirrors}
        )
    return files, later


def _isvc(values: dict[str, Any], arm: _Arm) -> str:
    return _render("inferenceservice", {**values, "arm": arm, "annotated": [arm]})


def _one_after_the_other(spec: DeploymentSpec, arms: list[_Arm]) -> tuple[_Arm, _Arm]:
    """Return the two states of one InferenceService: rolled out, then with the newer model."""
    share = whole([arm.weight for arm in spec.arms], 100)[1]
    return (
        replace(arms[0], isvc=spec.name),
        replace(arms[1], isvc=spec.name, canary_percent=share),
    )


def _side_by_side(spec: DeploymentSpec, arms: list[_Arm], values: dict[str, Any]) -> str:
    shares = whole([arm.weight for arm in spec.arms], 100)
    stable = replace(arms[0], isvc=spec.name, predictor=arms[0].label)
    canaries = [
        replace(arm, predictor=arm.label, percent=share)
        for arm, share in zip(arms[1:], shares[1:], strict=True)
    ]
    return _render(
        "inferenceservice", {**values, "arm": stable, "annotated": arms, "canaries": canaries}
    )


def _mirror(arm: _Arm, share: float) -> _Arm:
    if share == 1:
        return arm
    percent = round(share * 100)
    if abs(share * 100 - percent) < 1e-9:
        return replace(arm, percent=percent)
    return replace(arm, numerator=max(1, round(share * 10_000)))


def _render(kind: str, values: dict[str, Any]) -> str:
    return render_template(f"kserve/{kind}.yaml", values)


def _refusals(spec: DeploymentSpec, options: RenderOptions) -> Iterator[Refusal]:
    own = options.kserve
    settings = [
        *platform.one_among("kserve.mode", own.mode, _MODES),
        *platform.one_among("kserve.split", own.split, _SPLITS),
        *platform.one_among("cluster.model_server", _server(options), _SERVERS),
        *platform.version_of("kserve.version", own.version, _OLDEST),
        *platform.version_of("kserve.gateway_api", own.gateway_api, "1.0"),
        *platform.object_names(options),
    ]
    yield from settings
    if settings:
        return
    yield from platform.no_router(spec, _PLATFORM)
    yield from platform.no_monitoring(options, _PLATFORM, _METRICS)
    yield from sources.refusals(spec, _unfetchable)
    yield from _name_refusals(spec)
    split = _split(spec, options)
    if spec.shadows and split != "gateway":
        yield Refusal(
            "KServe itself has no shadows",
            "`--traffic-by gateway` mirrors by an HTTPRoute; `--target kubernetes` has shadows "
            "too.",
        )
    if split in ("graph", "canary"):
        yield from _percent_refusals(spec)
    if split == "canary":
        yield from _canary_refusals(spec, options)
    if split == "gateway":
        yield from _gateway_refusals(spec, options)


def _unfetchable(parts: SplitResult) -> Refusal | None:
    hint = "Keep models in s3:// or gs://."
    if parts.scheme in _SCHEMES:
        return None
    return sources.only_mlflow(parts, hint) or Refusal(
        f"has the scheme `{parts.scheme}`, which KServe's storage initializer does not know", hint
    )


def _name_refusals(spec: DeploymentSpec) -> Iterator[Refusal]:
    if not spec.name[0].isalpha():
        yield Refusal(
            f"the name `{spec.name}` does not begin with a letter, as KServe's names do",
            "Give another name with `--name`.",
        )
    if any(True for _ in sources.refusals(spec, _unfetchable)):
        return
    for arm in _arms(spec):
        if len(arm.service) > MAX_NAME:
            yield Refusal(
                f"the Service `{arm.service}` would have {len(arm.service)} characters, more than "
                f"{MAX_NAME}",
                "Give shorter names with `--name` and `--arm NAME=REF`.",
            )


def _percent_refusals(spec: DeploymentSpec) -> Iterator[Refusal]:
    weights = [arm.weight for arm in spec.arms]
    for index in too_small(weights, 100):
        yield Refusal(
            f"`{spec.arms[index].name}` gets {weights[index] * 100:.3g} % of the traffic, and "
            "KServe splits by whole percentages",
            "Give it 1 % or 0; `--traffic-by gateway` and `--target kubernetes` take smaller "
            "shares.",
        )


def _canary_refusals(spec: DeploymentSpec, options: RenderOptions) -> Iterator[Refusal]:
    own = options.kserve
    if own.mode == "knative":
        if len(spec.arms) != 2:
            yield Refusal(
                f"`canaryTrafficPercent` splits between two revisions, and there are "
                f"{len(spec.arms)} arms",
                "`--traffic-by graph` takes any number.",
            )
    elif Version(own.version) < _CANARY:
        yield Refusal(
            f"KServe {own.version} ignores `canaryTrafficPercent` in Standard mode, and has no "
            "`spec.canary`",
            "Use `--traffic-by graph`, or `--mode knative`.",
        )
    elif Version(own.version) < _CANARY_ROUTES:
        yield Refusal(
            f"KServe {own.version} starts the pods of `spec.canary`, but no route of its sends "
            f"them "
            "traffic before 0.21",
            "Use `--traffic-by graph`, or upgrade and say `--platform-version 0.21`.",
        )


def _gateway_refusals(spec: DeploymentSpec, options: RenderOptions) -> Iterator[Refusal]:
    own = options.kserve
    if own.mode != "standard":
        yield Refusal(
            "a split by HTTPRoute needs the Services of Standard mode", "Use `--mode standard`."
        )
    if not _GATEWAY.fullmatch(own.gateway):
        yield Refusal(f"`kserve.gateway` is `{own.gateway}`", "Write `NAMESPACE/NAME`.")
    if not own.host:
        yield Refusal(
            "the route needs a host name of its own", "Set `host` of `[kserve]` in mlops.toml."
        )
    elif not _HOST.fullmatch(own.host):
        yield Refusal(f"`kserve.host` is `{own.host}`", "Write a host name.")
    for index in too_small([arm.weight for arm in spec.arms], _MOST_WEIGHT):
        yield Refusal(
            f"the share of `{spec.arms[index].name}` is below one in a million",
            "Give it more, or 0.",
        )
    partial = [shadow.name for shadow in spec.shadows if shadow.share < 1]
    if partial and Version(own.gateway_api) < _PARTIAL_MIRROR:
        yield Refusal(
            f"Gateway API {own.gateway_api} would mirror every request to `{partial[0]}`: it knows "
            "no percentage before 1.3",
            "Upgrade it, or give the shadow all requests.",
        )


def _notes(
    spec: DeploymentSpec, options: RenderOptions, own: OwnImage | None, image: str
) -> Iterator[str]:
    yield "KServe is under Apache-2.0."
    if own is not None:
        yield from own.notes
    else:
        yield from platform.image_notes(spec, options, image)
    if not options.cluster.service_account and not options.cluster.storage_secret:
        yield (
            "KServe fetches the models without credentials. Name a Secret (`storage_secret` of "
            "`[cluster]`; `mlops stores secret --for kserve` prints one) or a ServiceAccount "
            "(`service_account`)."
        )
    if len(spec.arms) > 1:
        yield (
            "KServe takes no feedback and keeps nobody on one arm. `--target kubernetes` has "
            "feedback, sticky arms and the report."
        )
    split = _split(spec, options)
    if split == "graph":
        yield (
            "The graph is called at its root, whatever the path, and does not say which arm "
            "answered. It passes on no headers unless the cluster's configuration lists them."
        )
    elif split == "gateway":
        yield (
            "Weights and mirrors are for the gateway to carry out: mirrors are an extended "
            "feature, "
            "which not every gateway has."
        )
    elif split == "canary" and options.kserve.mode == "knative":
        yield (
            "`canaryTrafficPercent` splits between the revision that was rolled out last and the "
            "newest: `canary.yaml` is applied once the first is ready."
        )


def _after(spec: DeploymentSpec, options: RenderOptions, later: dict[str, str]) -> Iterator[str]:
    namespace = f" -n {options.cluster.namespace}" if options.cluster.namespace else ""
    split = _split(spec, options)
    names = [spec.name] if split in ("", "canary") else [arm.isvc for arm in _arms(spec)]
    ready = f"kubectl wait{namespace} --for=condition=ready --timeout=10m"
    yield f"{ready} {' '.join(f'isvc/{name}' for name in names)}"
    for file in later:
        yield f"kubectl apply{namespace} -f {{folder}}/{file}"
    if split == "graph":
        yield f"{ready} ig/{spec.name}"
