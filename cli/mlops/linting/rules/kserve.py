"""InferenceServices, ServingRuntimes and what scrapes them.

Behaviour is that of kserve/kserve v0.20.0; `master` at aaac4e2 for what 0.21 adds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from packaging.version import Version

from mlops.errors import did_you_mean
from mlops.linting.base import Context, Problem, Rule, maps
from mlops.linting.documents import Document, Path

ISVC = ("serving.kserve.io/InferenceService",)
MODE = "serving.kserve.io/deploymentMode"
_OLD_MODES = {"RawDeployment": "Standard", "Serverless": "Knative"}
_MODES = ("Standard", "Knative", "ModelMesh")
_COMPONENTS = ("predictor", "transformer", "explainer")
FRAMEWORKS = (
    "sklearn", "xgboost", "tensorflow", "pytorch", "triton", "onnx", "huggingface", "pmml",
    "lightgbm", "paddle",
)  # fmt: skip
VALIDATION = "kserve/kserve v0.20.0 pkg/apis/serving/v1beta1/inference_service_validation.go"


def mode_of(document: Document) -> str:
    """Return the deployment mode in its new spelling, empty if it is not written."""
    mode = str(document.annotations.get(MODE, ""))
    return _OLD_MODES.get(mode, mode)


def name(document: Document, context: Context) -> Iterator[Problem]:
    """Find names that the webhook refuses."""
    if document.name and not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", document.name):
        yield Problem(("metadata", "name"), f"`{document.name}` is not a valid name")


def mode_missing(document: Document, context: Context) -> Iterator[Problem]:
    """Find an InferenceService that leaves its mode to how KServe was installed."""
    if MODE not in document.annotations:
        yield Problem(("metadata",), f"the annotation `{MODE}` is missing")


def mode_known(document: Document, context: Context) -> Iterator[Problem]:
    """Find a mode that does not exist."""
    mode = document.annotations.get(MODE)
    if mode is not None and mode not in (*_MODES, *_OLD_MODES):
        hint = did_you_mean(str(mode), _MODES) or f"Known: {', '.join(_MODES)}."
        yield Problem(("metadata", "annotations", MODE), f"unknown mode `{mode}`. {hint}")


def mode_old(document: Document, context: Context) -> Iterator[Problem]:
    """Find a mode under its old name."""
    mode = str(document.annotations.get(MODE, ""))
    if mode in _OLD_MODES and context.version("kserve") >= Version("0.16"):
        yield Problem(
            ("metadata", "annotations", MODE), f"`{mode}` is called `{_OLD_MODES[mode]}` now"
        )


def one_implementation(document: Document, context: Context) -> Iterator[Problem]:
    """Find a component with no model server, or with two."""
    for component in _COMPONENTS:
        spec = document.at("spec", component)
        if not isinstance(spec, Mapping):
            continue
        given = [key for key in ("model", *FRAMEWORKS, "art") if spec.get(key)]
        if spec.get("containers"):
            given.append("containers")
        if component == "predictor" and spec.get("workerSpec") and not given:
            continue
        if len(given) > 1 and given[-1] == "containers":
            # Beside a model these are sidecars.
            given.remove("containers")
        if len(given) != 1:
            said = " and ".join(f"`{each}`" for each in given) or "none"
            yield Problem(("spec", component), f"must have exactly one model server, not {said}")


def replicas(document: Document, context: Context) -> Iterator[Problem]:
    """Find replicas that are negative or the wrong way round."""
    for path, spec in components(document):
        low, high = spec.get("minReplicas"), spec.get("maxReplicas")
        for key in ("minReplicas", "maxReplicas", "containerConcurrency"):
            if (spec.get(key) or 0) < 0:
                yield Problem((*path, key), f"must not be negative, not {spec[key]}")
        if low is not None and high and low > high:
            yield Problem((*path, "minReplicas"), f"{low} is more than `maxReplicas`, {high}")


def zero_replicas(document: Document, context: Context) -> Iterator[Problem]:
    """Find scaling to zero in a mode that has none."""
    if mode_of(document) != "Standard":
        return
    for path, spec in components(document):
        if spec.get("minReplicas") == 0:
            yield Problem((*path, "minReplicas"), "0 replicas are not possible in Standard mode")


def logger_mode(document: Document, context: Context) -> Iterator[Problem]:
    """Find a logger without a mode."""
    for path, spec in components(document):
        logger = spec.get("logger")
        if isinstance(logger, Mapping) and logger.get("mode") not in ("all", "request", "response"):
            said = logger.get("mode")
            told = f"unknown mode `{said}`" if said else "`mode` is missing"
            yield Problem((*path, "logger"), f"{told}; use all, request or response")


def logger_storage(document: Document, context: Context) -> Iterator[Problem]:
    """Find a logger whose blob storage lacks something."""
    for path, spec in components(document):
        storage = (spec.get("logger") or {}).get("storage")
        if isinstance(storage, Mapping):
            missing = [key for key in ("path", "parameters", "key") if not storage.get(key)]
            if missing:
                yield Problem((*path, "logger", "storage"), f"{', '.join(missing)} missing")


def model_name(document: Document, context: Context) -> Iterator[Problem]:
    """Find a name where the webhook allows none."""
    for key in ("model", *FRAMEWORKS):
        if document.at("spec", "predictor", key, "name"):
            yield Problem(("spec", "predictor", key, "name"), "must not be set")


def python_path(document: Document, context: Context) -> Iterator[Problem]:
    """Find a variable that the webhook blocks."""
    for path, spec in components(document):
        for kind in ("containers", "initContainers"):
            for i, container in enumerate(maps(spec.get(kind))):
                for j, item in enumerate(maps(container.get("env"))):
                    if item.get("name") == "PYTHONPATH":
                        yield Problem((*path, kind, i, "env", j), "`PYTHONPATH` is blocked")


def strategy(document: Document, context: Context) -> Iterator[Problem]:
    """Find a rollout strategy where Knative rolls out itself."""
    if mode_of(document) != "Knative":
        return
    for path, spec in components(document):
        if spec.get("deploymentStrategy"):
            yield Problem((*path, "deploymentStrategy"), "works in Standard mode only")


def feedback(document: Document, context: Context) -> Iterator[Problem]:
    """Find feedback sent to a platform that takes none."""
    if context.feedback and not context.has_router:
        yield Problem(("kind",), "KServe has no feedback endpoint")


def components(document: Document) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Yield predictor, transformer, explainer and the predictors of canaries."""
    for component in _COMPONENTS:
        spec = document.at("spec", component)
        if isinstance(spec, Mapping):
            yield ("spec", component), spec
    for index, canary in enumerate(maps(document.at("spec", "canary"))):
        if isinstance(canary.get("predictor"), Mapping):
            yield ("spec", "canary", index, "predictor"), canary["predictor"]


def models(document: Document) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Yield what the components say under `model`."""
    for path, spec in components(document):
        if isinstance(spec.get("model"), Mapping):
            yield (*path, "model"), spec["model"]


def mlflow_models(document: Document) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Yield the models in MLflow's format."""
    for path, model in models(document):
        if (model.get("modelFormat") or {}).get("name") == "mlflow":
            yield path, model


RULES = (
    Rule(
        "kserve/name",
        "error",
        (*ISVC, "serving.kserve.io/InferenceGraph"),
        name,
        "Names begin with a lower-case letter and have letters, digits and `-`; the webhook "
        "refuses others.",
        VALIDATION,
    ),
    Rule(
        "kserve/no-mode",
        "warning",
        ISVC,
        mode_missing,
        "Without it the mode depends on how KServe was installed: Serverless by the manifests, "
        "Knative by the Helm chart, Standard by the code. It cannot be changed afterwards.",
        "kserve/kserve v0.20.0 config/configmap/inferenceservice.yaml",
    ),
    Rule(
        "kserve/unknown-mode",
        "error",
        ISVC,
        mode_known,
        "The controller does not know this mode.",
        "kserve/kserve v0.20.0 pkg/constants/constants.go",
    ),
    Rule(
        "kserve/old-mode",
        "warning",
        ISVC,
        mode_old,
        "KServe still accepts the old name and rewrites it.",
        "kserve/kserve v0.20.0 pkg/constants/constants.go",
    ),
    Rule(
        "kserve/one-server",
        "error",
        ISVC,
        one_implementation,
        "The webhook refuses a component with none or several of `model`, a framework, "
        "`containers`.",
        VALIDATION,
    ),
    Rule(
        "kserve/replicas",
        "error",
        ISVC,
        replicas,
        "The webhook refuses it.",
        "kserve/kserve v0.20.0 pkg/apis/serving/v1beta1/component.go",
    ),
    Rule(
        "kserve/zero-replicas",
        "warning",
        ISVC,
        zero_replicas,
        "Only Knative starts a pod when a request arrives; in Standard mode no pod would answer.",
        "kserve/kserve v0.20.0 pkg/apis/serving/v1beta1/component.go",
    ),
    Rule(
        "kserve/logger-mode",
        "error",
        ISVC,
        logger_mode,
        'The webhook refuses a logger without a mode ("invalid logger type"), though the field\'s '
        "comment promises a default.",
        "kserve/kserve v0.20.0 pkg/apis/serving/v1beta1/component.go",
    ),
    Rule(
        "kserve/logger-storage",
        "error",
        ISVC,
        logger_storage,
        "The webhook refuses it.",
        "kserve/kserve v0.20.0 pkg/apis/serving/v1beta1/component.go",
    ),
    Rule(
        "kserve/model-name",
        "error",
        ISVC,
        model_name,
        "The webhook refuses it: \"the 'name' field is not allowed in standard predictor\". Only "
        "under `spec.canary` the CRD requires it.",
        VALIDATION,
    ),
    Rule(
        "kserve/pythonpath",
        "error",
        ISVC,
        python_path,
        "The webhook refuses containers that set it.",
        VALIDATION,
    ),
    Rule(
        "kserve/strategy",
        "error",
        ISVC,
        strategy,
        "The webhook refuses `deploymentStrategy` in Knative mode.",
        VALIDATION,
    ),
    Rule(
        "kserve/feedback",
        "error",
        (*ISVC, "serving.kserve.io/InferenceGraph"),
        feedback,
        "There is no feedback endpoint, no reward metric and no bandit. Put a router in front "
        "that takes feedback, such as `mlops deploy --target kserve --router`.",
        "kserve/kserve v0.20.0 docs",
    ),
)
