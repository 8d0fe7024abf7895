"""InferenceServices: canaries, and what each mode makes of them.

Behaviour is that of kserve/kserve v0.20.0; `master` at aaac4e2 for what 0.21 adds.
"""

from __future__ import annotations

from collections.abc import Iterator

from packaging.version import Version

from mlops.linting.base import Context, Problem, Rule, maps, twice
from mlops.linting.documents import Document, Path
from mlops.linting.rules.kserve import (
    ISVC,
    MODE,
    VALIDATION,
    components,
    mode_of,
)

_NO_CANARY_FIELDS = (
    "workerSpec", "maxReplicas", "scaleTarget", "scaleMetric", "autoScaling",
)  # fmt: skip


def canary_percent(document: Document, context: Context) -> Iterator[Problem]:
    """Find a canary that Standard mode ignores."""
    for path, spec in components(document):
        percent = spec.get("canaryTrafficPercent")
        if percent is not None and mode_of(document) == "Standard":
            yield Problem((*path, "canaryTrafficPercent"), "is ignored in Standard mode")
        if percent is not None and not 0 <= percent <= 100:
            yield Problem((*path, "canaryTrafficPercent"), f"must be from 0 to 100, not {percent}")


def canary_mode(document: Document, context: Context) -> Iterator[Problem]:
    """Find `spec.canary` where it is refused."""
    if maps(document.at("spec", "canary")) and mode_of(document) != "Standard":
        yield Problem(("spec", "canary"), f"needs the annotation `{MODE}: Standard`")


def canary_version(document: Document, context: Context) -> Iterator[Problem]:
    """Find `spec.canary` before it has routes."""
    if maps(document.at("spec", "canary")) and context.version("kserve") < Version("0.21"):
        version = context.version("kserve")
        yield Problem(("spec", "canary"), f"KServe {version} sends these pods no traffic")


def canary_list(document: Document, context: Context) -> Iterator[Problem]:
    """Find canaries that the webhook refuses."""
    canaries = maps(document.at("spec", "canary"))
    stable = document.at("spec", "predictor") or {}
    names = [str((canary.get("predictor") or {}).get("name") or "") for canary in canaries]
    for index, found in twice(names):
        if found:
            yield Problem(("spec", "canary", index), f"the name `{found}` is already used")
    total = sum(canary.get("trafficPercent") or 0 for canary in canaries)
    if total > 100:
        yield Problem(("spec", "canary"), f"the percentages sum to {total}")
    for index, canary in enumerate(canaries):
        path: Path = ("spec", "canary", index)
        predictor = canary.get("predictor") or {}
        if not names[index]:
            yield Problem((*path, "predictor"), "`name` is missing")
        elif names[index] == stable.get("name"):
            yield Problem((*path, "predictor", "name"), "is also the name of the stable predictor")
        if not 0 <= (canary.get("trafficPercent") or 0) <= 100:
            yield Problem(
                (*path, "trafficPercent"), f"must be from 0 to 100, not {canary['trafficPercent']}"
            )
        for key in _NO_CANARY_FIELDS:
            if predictor.get(key) is not None:
                yield Problem((*path, "predictor", key), "is not allowed in a canary")
        low, most = predictor.get("minReplicas"), stable.get("minReplicas", 1)
        if low is not None and low > most:
            yield Problem(
                (*path, "predictor", "minReplicas"), f"{low} is more than the stable one's {most}"
            )


RULES = (
    Rule(
        "kserve/canary-percent",
        "error",
        ISVC,
        canary_percent,
        "Standard mode ignores `canaryTrafficPercent` silently, and all traffic goes to the new "
        "model at once (kserve/kserve#5335). Use an InferenceGraph, an HTTPRoute, or Knative "
        "mode. A value outside 0 to 100 is not refused by the webhook.",
        "kserve/kserve v0.20.0 "
        "pkg/controller/v1beta1/inferenceservice/reconcilers/knative/ksvc_reconciler.go",
    ),
    Rule(
        "kserve/canary-mode",
        "error",
        ISVC,
        canary_mode,
        "The webhook refuses `spec.canary` unless the InferenceService itself says that it is in "
        "Standard mode; the installation's default does not count.",
        VALIDATION,
    ),
    Rule(
        "kserve/canary-version",
        "warning",
        ISVC,
        canary_version,
        "0.20 knows the field and starts the pods, but its routes do not use the percentages; "
        "that came later (kserve/kserve#5912). Before 0.20 the field is pruned.",
        "kserve/kserve v0.20.0 "
        "pkg/controller/v1beta1/inferenceservice/reconcilers/ingress/httproute_reconciler.go",
    ),
    Rule(
        "kserve/canary",
        "error",
        ISVC,
        canary_list,
        "The webhook refuses it: names are unique and unlike the stable one's, percentages sum to"
        " 100 at most, and canaries have fixed replicas.",
        VALIDATION,
    ),
)
