"""HTTPRoutes: splits and mirrors by the Gateway API.

Behaviour is that of kubernetes-sigs/gateway-api v1.5.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from packaging.version import Version

from mlops.linting.base import Context, Problem, Rule, maps
from mlops.linting.documents import Document, Path

_ROUTE = ("gateway.networking.k8s.io/HTTPRoute",)
_SOURCE = "kubernetes-sigs/gateway-api v1.5.1 apis/v1/httproute_types.go"


def mirror_share(document: Document, context: Context) -> Iterator[Problem]:
    """Find a mirror with two shares, or with one outside 0 to 100 percent."""
    for path, mirror in _mirrors(document):
        percent, fraction = mirror.get("percent"), mirror.get("fraction") or {}
        if percent is not None and fraction:
            yield Problem((*path, "percent"), "`percent` and `fraction` exclude each other")
        if percent is not None and not 0 <= percent <= 100:
            yield Problem((*path, "percent"), f"must be in 0 to 100, not {percent}")
        if fraction.get("numerator", 0) > fraction.get("denominator", 100):
            yield Problem((*path, "fraction"), "is more than 1")


def mirror_version(document: Document, context: Context) -> Iterator[Problem]:
    """Find a partial mirror where the Gateway API is too old to know one."""
    if context.version("gateway-api") >= Version("1.3"):
        return
    for path, mirror in _mirrors(document):
        for key in ("percent", "fraction"):
            if mirror.get(key) is not None:
                version = context.versions["gateway-api"]
                yield Problem((*path, key), f"Gateway API {version} does not know `{key}`")


def weights(document: Document, context: Context) -> Iterator[Problem]:
    """Find a rule whose backends all weigh nothing."""
    for index, rule in enumerate(maps(document.at("spec", "rules"))):
        backends = maps(rule.get("backendRefs"))
        if backends and all(backend.get("weight", 1) == 0 for backend in backends):
            yield Problem(("spec", "rules", index, "backendRefs"), "every weight is 0")


def backend(document: Document, context: Context) -> Iterator[Problem]:
    """Find a backend that none of the manifests makes."""
    if not context.beside(document, "Service", "InferenceService"):
        return
    made = _services(context)
    for path, reference in _backends(document):
        if reference.get("kind", "Service") != "Service" or reference.get("namespace"):
            continue
        if reference.get("name") not in made:
            known = ", ".join(f"`{each}`" for each in sorted(made))
            yield Problem(
                (*path, "name"),
                f"these manifests have no Service `{reference.get('name')}`, but {known}",
            )


def served_names(document: Document, context: Context) -> Iterator[Problem]:
    """Find backends of one rule that answer to different model names."""
    named = {
        service: name
        for isvc in context.beside(document, "InferenceService")
        for service, name in [(_service(isvc), _served(isvc))]
    }
    for index, rule in enumerate(maps(document.at("spec", "rules"))):
        names = [
            named[reference["name"]]
            for reference in maps(rule.get("backendRefs"))
            if reference.get("name") in named
        ]
        if len(set(names)) > 1:
            said = " and ".join(f"`{each}`" for each in dict.fromkeys(names))
            yield Problem(
                ("spec", "rules", index, "backendRefs"),
                f"behind one path the model is called {said}",
            )


def _mirrors(document: Document) -> Iterator[tuple[Path, Any]]:
    for i, rule in enumerate(maps(document.at("spec", "rules"))):
        for j, item in enumerate(maps(rule.get("filters"))):
            if item.get("requestMirror"):
                yield ("spec", "rules", i, "filters", j, "requestMirror"), item["requestMirror"]


def _backends(document: Document) -> Iterator[tuple[Path, Any]]:
    for i, rule in enumerate(maps(document.at("spec", "rules"))):
        for j, reference in enumerate(maps(rule.get("backendRefs"))):
            yield ("spec", "rules", i, "backendRefs", j), reference
    for path, mirror in _mirrors(document):
        yield (*path, "backendRef"), mirror.get("backendRef") or {}


def _services(context: Context) -> set[str]:
    made = {document.name for document in context.of_kind("Service")}
    return made | {_service(isvc) for isvc in context.of_kind("InferenceService")}


def _service(isvc: Document) -> str:
    prefix = isvc.at("spec", "predictor", "name")
    return f"{isvc.name}-{prefix}-predictor" if prefix else f"{isvc.name}-predictor"


def _served(isvc: Document) -> str:
    environment = {
        item.get("name"): item.get("value")
        for item in maps(isvc.at("spec", "predictor", "model", "env"))
    }
    return str(environment.get("MLSERVER_MODEL_NAME") or environment.get("MLOPS_NAME") or isvc.name)


RULES = (
    Rule(
        "gateway/mirror-share",
        "error",
        _ROUTE,
        mirror_share,
        "A mirror takes a `percent` or a `fraction`, not both; neither means all requests.",
        _SOURCE,
    ),
    Rule(
        "gateway/mirror-version",
        "warning",
        _ROUTE,
        mirror_version,
        "Before Gateway API 1.3 the field is pruned, and every request is mirrored.",
        _SOURCE,
    ),
    Rule(
        "gateway/weights",
        "error",
        _ROUTE,
        weights,
        "If all weights are 0, every request gets a 500.",
        _SOURCE,
    ),
    Rule(
        "gateway/backend",
        "error",
        _ROUTE,
        backend,
        "Requests for a backend that does not exist get a 500. KServe calls the Service of an "
        "InferenceService `NAME-predictor`, or `NAME-PREDICTOR-predictor` if `predictor.name` is "
        "set.",
        "kserve/kserve v0.20.0 pkg/constants/constants.go",
    ),
    Rule(
        "gateway/served-names",
        "warning",
        _ROUTE,
        served_names,
        "Clients of the V2 protocol name the model in the path. Set MLSERVER_MODEL_NAME of every "
        "arm to one value, or some of the requests get a 404.",
        "kserve/kserve v0.20.0 pkg/apis/serving/v1beta1/inference_service_defaults.go",
    ),
)
