"""Seldon Core v2: Models, Experiments, Servers and their Secrets.

No admission webhook looks at these kinds; what the scheduler refuses shows only as a condition.
Behaviour is that of SeldonIO/seldon-core v2.10.2.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

import yaml
from packaging.version import Version

from mlops.errors import did_you_mean
from mlops.linting.base import Context, Problem, Rule, maps, twice
from mlops.linting.documents import Document

_GROUP = "mlops.seldon.io"
MODEL, EXPERIMENT = (f"{_GROUP}/Model",), (f"{_GROUP}/Experiment",)
PIPELINE, SERVER = (f"{_GROUP}/Pipeline",), (f"{_GROUP}/Server",)
ALL = (*MODEL, *EXPERIMENT, *PIPELINE, *SERVER)
_CAPABILITIES = (
    "mlserver", "alibi-detect", "alibi-explain", "huggingface", "lightgbm", "mlflow", "python",
    "sklearn", "spark-mlib", "xgboost", "triton", "dali", "fil", "onnx", "openvino", "pytorch",
    "tensorflow", "tensorrt",
)  # fmt: skip
_LAST_APACHE = Version("2.6.0")
_LATER = {
    "Model": ("dataflow", "llm"),
    "Pipeline": ("allowCycles", "dataflow", "maxStepRevisits"),
    "Server": ("deploymentStrategy", "statefulSetPersistentVolumeClaimRetentionPolicy"),
}
_VALIDATE = "SeldonIO/seldon-core v2.10.2 scheduler/pkg/store/experiment/validate.go"
_ENVOY = "SeldonIO/seldon-core v2.10.2 scheduler/pkg/envoy/xdscache/resource.go"
_TYPES = "SeldonIO/seldon-core v2.10.2 operator/apis/mlops/v1alpha1/"
_STORAGE = "SeldonIO/seldon-core v2.10.2 docs-gb/kubernetes/storage-secrets.md"


def name(document: Document, context: Context) -> Iterator[Problem]:
    """Find names with dots, which headers and topics are split at."""
    if "." in document.name:
        yield Problem(("metadata", "name"), f"`{document.name}` contains a dot")


def default(document: Document, context: Context) -> Iterator[Problem]:
    """Find a default that is not a candidate."""
    wanted = document.at("spec", "default")
    if wanted and wanted not in _candidates(document):
        yield Problem(("spec", "default"), f"`{wanted}` is not among the candidates")


def no_default(document: Document, context: Context) -> Iterator[Problem]:
    """Find an Experiment that only a header reaches."""
    if not document.at("spec", "default"):
        yield Problem(("spec",), "`default` is missing")


def shared_default(document: Document, context: Context) -> Iterator[Problem]:
    """Find a model that two Experiments take over."""
    wanted = document.at("spec", "default")
    for other in context.beside(document, "Experiment"):
        if other is document:
            return
        if (
            wanted
            and other.at("spec", "default") == wanted
            and other.namespace == document.namespace
        ):
            yield Problem(("spec", "default"), f"is also the default of `{other.name}`")


def candidates(document: Document, context: Context) -> Iterator[Problem]:
    """Find an Experiment without anything to try, or with one thing twice."""
    names = _candidates(document)
    mirror = document.at("spec", "mirror", "name")
    if not names and not mirror:
        yield Problem(("spec",), "must have a candidate or a mirror")
    for index, found in twice(names):
        yield Problem(("spec", "candidates", index, "name"), f"the name `{found}` is already used")
    if mirror in names:
        yield Problem(("spec", "mirror", "name"), f"`{mirror}` is also a candidate")


def weights(document: Document, context: Context) -> Iterator[Problem]:
    """Find weights that sum to zero or are negative."""
    found = [item.get("weight") or 0 for item in maps(document.at("spec", "candidates"))]
    for index, weight in enumerate(found):
        if weight < 0:
            yield Problem(
                ("spec", "candidates", index, "weight"), f"must not be negative, not {weight}"
            )
    if found and sum(found) <= 0:
        yield Problem(("spec", "candidates"), "the weights sum to 0")


def mirror(document: Document, context: Context) -> Iterator[Problem]:
    """Find a share of a mirror that is not a percentage."""
    percent = document.at("spec", "mirror", "percent")
    if percent is not None and not 0 <= percent <= 100:
        yield Problem(("spec", "mirror", "percent"), f"must be from 0 to 100, not {percent}")


def resource_type(document: Document, context: Context) -> Iterator[Problem]:
    """Find a type that is read as another."""
    kind = document.at("spec", "resourceType")
    if kind and kind not in ("model", "pipeline"):
        yield Problem(("spec", "resourceType"), f"must be `model` or `pipeline`, not `{kind}`")


def known_candidates(document: Document, context: Context) -> Iterator[Problem]:
    """Find candidates that none of the manifests makes."""
    kind = "Pipeline" if document.at("spec", "resourceType") == "pipeline" else "Model"
    if not context.beside(document, kind):
        return
    made = {each.name for each in context.of_kind(kind)}
    for index, item in enumerate(maps(document.at("spec", "candidates"))):
        if item.get("name") not in made:
            yield Problem(
                ("spec", "candidates", index, "name"),
                f"{kind} `{item.get('name')}` is not among these manifests",
            )
    wanted = document.at("spec", "mirror", "name")
    if wanted and wanted not in made:
        yield Problem(("spec", "mirror", "name"), f"{kind} `{wanted}` is not among these manifests")


def exclusive(document: Document, context: Context) -> Iterator[Problem]:
    """Find fields that exclude each other."""
    explainer = document.at("spec", "explainer")
    if isinstance(explainer, Mapping):
        if explainer.get("modelRef") and explainer.get("pipelineRef"):
            yield Problem(("spec", "explainer"), "`modelRef` and `pipelineRef` exclude each other")
        if document.at("spec", "llm"):
            yield Problem(("spec", "llm"), "`explainer` and `llm` exclude each other")


def capability(document: Document, context: Context) -> Iterator[Problem]:
    """Find a requirement that the named Server does not meet, or that is nearly a known one."""
    known = set(_CAPABILITIES)
    for server in context.of_kind("Server"):
        known |= _capabilities(server)
    for index, wanted in enumerate(document.at("spec", "requirements") or ()):
        hint = did_you_mean(wanted, known)
        if wanted not in known and hint:
            path = ("spec", "requirements", index)
            yield Problem(path, f"no Server is known to have `{wanted}`. {hint}")


def _capabilities(server: Document) -> set[str]:
    keys = ("capabilities", "extraCapabilities")
    return {str(each) for key in keys for each in server.at("spec", key) or ()}


def storage(document: Document, context: Context) -> Iterator[Problem]:
    """Find a URI of a volume claim, which rclone does not know."""
    uri = str(document.at("spec", "storageUri") or "")
    if uri.startswith("pvc://"):
        yield Problem(("spec", "storageUri"), f"`{uri}` cannot be read by rclone")


def replicas(document: Document, context: Context) -> Iterator[Problem]:
    """Find a Model with more replicas than the Server it names."""
    for server in context.beside(document, "Server"):
        if server.name != document.at("spec", "server") or server.at("spec", "maxReplicas"):
            continue
        wanted, there = document.at("spec", "replicas"), server.at("spec", "replicas") or 1
        if wanted and wanted > there:
            told = f"must be at most {there}, the replicas of Server `{server.name}`, not {wanted}"
            yield Problem(("spec", "replicas"), told)


def memory(document: Document, context: Context) -> Iterator[Problem]:
    """Find a Model that says not what it needs."""
    if document.at("spec", "memory") is None:
        yield Problem(("spec",), "`memory` is missing")


def secret(document: Document, context: Context) -> Iterator[Problem]:
    """Find a storage Secret that does not fit its Model."""
    wanted = document.at("spec", "secretName")
    held = context.named("Secret", str(wanted), document) if wanted else None
    if held is None:
        return
    texts: dict[str, str] = {}
    for table in ("data", "stringData"):
        found = held.at(table)
        texts |= found if isinstance(found, Mapping) else {}
    if len(texts) != 1:
        yield Problem(("spec", "secretName"), f"Secret `{wanted}` has {len(texts)} keys, not 1")
        return
    remote = _remote(next(iter(texts.values()))) if held.at("stringData") else None
    scheme = str(document.at("spec", "storageUri")).partition("://")[0]
    if remote and remote != scheme:
        yield Problem(
            ("spec", "storageUri"),
            f"the scheme is `{scheme}`, and the remote in Secret `{wanted}` is `{remote}`",
        )


def image(document: Document, context: Context) -> Iterator[Problem]:
    """Find an MLflow Model on whatever Server the runtime has."""
    requirements = document.at("spec", "requirements") or ()
    if "mlflow" in requirements and not document.at("spec", "server"):
        yield Problem(("spec",), "`server` is missing for a model that requires mlflow")


def licence(document: Document, context: Context) -> Iterator[Problem]:
    """Find a platform under the Business Source License, or fields that only it has."""
    if context.versions.get("seldon2") and context.version("seldon2") > _LAST_APACHE:
        version = context.versions["seldon2"]
        yield Problem(("apiVersion",), f"Seldon Core {version} is under BSL 1.1")
    for key in _LATER.get(document.kind, ()):
        if document.at("spec", key) is not None and context.version("seldon2") <= _LAST_APACHE:
            yield Problem(("spec", key), f"2.6.0 does not have `{key}`")


def full_image(document: Document, context: Context) -> Iterator[Problem]:
    """Find MLServer's image with all runtimes."""
    for index, container in enumerate(maps(document.at("spec", "podSpec", "containers"))):
        match = re.match(
            r"(docker\.io/)?seldonio/mlserver:(\d+\.\d+\.\d+)$", str(container.get("image"))
        )
        if match and Version(match[2]) >= Version("1.4.0"):
            path = ("spec", "podSpec", "containers", index, "image")
            yield Problem(path, f"`{container['image']}` contains all runtimes")


def feedback(document: Document, context: Context) -> Iterator[Problem]:
    """Find feedback sent to a platform that takes none."""
    if context.feedback and not context.has_router:
        yield Problem(("kind",), "Seldon Core v2 has no feedback endpoint")


def _candidates(document: Document) -> list[str]:
    return [str(item.get("name")) for item in maps(document.at("spec", "candidates"))]


def _remote(text: str) -> str:
    try:
        document = json.loads(text) if text.lstrip().startswith("{") else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError):
        return ""
    return str(document.get("name") or "") if isinstance(document, dict) else ""


RULES = (
    Rule("seldon2/name", "error", ALL, name,
         "Names are joined with dots in the header `seldon-model` and in topics.", _ENVOY),
    Rule("seldon2/default", "error", EXPERIMENT, default,
         "The scheduler refuses it; the object is created and never becomes ready.", _VALIDATE),
    Rule("seldon2/no-default", "warning", EXPERIMENT, no_default,
         "Clients reach it only with the header `seldon-model: NAME.experiment`; by path alone "
         "they get a 404.", _ENVOY),
    Rule("seldon2/shared-default", "warning", EXPERIMENT, shared_default,
         "A model can be the default of one Experiment only; if both are applied, the scheduler "
         "refuses the second.", _VALIDATE),
    Rule("seldon2/candidates", "error", EXPERIMENT, candidates,
         "The scheduler refuses it; the object is created and never becomes ready.", _VALIDATE),
    Rule("seldon2/weights", "error", EXPERIMENT, weights,
         "Weights are not checked; Envoy refuses a total of 0, and the Experiment has no route.",
         _ENVOY),
    Rule("seldon2/mirror", "error", EXPERIMENT, mirror,
         "It is not checked; Envoy uses it as the numerator of a fraction over 100.", _ENVOY),
    Rule("seldon2/resource-type", "error", EXPERIMENT, resource_type,
         "The CRD has no list of values: anything but `pipeline` is read as `model`.", _TYPES),
    Rule("seldon2/unknown-candidate", "error", EXPERIMENT, known_candidates,
         "It is not checked; until the model exists, the Experiment is not ready.", _VALIDATE),
    Rule("seldon2/exclusive", "error", MODEL, exclusive,
         "Only one of the two is allowed.", _TYPES),
    Rule("seldon2/storage", "error", MODEL, storage,
         "The agent fetches models with rclone, which has no volume claims. Mount the claim in "
         "the Server's `podSpec` and write the path in the agent's container.", _STORAGE),
    Rule("seldon2/replicas", "error", MODEL, replicas,
         "Each replica of a Model needs a replica of its Server; the Model is not scheduled.",
         "SeldonIO/seldon-core v2.10.2 docs-gb/models/scheduling.md"),
    Rule("seldon2/capability", "warning", MODEL, capability,
         "Every requirement must be a capability of one Server, or the Model is never scheduled. "
         "Note the spelling `spark-mlib`.",
         "SeldonIO/seldon-core v2.10.2 docs-gb/servers/servers.md"),
    Rule("seldon2/memory", "warning", MODEL, memory,
         "The scheduler packs models by memory; without it a server is given more models than "
         "fit.",
         _TYPES),
    Rule("seldon2/storage-secret", "error", MODEL, secret,
         "The agent reads a Secret with exactly one key, with `type`, `name` and `parameters`; "
         "`name` is the remote's and must equal the scheme of `storageUri`.", _STORAGE),
    Rule("seldon2/image", "warning", MODEL, image,
         "It is scheduled on a Server with MLServer's default image: Python 3.10 and MLflow 2.x, "
         "which cannot read what a current MLflow logs. Name a Server with an image of your own.",
         "SeldonIO/MLServer Dockerfile"),
    Rule("seldon2/licence", "warning", ALL, licence,
         "From 2.7.0 on Seldon Core is under the Business Source License 1.1: no production use "
         "without a commercial licence. 2.6.0 is the last under Apache-2.0, and prunes fields it "
         "does not have.",
         "SeldonIO/seldon-core LICENSE at v2.6.0 and v2.7.0"),
    Rule("seldon2/full-image", "warning", SERVER, full_image,
         "From MLServer 1.4.0 on it carries alibi and alibi-detect, which are under the Business "
         "Source License 1.1. The `-mlflow` variant does not.",
         "SeldonIO/MLServer licenses/license_info.csv"),
    Rule("seldon2/feedback", "error", EXPERIMENT, feedback,
         "There is no feedback endpoint, no reward metric, no router and no bandit. Put a router "
         "in front that takes feedback, such as `mlops deploy --target seldon2 --router`.",
         "SeldonIO/seldon-core v2.10.2 apis/"),
)  # fmt: skip
