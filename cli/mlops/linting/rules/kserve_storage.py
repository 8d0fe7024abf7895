"""KServe: credentials of stores, and where nothing is fetched.

Behaviour is that of kserve/kserve v0.20.0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mlops.errors import did_you_mean
from mlops.linting.base import Context, Problem, Rule, maps
from mlops.linting.documents import Document
from mlops.linting.rules.kserve import ISVC, VALIDATION

_GROUP = "serving.kserve.io/"
_OLD_GROUP = "serving.kubeflow.org/"
_S3 = tuple(
    f"{_GROUP}s3-{each}"
    for each in (
        "endpoint", "region", "verifyssl", "usehttps", "usevirtualbucket", "useaccelerate",
        "useanoncredential", "cabundle", "cabundle-configmap",
    )
)  # fmt: skip
_ROLE = "eks.amazonaws.com/role-arn"
_SYSTEM = ("kserve", "kserve-system", "kfserving-system")
_CREDENTIALS = "kserve/kserve v0.20.0 pkg/credentials/"
#: Of a host name the part between two dots.
_MAX_LABEL = 63


def s3_endpoint(document: Document, context: Context) -> Iterator[Problem]:
    """Find an endpoint that is more than a host and a port."""
    key = f"{_GROUP}s3-endpoint"
    value = str(document.annotations.get(key, ""))
    if "://" in value and not value.lower().startswith(("http://", "https://")):
        yield Problem(("metadata", "annotations", key), f"`{value}` is not HOST or HOST:PORT")


def s3_annotation(document: Document, context: Context) -> Iterator[Problem]:
    """Find annotations for S3 that KServe does not read."""
    for key in document.annotations:
        path = ("metadata", "annotations", key)
        if key.startswith(f"{_OLD_GROUP}s3-"):
            told = f"is KFServing's; KServe reads `{key.replace(_OLD_GROUP, _GROUP)}`"
            yield Problem(path, told)
        elif key.startswith(f"{_GROUP}s3-") and key not in _S3:
            yield Problem(path, f"KServe does not know it. {did_you_mean(key, _S3) or ''}".strip())
        elif key in _S3 and document.kind == "InferenceService":
            yield Problem(path, "KServe reads it on the Secret, not on the InferenceService")
        elif key in _S3 and document.kind == "ServiceAccount" and not _role(document):
            told = f"KServe reads it on the Secret; on a ServiceAccount only with `{_ROLE}`"
            yield Problem(path, told)


def _role(document: Document) -> bool:
    return _ROLE in document.annotations


def system_namespace(document: Document, context: Context) -> Iterator[Problem]:
    """Find an InferenceService where the webhook does not look at pods."""
    if document.namespace in _SYSTEM:
        told = f"`{document.namespace}` is the namespace of KServe's controller"
        yield Problem(("metadata", "namespace"), told)


def long_name(document: Document, context: Context) -> Iterator[Problem]:
    """Find a name that is too long for the Service or the host name made of it."""
    service = f"{document.name}-predictor"
    host = f"{service}-{document.namespace}" if document.namespace else service
    if len(host) > _MAX_LABEL:
        told = f"`{host}` has {len(host)} characters, {_MAX_LABEL} are allowed"
        yield Problem(("metadata", "name"), told)


def container_name(document: Document, context: Context) -> Iterator[Problem]:
    """Find several containers of which none is the model server."""
    runtime = document.kind != "InferenceService"
    path = ("spec",) if runtime else ("spec", "predictor")
    standard = not runtime and document.at("spec", "predictor", "model")
    names = [each.get("name") for each in maps(document.at(*path, "containers"))]
    mesh = document.at("spec", "multiModel")
    if len(names) > 1 and "kserve-container" not in names and not standard and not mesh:
        yield Problem((*path, "containers"), "no container is called `kserve-container`")


def parallel_size(document: Document, context: Context) -> Iterator[Problem]:
    """Find sizes of a multi-node model that the webhook refuses."""
    worker = document.at("spec", "predictor", "workerSpec")
    if worker is None:
        return
    for index, item in enumerate(maps(document.at("spec", "predictor", "model", "env"))):
        if item.get("name") in ("PIPELINE_PARALLEL_SIZE", "TENSOR_PARALLEL_SIZE"):
            path = ("spec", "predictor", "model", "env", index)
            yield Problem(path, f"`{item['name']}` must not be set here; use `workerSpec`")
    for key in ("pipelineParallelSize", "tensorParallelSize"):
        size = document.at("spec", "predictor", "workerSpec", key)
        if isinstance(size, int) and size < 1:
            yield Problem(
                ("spec", "predictor", "workerSpec", key), f"must be at least 1, not {size}"
            )


def llm_scaling(document: Document, context: Context) -> Iterator[Problem]:
    """Find scaling of an LLM that the webhook refuses."""
    backends = []
    for path in (("spec",), ("spec", "prefill")):
        scaling = document.at(*path, "scaling")
        if not isinstance(scaling, Mapping):
            continue
        if document.at(*path, "replicas") is not None:
            yield Problem((*path, "scaling"), "`scaling` and `replicas` exclude each other")
        low, high = scaling.get("minReplicas"), scaling.get("maxReplicas")
        if low is not None and high is not None and low > high:
            told = f"{low} is more than `maxReplicas`, {high}"
            yield Problem((*path, "scaling", "minReplicas"), told)
        wva = scaling.get("wva") or {}
        backends += [key for key in ("hpa", "keda") if wva.get(key) is not None]
    if len(set(backends)) > 1:
        told = "decode and prefill scale by different autoscalers, `hpa` and `keda`"
        yield Problem(("spec", "prefill", "scaling", "wva"), told)


RULES = (
    Rule(
        "kserve/s3-endpoint",
        "error",
        ("Secret", "ServiceAccount"),
        s3_endpoint,
        "KServe puts `https://` before it. Write the host, such as `minio.storage:9000`, with or "
        "without `http://` or `https://`; the bucket belongs in `storageUri`.",
        f"{_CREDENTIALS}s3/utils.go",
    ),
    Rule(
        "kserve/s3-annotation",
        "warning",
        ("Secret", "ServiceAccount", *ISVC),
        s3_annotation,
        "It has no effect, and the storage initializer contacts AWS with its defaults.",
        f"{_CREDENTIALS}service_account_credentials.go",
    ),
    Rule(
        "kserve/system-namespace",
        "warning",
        ISVC,
        system_namespace,
        "The webhook that adds the storage initializer skips namespaces with the label "
        '`control-plane`, so the model is not fetched: "/mnt/models not found". Use a namespace '
        "of your own.",
        "kserve/kserve v0.20.0 config/webhook/manifests.yaml",
    ),
    Rule(
        "kserve/long-name",
        "error",
        ISVC,
        long_name,
        "The Service is called NAME-predictor and the host NAME-predictor-NAMESPACE by default; "
        "each part of a host name has at most 63 characters.",
        "kserve/kserve v0.20.0 config/configmap/inferenceservice.yaml",
    ),
    Rule(
        "kserve/container-name",
        "error",
        (*ISVC, "serving.kserve.io/ServingRuntime", "serving.kserve.io/ClusterServingRuntime"),
        container_name,
        "Of several containers the model server is the one called `kserve-container`; without it "
        "the controller fails (kserve/kserve#4986).",
        "kserve/kserve v0.20.0 pkg/apis/serving/v1beta1/predictor_custom.go",
    ),
    Rule(
        "kserve/parallel-size",
        "error",
        ISVC,
        parallel_size,
        "The webhook refuses it.",
        VALIDATION,
    ),
    Rule(
        "kserve/llm-scaling",
        "error",
        ("serving.kserve.io/LLMInferenceService", "serving.kserve.io/LLMInferenceServiceConfig"),
        llm_scaling,
        "The webhook refuses it: a number of replicas is fixed or scaled, and both halves of a "
        "disaggregated model scale by the same metrics.",
        "kserve/kserve v0.20.0 pkg/apis/serving/v1alpha2/llm_inference_service_validation.go",
    ),
)
