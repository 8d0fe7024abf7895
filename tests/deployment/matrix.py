"""Every combination of target, strategy, mode and version that renders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

from mlops.deployment.targets import RenderOptions
from mlops.spec.deployment import DeploymentSpec
from tests.deployment.specs import OLD, known, spec, with_endpoint

Case: TypeAlias = tuple[str, DeploymentSpec, RenderOptions]

STRATEGIES: Mapping[str, DeploymentSpec] = {
    "one": spec(1.0),
    "ab": spec(0.5, 0.5),
    "abn": spec(0.5, 0.3, 0.2),
    "canary": spec(0.9, 0.1),
    "zero": spec(1.0, 0.0),
    "shadow": spec(1.0, shadows=(0.2,)),
    "ab-shadow": spec(0.5, 0.5, shadows=(1.0,)),
}
# What no platform splits: sticky, shares below a percent, several shadows, an arm elsewhere.
_ONLY_ROUTED: Mapping[str, DeploymentSpec] = {
    "sticky": replace(spec(0.4985, 0.5, 0.0015, shadows=(0.001, 1.0)), sticky_by="field:alcohol"),
    "elsewhere": with_endpoint(spec(0.5, 0.5), "mlflow+http://other:5000#token=OTHER_TOKEN"),
}
# What the bundled component in Seldon's graph draws.
_LEARNING: Mapping[str, DeploymentSpec] = {
    "thompson": replace(spec(0.5, 0.3, 0.2), policy="thompson floor=0.1", reward="given"),
    "linear": replace(
        spec(0.5, 0.5, shadows=(0.2,)),
        policy="linear-greedy 'features=alcohol,fixed acidity'", reward="given",
    ),
}  # fmt: skip
_SHADOWS = ("shadow", "ab-shadow")
#: A private registry, and nodes of their own.
SCHEDULED: Mapping[str, Any] = {
    "cluster_image_pull_secrets": ("registry", "mirror"),
    "cluster_node_selector": ("pool=ml", "example.com/disk=ssd"),
    "cluster_tolerations": ("dedicated=ml:NoSchedule", "nvidia.com/gpu", "spot:NoExecute"),
}


def options(
    target: str = "", deployment: DeploymentSpec | None = None, **given: Any
) -> RenderOptions:
    """Return options with some settings of the target and of `cluster` changed."""
    base = RenderOptions(postgresql=given.pop("postgresql", False))
    for section in ("cluster", "kubernetes", "monitoring"):
        named = [key for key in given if key.startswith(f"{section}_")]
        values = {key.removeprefix(f"{section}_"): given.pop(key) for key in named}
        base = replace(base, **{section: replace(getattr(base, section), **values)})
    own = given
    if own:
        base = replace(base, **{target: replace(getattr(base, target), **own)})
    if deployment is not None:
        base = replace(base, details=known(deployment, OLD))
    return base


def _ways(target: str) -> Iterator[tuple[str, dict[str, Any], tuple[str, ...]]]:
    """Yield name, settings and strategies of each way to use a target."""
    yield "scheduled", dict(SCHEDULED), ("ab",)
    every = tuple(STRATEGIES)
    without = tuple(name for name in every if name not in _SHADOWS)
    if target == "kubernetes":
        yield "sqlite", {}, every
        yield "postgresql", {"postgresql": True}, every
        yield "openshift", {"mode": "openshift"}, ("ab",)
        yield "grpc", {"grpc_port": 8081, "postgresql": True}, ("ab",)
        yield "ingress", {"host": "wine.example.com", "ingress_class": "nginx"}, ("ab",)
        yield (
            "gateway",
            {"host": "wine.example.com", "gateway": "edge/public", "postgresql": True},
            ("ab",),
        )
        yield (
            "named",
            {
                "cluster_namespace": "shop",
                "cluster_storage_secret": "s3",
                "cluster_service_account": "reader",
                "allow_from": ("monitoring",),
            },
            ("ab",),
        )
        yield (
            "monitoring",
            {"cluster_extras": ("monitoring",), "cluster_namespace": "shop", "postgresql": True},
            ("ab", "abn", "zero", "ab-shadow"),
        )
        yield (
            "servicemonitor",
            {
                "cluster_extras": ("monitoring",),
                "monitoring_monitor": "service",
                "monitoring_release": "prometheus",
                "monitoring_secured": True,
            },
            ("one", "ab"),
        )
    elif target == "kserve":
        for server in ("mlops", "mlserver"):
            for version in ("0.15", "0.20", "0.21"):
                for mode in ("standard", "knative"):
                    given = {"version": version, "mode": mode, "cluster_model_server": server}
                    # Strategies do not depend on versions here, nor on the server.
                    usual = (version, mode, server) == ("0.20", "standard", "mlops")
                    yield f"graph-{server}-{version}-{mode}", given, without if usual else ("ab",)
            gateway = {"split": "gateway", "host": "wine.example.com"}
            given = {**gateway, "cluster_model_server": server}
            yield f"gateway-{server}", given, every if server == "mlops" else ("ab-shadow",)
        yield (
            "canary-knative",
            {"split": "canary", "mode": "knative"},
            ("one", "ab", "canary", "zero"),
        )
        yield "canary-standard", {"split": "canary", "version": "0.21"}, without
        yield "secret", {"cluster_storage_secret": "s3", "cluster_namespace": "shop"}, ("ab",)
    elif target == "seldon":
        for server in ("mlops", "prepackaged", "mlserver"):
            for version in ("1.17.1", "1.18.2"):
                given = {"version": version, "cluster_model_server": server}
                yield f"{server}-{version}", given, every if version == "1.17.1" else ("ab",)
        yield "policy", {"postgresql": True}, tuple(_LEARNING)
        yield "predictors", {"split": "predictors"}, every
        yield "ambassador", {"mode": "ambassador"}, every
        yield "secret", {"env_secret": "store", "cluster_namespace": "shop"}, ("ab", "shadow")
    elif target == "seldon2":
        for version in ("2.6.0", "2.10.2"):
            yield version, {"version": version}, every if version == "2.6.0" else ("ab",)
        yield "secret", {"cluster_storage_secret": "s3", "cluster_namespace": "shop"}, ("ab",)
    if target != "kubernetes":
        yield from _routed_ways(target)


def _routed_ways(target: str) -> Iterator[tuple[str, dict[str, Any], tuple[str, ...]]]:
    """Yield the ways to put our server in front."""
    usual = {"cluster_router": True, "cluster_namespace": "shop"}
    yield "router", usual, (*STRATEGIES, *_ONLY_ROUTED)
    yield "router-here", {"cluster_router": True}, ("ab",)
    yield "router-postgresql", {**usual, "postgresql": True}, ("ab-shadow",)
    yield "router-host", {**usual, "kubernetes_host": "w.example.com"}, ("ab",)
    open_ = {**usual, "kubernetes_limit_egress": False, "postgresql": True}
    yield "router-open", open_, ("ab",)
    yield "router-monitoring", {**usual, "cluster_extras": ("monitoring",)}, ("ab-shadow",)
    if target == "kserve":
        yield "router-open-knative", {**open_, "mode": "knative"}, ("ab",)
        for version in ("0.15", "0.21"):
            for mode in ("standard", "knative"):
                given = {**usual, "version": version, "mode": mode}
                yield f"router-{version}-{mode}", given, ("ab-shadow",)
        yield "router-headless", {**usual, "headless": True}, ("ab",)
        # What the settings say of KServe's own split means nothing then.
        yield "router-canary", {**usual, "split": "canary"}, ("abn",)
    if target == "seldon":
        yield "router-prepackaged", {**usual, "cluster_model_server": "prepackaged"}, ("ab",)
        yield "router-1.18.2", {**usual, "version": "1.18.2", "mode": "ambassador"}, ("zero",)
    if target == "seldon2":
        yield "router-2.10.2", {**usual, "version": "2.10.2"}, ("ab-shadow",)
    else:
        yield "router-mlserver", {**usual, "cluster_model_server": "mlserver"}, ("ab-shadow",)


def _cases() -> Iterator[tuple[str, Case]]:
    for target in ("kubernetes", "kserve", "seldon", "seldon2"):
        for way, given, strategies in _ways(target):
            for strategy in strategies:
                deployment = {**STRATEGIES, **_LEARNING, **_ONLY_ROUTED}[strategy]
                case = target, deployment, options(target, deployment, **given)
                yield f"{target}-{way}-{strategy}", case


#: Name to target, spec and options.
CASES: Mapping[str, Case] = dict(_cases())
