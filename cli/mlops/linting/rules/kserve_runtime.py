"""InferenceServices and ServingRuntimes: which image serves a model, and where it comes from.

Behaviour is that of kserve/kserve v0.20.0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from packaging.version import Version

from mlops.errors import did_you_mean
from mlops.linting.base import Context, Problem, Rule, maps
from mlops.linting.documents import Document
from mlops.linting.rules.kserve import (
    FRAMEWORKS,
    ISVC,
    VALIDATION,
    components,
    mlflow_models,
    mode_of,
    models,
)

_RUNTIMES = ("ServingRuntime", "ClusterServingRuntime")
_RUNTIME = ("serving.kserve.io/ServingRuntime", "serving.kserve.io/ClusterServingRuntime")
_SCHEMES = (
    "gs", "s3", "hdfs", "webhdfs", "hf", "http", "https", "pvc", "file", "oci", "oci+fetch",
    "oci+modelcar", "oci+native",
)  # fmt: skip
_BUILT_IN = (
    "kserve-lgbserver", "kserve-mlserver", "kserve-paddleserver", "kserve-pmmlserver",
    "kserve-predictiveserver", "kserve-sklearnserver", "kserve-tensorflow-serving",
    "kserve-torchserve", "kserve-tritonserver", "kserve-xgbserver", "kserve-huggingfaceserver",
    "kserve-huggingfaceserver-multinode", "kserve-autogluonserver", "kserve-openvino",
    "kserve-vllmserver",
)  # fmt: skip
_FORMATS = (
    "autogluon", "huggingface", "lightgbm", "mlflow", "onnx", "openvino", "paddle", "pmml",
    "pytorch", "sklearn", "tensorflow", "tensorrt", "triton", "vLLM", "xgboost",
)  # fmt: skip
_MLSERVER = re.compile(r"(docker\.io/)?seldonio/mlserver:(\d+\.\d+\.\d+)$")


def storage_ways(document: Document, context: Context) -> Iterator[Problem]:
    """Find a model with two sources."""
    for path, spec in components(document):
        for key in ("model", *FRAMEWORKS):
            model = spec.get(key)
            if not isinstance(model, Mapping):
                continue
            uri = model.get("storageUri")
            if uri and spec.get("storageUris"):
                yield Problem((*path, key, "storageUri"), "`storageUris` is also set")
            scheme = str(uri or "").partition("://")[0]
            if uri and model.get("storage") and scheme not in ("s3", "hdfs", "webhdfs"):
                yield Problem(
                    (*path, key, "storageUri"), f"`{scheme}://` cannot be combined with `storage`"
                )


def storage_scheme(document: Document, context: Context) -> Iterator[Problem]:
    """Find a URI that no storage initializer knows."""
    if context.of_kind("ClusterStorageContainer"):
        return
    for path, spec in components(document):
        for key in ("model", *FRAMEWORKS):
            uri = (spec.get(key) or {}).get("storageUri")
            scheme, found, _ = str(uri or "").partition("://")
            if uri and found and scheme not in _SCHEMES:
                yield Problem((*path, key, "storageUri"), f"unknown scheme `{scheme}://`")


def mlflow_protocol(document: Document, context: Context) -> Iterator[Problem]:
    """Find an MLflow model for which no runtime will be found."""
    for path, model in mlflow_models(document):
        if model.get("protocolVersion") != "v2" and not model.get("runtime"):
            yield Problem((*path, "modelFormat"), "`protocolVersion: v2` is missing")


def mlflow_version(document: Document, context: Context) -> Iterator[Problem]:
    """Find a version of MLflow's format that the stock runtime does not have."""
    for path, model in mlflow_models(document):
        version = (model.get("modelFormat") or {}).get("version")
        if (
            version
            and version not in ("1", "2")
            and model.get("runtime") in (None, "kserve-mlserver")
        ):
            yield Problem(
                (*path, "modelFormat", "version"), f"the stock runtime has no mlflow `{version}`"
            )


def protocol(document: Document, context: Context) -> Iterator[Problem]:
    """Find a protocol that matches no runtime."""
    known = ("v1", "v2", "grpc-v1", "grpc-v2")
    for path, spec in components(document):
        for key in ("model", *FRAMEWORKS):
            version = (spec.get(key) or {}).get("protocolVersion")
            if version is not None and version not in known:
                hint = did_you_mean(version, known) or f"Known: {', '.join(known)}."
                yield Problem(
                    (*path, key, "protocolVersion"), f"unknown protocol `{version}`. {hint}"
                )


def runtime(document: Document, context: Context) -> Iterator[Problem]:
    """Find a runtime that is not here, with a name that is close to one that is."""
    known = {each.name for each in context.of_kind(*_RUNTIMES)} | set(_BUILT_IN)
    for path, spec in components(document):
        for key in ("model", *FRAMEWORKS):
            named = str((spec.get(key) or {}).get("runtime") or "")
            hint = did_you_mean(named, known)
            if named not in known and hint:
                told = f"no runtime is called `{named}` here or in a stock installation. {hint}"
                yield Problem((*path, key, "runtime"), told)


def model_format(document: Document, context: Context) -> Iterator[Problem]:
    """Find a format for which no runtime is known, or only one that has to be named."""
    if mode_of(document) == "ModelMesh":
        return
    for path, model in models(document):
        wanted = (model.get("modelFormat") or {}).get("name")
        if not wanted or model.get("runtime") or wanted in _FORMATS:
            continue
        serving = [
            (runtime, supported)
            for runtime in context.of_kind(*_RUNTIMES)
            for supported in maps(runtime.at("spec", "supportedModelFormats"))
            if supported.get("name") == wanted
        ]
        if not serving:
            hint = did_you_mean(wanted, _FORMATS) or ""
            told = f"no stock runtime, and none here, serves `{wanted}`. {hint}".strip()
            yield Problem((*path, "modelFormat", "name"), told)
        elif not any(supported.get("autoSelect") for _, supported in serving):
            name = serving[0][0].name
            yield Problem((*path, "modelFormat"), f"runtime `{name}` has no `autoSelect` for it")


def stock_image(document: Document, context: Context) -> Iterator[Problem]:
    """Find an MLflow model on the stock runtime."""
    for path, model in mlflow_models(document):
        if model.get("runtime") in (None, "kserve-mlserver"):
            yield Problem((*path, "modelFormat"), "the stock runtime uses MLServer's full image")


def s3_secret(document: Document, context: Context) -> Iterator[Problem]:
    """Find a ServiceAccount that does not name the Secret with the store's credentials."""
    stores = [
        secret
        for secret in context.beside(document, "Secret")
        if any(key.startswith("serving.kserve.io/s3-") for key in secret.annotations)
    ]
    account = document.at("spec", "predictor", "serviceAccountName")
    uris = [model.get("storageUri") for _, model in models(document)]
    if not stores or not any(str(uri).startswith("s3://") for uri in uris):
        return
    known = context.named("ServiceAccount", str(account), document) if account else None
    if account and known is None:
        return
    named = {each.get("name") for each in maps(known.at("secrets"))} if known else set()
    if not named & {secret.name for secret in stores}:
        said = f"ServiceAccount `{account}`" if account else "no ServiceAccount"
        yield Problem(("spec", "predictor"), f"{said} lists Secret `{stores[0].name}`")


def full_image(document: Document, context: Context) -> Iterator[Problem]:
    """Find MLServer's image with all runtimes."""
    for index, container in enumerate(maps(document.at("spec", "containers"))):
        match = _MLSERVER.match(str(container.get("image", "")))
        if match and Version(match[2]) >= Version("1.4.0"):
            yield Problem(
                ("spec", "containers", index, "image"),
                f"`{container['image']}` contains all runtimes",
            )


def metrics_port(document: Document, context: Context) -> Iterator[Problem]:
    """Find MLServer scraped where it has no metrics."""
    image = " ".join(str(c.get("image")) for c in maps(document.at("spec", "containers")))
    port = document.at("spec", "annotations", "prometheus.kserve.io/port")
    if "seldonio/mlserver" in image and port == "8080":
        yield Problem(
            ("spec", "annotations", "prometheus.kserve.io/port"),
            "MLServer's metrics are not on port 8080",
        )


RULES = (
    Rule(
        "kserve/storage-ways",
        "error",
        ISVC,
        storage_ways,
        "A model has one source; the webhook refuses two.",
        VALIDATION,
    ),
    Rule(
        "kserve/storage-scheme",
        "error",
        ISVC,
        storage_scheme,
        "The controller refuses it unless a ClusterStorageContainer in the cluster supports it.",
        "kserve/kserve v0.20.0 config/storagecontainers/default.yaml",
    ),
    Rule(
        "kserve/mlflow-protocol",
        "error",
        ISVC,
        mlflow_protocol,
        'Without it the protocol is v1, which no mlflow runtime supports: "no runtime found to '
        'support predictor with model type" (kserve/kserve#5029).',
        "kserve/kserve v0.20.0 config/runtimes/kserve-mlserver.yaml",
    ),
    Rule(
        "kserve/mlflow-version",
        "error",
        ISVC,
        mlflow_version,
        'The stock runtime has "1" and "2". Leave the version out, or name a runtime whose image '
        "reads your models.",
        "kserve/kserve v0.20.0 config/runtimes/kserve-mlserver.yaml",
    ),
    Rule(
        "kserve/protocol",
        "error",
        ISVC,
        protocol,
        "Neither the CRD nor the webhook checks protocols: a misspelt one matches no runtime.",
        "kserve/kserve v0.20.0 pkg/constants/constants.go",
    ),
    Rule(
        "kserve/model-format",
        "warning",
        ISVC,
        model_format,
        "Without `runtime`, KServe takes one that lists the format with `autoSelect: true`. If "
        'the cluster has none, the predictor ends with "no runtime found to support predictor '
        'with model type". Name the runtime, or correct the format.',
        "kserve/kserve v0.20.0 config/runtimes/",
    ),
    Rule(
        "kserve/runtime",
        "warning",
        ISVC,
        runtime,
        "Until the cluster has a runtime of this name, the InferenceService is never ready.",
        "kserve/kserve v0.20.0 config/runtimes/kustomization.yaml",
    ),
    Rule(
        "kserve/stock-image",
        "warning",
        ISVC,
        stock_image,
        "It has Python 3.10 and MLflow 2.x (2.10 by the Helm chart, which sets MLServer 1.5.0), "
        "so it cannot read what a current MLflow logs; and it carries alibi and alibi-detect, "
        "which are under the Business Source License. Name a runtime of your own.",
        "kserve/kserve v0.20.0 config/runtimes/kustomization.yaml, "
        "charts/kserve-runtime-configs/values.yaml",
    ),
    Rule(
        "kserve/s3-secret",
        "warning",
        ISVC,
        s3_secret,
        "Credentials are found through the predictor's ServiceAccount, whose `secrets` name the "
        "annotated Secret.",
        "kserve/kserve v0.20.0 pkg/credentials/s3/s3_secret.go",
    ),
    Rule(
        "kserve/full-image",
        "warning",
        _RUNTIME,
        full_image,
        "From MLServer 1.4.0 on it carries alibi and alibi-detect, which are under the Business "
        "Source License 1.1. The `-mlflow` variant does not.",
        "SeldonIO/MLServer licenses/license_info.csv",
    ),
    Rule(
        "kserve/metrics-port",
        "warning",
        _RUNTIME,
        metrics_port,
        "MLServer's metrics have a port of their own, 8082 unless MLSERVER_METRICS_PORT says "
        "otherwise; the stock runtime's annotation is wrong.",
        "SeldonIO/MLServer mlserver/settings.py",
    ),
)
