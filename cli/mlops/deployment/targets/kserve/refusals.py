"""What KServe would refuse or silently ignore, reported before anything is written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import SplitResult

from packaging.version import Version

from mlops.deployment.targets import platform, pods, router, sources
from mlops.deployment.targets.apportionment import too_small
from mlops.deployment.targets.base import Refusal, RenderOptions
from mlops.deployment.targets.kserve.arms import SERVERS, arms_of, server_of, split_of
from mlops.deployment.targets.names import MAX_NAME
from mlops.spec.deployment import DeploymentSpec

#: The form of a Gateway's name, namespace first.
GATEWAY = re.compile(r"([a-z0-9-]+)/([a-z0-9.-]+)")
#: What the weights of a route may sum to.
MOST_WEIGHT = 1_000_000
#: The platform's own metrics, and how they are scraped.
_METRICS = (
    "KServe's pods report requests and latency of their model only: scrape those with the label "
    "`serving.kserve.io/inferenceservice` at `/metrics`, on port 8080 with our model server, and "
    "8082 with MLServer."
)
_OLDEST = "0.15"
# Since when `spec.canary` exists, and since when its shares have routes.
_CANARY, _CANARY_ROUTES = Version("0.20"), Version("0.21")
# Since when the Gateway API knows a share of a mirror.
_PARTIAL_MIRROR = Version("1.3")
_MODES = ("standard", "knative")
_SPLITS = ("graph", "canary", "gateway")
_SCHEMES = ("gs", "s3", "hdfs", "webhdfs", "hf", "http", "https", "pvc", "oci")
_HOST = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)+")


def setting_refusals(options: RenderOptions) -> Iterator[Refusal]:
    """Say which settings are wrong, whatever is deployed."""
    own = options.kserve
    yield from platform.one_among("kserve.mode", own.mode, _MODES)
    yield from platform.one_among("kserve.split", own.split, _SPLITS)
    yield from platform.version_of("kserve.version", own.version, _OLDEST)
    yield from platform.version_of("kserve.gateway_api", own.gateway_api, "1.0")
    yield from pods.refusals(options)


def refusals(spec: DeploymentSpec, options: RenderOptions) -> Iterator[Refusal]:
    """Yield why a spec cannot be deployed this way."""
    settings = [
        *platform.one_among("cluster.model_server", server_of(options), SERVERS),
        *setting_refusals(options),
    ]
    yield from settings
    if settings:
        return
    yield from sources.refusals(spec, _unfetchable, router.is_on_platform)
    yield from sources.disk_refusals(spec, options, together=False)
    yield from _name_refusals(spec, options)
    if options.cluster.router:
        yield from _router_refusals(spec, options)
        return
    yield from platform.no_router(spec, "KServe")
    yield from platform.no_monitoring(options, "KServe", _METRICS)
    split = split_of(spec, options)
    if spec.shadows and split != "gateway":
        yield Refusal(
            "KServe itself has no shadows",
            "`--traffic-by gateway` mirrors by an HTTPRoute; `--router` and `--target kubernetes` "
            "have shadows too.",
        )
    if split in ("graph", "canary"):
        yield from _percent_refusals(spec)
    if split == "canary":
        yield from _canary_refusals(spec, options)
    if split == "gateway":
        yield from _gateway_refusals(spec, options)


def _router_refusals(spec: DeploymentSpec, options: RenderOptions) -> Iterator[Refusal]:
    if options.kserve.mode == "knative" and not options.cluster.namespace:
        yield Refusal(
            "Knative's gateway routes to arms by a host name with the namespace in it, which is "
            "not known",
            "Name it with `--namespace`, or use `--mode standard`.",
        )
    yield from router.refusals(spec, options)


def _unfetchable(parts: SplitResult) -> Refusal | None:
    hint = "Keep models in s3:// or gs://."
    if parts.scheme in _SCHEMES:
        return None
    return sources.only_mlflow(parts, hint) or Refusal(
        f"has the scheme `{parts.scheme}`, which KServe's storage initializer does not know", hint
    )


def _name_refusals(spec: DeploymentSpec, options: RenderOptions) -> Iterator[Refusal]:
    if not spec.name[0].isalpha():
        yield Refusal(
            f"the name `{spec.name}` does not begin with a letter, as KServe's names do",
            "Give another name with `--name`.",
        )
    if any(True for _ in sources.refusals(spec, _unfetchable, router.is_on_platform)):
        return
    for arm in arms_of(spec, options):
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
            "Give it 1 % or 0; `--traffic-by gateway`, `--router` and `--target kubernetes` take "
            "smaller shares.",
        )


def _canary_refusals(spec: DeploymentSpec, options: RenderOptions) -> Iterator[Refusal]:
    own = options.kserve
    if own.mode == "knative":
        if len(spec.arms) != 2:
            yield Refusal(
                f"`canaryTrafficPercent` splits between two revisions, and there are "
                f"{len(spec.arms)} arms",
                "`--traffic-by graph` takes any number, and so does `--router`.",
            )
    elif Version(own.version) < _CANARY:
        yield Refusal(
            f"KServe {own.version} ignores `canaryTrafficPercent` in Standard mode, and has no "
            "`spec.canary`",
            "Use `--traffic-by graph`, `--router` or `--mode knative`.",
        )
    elif Version(own.version) < _CANARY_ROUTES:
        yield Refusal(
            f"KServe {own.version} starts the pods of `spec.canary`, but its routes send "
            f"them no "
            "traffic before 0.21",
            "Use `--traffic-by graph` or `--router`, or upgrade and say `--platform-version 0.21`.",
        )


def _gateway_refusals(spec: DeploymentSpec, options: RenderOptions) -> Iterator[Refusal]:
    own = options.kserve
    if own.mode != "standard":
        yield Refusal(
            "a split by HTTPRoute needs the Services of Standard mode",
            "Use `--mode standard`, or `--router` in its place.",
        )
    if not GATEWAY.fullmatch(own.gateway):
        yield Refusal(f"`kserve.gateway` is `{own.gateway}`", "Write `NAMESPACE/NAME`.")
    if not own.host:
        yield Refusal(
            "the route needs a host name of its own", "Set `host` of `[kserve]` in mlops.toml."
        )
    elif not _HOST.fullmatch(own.host):
        yield Refusal(f"`kserve.host` is `{own.host}`", "Write a host name.")
    for index in too_small([arm.weight for arm in spec.arms], MOST_WEIGHT):
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
