"""Who scales an InferenceService, and by what.

Behaviour is that of kserve/kserve v0.20.0. In Standard mode an annotation of KServe's own says who
scales; in Knative mode Knative does, and an annotation of its says by which of its two autoscalers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mlops.errors import did_you_mean
from mlops.linting.base import Context, Problem, Rule, maps
from mlops.linting.documents import Document
from mlops.linting.rules.kserve import ISVC, VALIDATION, components, mode_of

CLASS = "serving.kserve.io/autoscalerClass"
_KNATIVE_CLASS = "autoscaling.knative.dev/class"
_CLASSES = ("hpa", "keda", "external", "none")
_METRICS = {"hpa": ("cpu", "memory"), "kpa": ("concurrency", "rps")}


def scaler_of(document: Document) -> str:
    """Return what scales, as far as the webhook has rules for it: hpa, keda, kpa or nothing."""
    if mode_of(document) == "Standard":
        return str(document.annotations.get(CLASS, ""))
    # Without a mode the webhook takes it for Knative, whatever it will be.
    by_hpa = document.annotations.get(_KNATIVE_CLASS) == "hpa.autoscaling.knative.dev"
    return "hpa" if by_hpa else "kpa"


def known_class(document: Document, context: Context) -> Iterator[Problem]:
    """Find an autoscaler that KServe does not know."""
    given = document.annotations.get(CLASS)
    if given is not None and given not in _CLASSES:
        hint = did_you_mean(str(given), _CLASSES) or f"Known: {', '.join(_CLASSES)}."
        yield Problem(("metadata", "annotations", CLASS), f"unknown autoscaler `{given}`. {hint}")


def class_ignored(document: Document, context: Context) -> Iterator[Problem]:
    """Find an autoscaler of Standard mode in Knative mode."""
    if CLASS in document.annotations and mode_of(document) == "Knative":
        yield Problem(("metadata", "annotations", CLASS), "has no effect in Knative mode")


def metric(document: Document, context: Context) -> Iterator[Problem]:
    """Find a metric that the autoscaler in force does not scale by."""
    scaler = scaler_of(document)
    for path, spec in components(document):
        given = spec.get("scaleMetric")
        if given and scaler == "keda":
            yield Problem((*path, "scaleMetric"), "KEDA uses `autoScaling.metrics` instead")
        elif given and given not in _METRICS.get(scaler, (given,)):
            wanted = " or ".join(_METRICS[scaler])
            yield Problem((*path, "scaleMetric"), f"must be {wanted}, not `{given}`")


def target(document: Document, context: Context) -> Iterator[Problem]:
    """Find a target out of the range that the autoscaler in force takes."""
    scaler = scaler_of(document)
    for path, spec in components(document):
        wanted = spec.get("scaleTarget")
        if not isinstance(wanted, int):
            continue
        least = 1 if scaler == "hpa" or spec.get("scaleMetric") == "rps" else None
        if scaler in ("hpa", "kpa") and least is not None and wanted < least:
            yield Problem((*path, "scaleTarget"), f"must be at least {least}, not {wanted}")
        elif scaler == "hpa" and wanted > 100:
            yield Problem((*path, "scaleTarget"), f"must be at most 100, not {wanted}")


def autoscaling(document: Document, context: Context) -> Iterator[Problem]:
    """Find an entry of `autoScaling` that the autoscaler in force refuses."""
    # Without an annotation, Standard mode scales by HPA; the webhook does not look then.
    scaler = scaler_of(document) or "hpa"
    if scaler not in ("hpa", "keda"):
        return
    for path, spec in components(document):
        for index, each in enumerate(maps((spec.get("autoScaling") or {}).get("metrics"))):
            fault = _hpa_fault(each) if scaler == "hpa" else _keda_fault(each)
            if fault:
                yield Problem((*path, "autoScaling", "metrics", index), fault)


def _hpa_fault(entry: Mapping[str, Any]) -> str:
    if entry.get("type") != "Resource":
        return f"HPA takes metrics of type `Resource` only, not `{entry.get('type')}`"
    return "" if entry.get("resource") else "`resource` is missing"


def _keda_fault(entry: Mapping[str, Any]) -> str:
    if entry.get("type") == "Resource":
        resource = entry.get("resource") or {}
        of = (resource.get("target") or {}).get("type")
        if resource.get("name") == "cpu" and of != "Utilization":
            return f"the type of the target for cpu must be `Utilization`, not `{of}`"
        return "" if resource else "`resource` is missing"
    source = {"External": "external", "PodMetric": "podmetric"}.get(str(entry.get("type")), "")
    found = entry.get(source) or {}
    if source and not (found.get("metric") or {}).get("query"):
        return f"`{source}.metric.query` is missing"
    return ""


RULES = (
    Rule(
        "kserve/autoscaler-class",
        "error",
        ISVC,
        known_class,
        "The webhook refuses it: it is not a supported autoscaler class type.",
        VALIDATION,
    ),
    Rule(
        "kserve/autoscaler-ignored",
        "warning",
        ISVC,
        class_ignored,
        "The annotation is for Standard mode. In Knative mode `autoscaling.knative.dev/class` "
        "says which of Knative's autoscalers is in force.",
        VALIDATION,
    ),
    Rule(
        "kserve/scale-metric",
        "error",
        ISVC,
        metric,
        "The webhook refuses it. HPA scales by cpu or memory, Knative's own autoscaler by "
        "concurrency or rps; without an annotation for the mode it assumes the latter.",
        VALIDATION,
    ),
    Rule(
        "kserve/scale-target",
        "error",
        ISVC,
        target,
        "The webhook refuses it: a percentage from 1 to 100 for HPA, also where the metric is "
        "memory, and 1 or more for rps.",
        VALIDATION,
    ),
    Rule(
        "kserve/autoscaling-metrics",
        "error",
        ISVC,
        autoscaling,
        "HPA takes metrics of the type Resource, and KEDA needs a query for external ones. The "
        "webhook refuses it if the annotation names the autoscaler; without the annotation the "
        "controller panics (kserve/kserve#4548). Set `serving.kserve.io/autoscalerClass: keda`.",
        VALIDATION,
    ),
)
