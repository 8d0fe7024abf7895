"""What is wrong with any manifest: YAML, fields, names, URIs that only MLflow understands."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mlops.errors import did_you_mean
from mlops.linting.base import Context, Problem, Rule
from mlops.linting.documents import Document, Path
from mlops.linting.structure import MISSING, TYPE, UNKNOWN, VALUE, builtin_kinds

YAML, REPEATED, KIND = "yaml", "repeated-key", "unknown-kind"
NO_MANIFEST, STRAY = "no-manifest", "not-a-manifest"
TEMPLATE, PARTIAL, REMOVED = "template", "partial-object", "removed-version"
#: Kinds (all if there is none), the release that dropped the version, and what to write instead.
_REMOVED: Mapping[str, tuple[tuple[tuple[str, ...], str, str], ...]] = {
    "extensions/v1beta1": (
        (("Ingress",), "1.22", "networking.k8s.io/v1"),
        (("NetworkPolicy",), "1.16", "networking.k8s.io/v1"),
        (("PodSecurityPolicy",), "1.16", ""),
        (("Deployment", "DaemonSet", "ReplicaSet"), "1.16", "apps/v1"),
    ),
    "apps/v1beta1": (((), "1.16", "apps/v1"),),
    "apps/v1beta2": (((), "1.16", "apps/v1"),),
    "admissionregistration.k8s.io/v1beta1": (
        (
            ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"),
            "1.22",
            "admissionregistration.k8s.io/v1",
        ),
    ),
    "apiextensions.k8s.io/v1beta1": (((), "1.22", "apiextensions.k8s.io/v1"),),
    "apiregistration.k8s.io/v1beta1": (((), "1.22", "apiregistration.k8s.io/v1"),),
    "networking.k8s.io/v1beta1": ((("Ingress", "IngressClass"), "1.22", "networking.k8s.io/v1"),),
    "rbac.authorization.k8s.io/v1beta1": (((), "1.22", "rbac.authorization.k8s.io/v1"),),
    "scheduling.k8s.io/v1beta1": (((), "1.22", "scheduling.k8s.io/v1"),),
    "batch/v1beta1": (((), "1.25", "batch/v1"),),
    "policy/v1beta1": (
        (("PodDisruptionBudget",), "1.25", "policy/v1"),
        (("PodSecurityPolicy",), "1.25", ""),
    ),
    "autoscaling/v2beta1": (((), "1.25", "autoscaling/v2"),),
    "autoscaling/v2beta2": (((), "1.26", "autoscaling/v2"),),
}

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_SECRET = re.compile(
    r"(^|_)(PASSWORD|PASSWD|SECRET|TOKEN|SECRET_KEY|SECRET_ACCESS_KEY|PRIVATE_KEY|API_KEY)$"
)
#: Called tokens, and no secrets: etcd's members find each other by them.
_PUBLIC = re.compile(r"(CLUSTER|DISCOVERY)_TOKEN$")
#: Written in templates for a name to be filled in.
_CAPITALS = re.compile(r"[A-Z]{2,}[_-][A-Z]{2,}")
#: Files of other programs that are written like objects of Kubernetes, or were OpenShift's.
_NO_OBJECTS = (
    "Config", "Policy", "Template", "DeploymentConfig", "BuildConfig", "ImageStream", "Route",
)  # fmt: skip
#: `…_SECRET` may hold a secret or name one; these values name something or switch something.
_NO_SECRET = re.compile(
    r"(true|false|yes|no|none|null|\d)|[/$].*|[a-z0-9-]*-secret[a-z0-9-]*", re.I
)
_USERINFO = re.compile(r"^[a-z][a-z0-9+.]*://[^/@\s]*:[^/@\s]+@", re.IGNORECASE)
#: Bytes that a ConfigMap or a Secret holds at most.
MAX_DATA = 1024 * 1024
_URI_FIELDS = ("storageUri", "modelUri")
_ONLY_MLFLOW = ("models:", "runs:", "mlflow-artifacts:", "mlflow:")


def nothing(document: Document, context: Context) -> Iterator[Problem]:
    """Placeholder for a check that is made while the document is read."""
    yield from ()


def removed_version(document: Document) -> Problem | None:
    """Say that Kubernetes serves this version of its API no longer."""
    for kinds, since, now in _REMOVED.get(document.api_version, ()):
        if not kinds or document.kind in kinds:
            told = f"Kubernetes {since} removed `{document.api_version}/{document.kind}`"
            return Problem(
                ("apiVersion",), f"{told}; {f'use `{now}`' if now else 'nothing replaces it'}"
            )
    if document.api_version.startswith("serving.kubeflow.org/"):
        told = f"`{document.api_version}` is KFServing's; KServe serves `serving.kserve.io/v1beta1`"
        return Problem(("apiVersion",), told)
    return None


def unknown_kind(document: Document, known: frozenset[str]) -> Problem | None:
    """Say that a known group has no such kind or version; None for unknown groups."""
    if not document.is_object:
        return None
    if document.api_version in builtin_kinds():
        return _unknown_builtin(document, known)
    name = f"{document.api_version}/{document.kind}"
    group = document.api_version.rpartition("/")[0]
    ours = sorted(
        kind for kind in known if kind.rsplit("/", 2)[0] == group and kind.count("/") == 2
    )
    if not ours or not group.endswith((".seldon.io", ".kserve.io")) or name in known:
        return None
    same = [kind for kind in ours if kind.endswith(f"/{document.kind}")]
    hint = did_you_mean(name, same or ours) or f"Known: {', '.join(ours)}."
    return Problem(("apiVersion",), f"`{name}` does not exist. {hint}")


def _unknown_builtin(document: Document, known: frozenset[str]) -> Problem | None:
    """Say that Kubernetes has no such kind in this group; all of its own kinds are known."""
    version, kind = document.api_version, document.kind
    if kind in builtin_kinds()[version] or (version == "v1" and kind in _NO_OBJECTS):
        return None
    every = {f"{v}/{k}" for v, kinds in builtin_kinds().items() for k in kinds} | known
    elsewhere = sorted(each for each in every if each.endswith(f"/{kind}"))
    # Kinds alone are compared: what they share with their group would make all of them close.
    hint = (
        f"Did you mean `{elsewhere[-1]}`?"
        if elsewhere
        else did_you_mean(kind, builtin_kinds()[version])
        or did_you_mean(kind, sorted(each.rpartition("/")[2] for each in every))
    )
    return Problem(("kind",), f"`{version}/{kind}` does not exist{f'. {hint}' if hint else ''}")


def no_manifest(documents: Sequence[Document], *, named: bool) -> Problem | None:
    """Say that a file has no object, if it should have: it was named, or it has parts of one."""
    if any(document.is_object for document in documents):
        return None
    partly = next((document for document in documents if _is_partly(document)), None)
    if partly is not None:
        missing = "kind" if partly.api_version else "apiVersion"
        return Problem((), f"this file contains no manifest: `{missing}` is missing")
    return Problem((), "this file contains no manifest") if named else None


def _is_partly(document: Document) -> bool:
    """Whether it is meant as an object: Helm's charts and values have no such two things."""
    meant = isinstance(document.at("metadata"), Mapping) or isinstance(document.at("spec"), Mapping)
    return meant and bool(document.api_version or document.kind)


def stray(document: Document) -> Problem | None:
    """Say that a document beside manifests is none, for it has no `apiVersion` or no `kind`."""
    if document.is_object:
        return None
    missing = " and ".join(f"`{key}`" for key in ("apiVersion", "kind") if not document.at(key))
    return Problem((), f"this document has no {missing}")


def name(document: Document, context: Context) -> Iterator[Problem]:
    """Find objects without a name, or with one that no object can have."""
    if not document.name:
        if not document.at("metadata", "generateName"):
            yield Problem(("metadata",), "`name` is missing")
    elif document.api_version.startswith("rbac.authorization.k8s.io/"):
        # Roles may be called anything that fits in a path.
        if re.search(r"[/%]", document.name):
            told = f"`{document.name}` contains `/` or `%`"
            yield Problem(("metadata", "name"), told)
    elif _CAPITALS.search(document.name):
        return
    elif not _NAME.fullmatch(document.name) or len(document.name) > 253:
        yield Problem(
            ("metadata", "name"),
            f"`{document.name}` is not a valid name: use lower-case letters, digits, `-` and `.`",
        )


def repeated_object(document: Document, context: Context) -> Iterator[Problem]:
    """Find an object that is given twice: the later one wins, silently."""
    for other in context.beside(document, document.kind):
        if other is document:
            return
        if (
            other.file == document.file
            and document.name
            and _identity(other) == _identity(document)
        ):
            told = f"{document.kind} `{document.name}` is also in line {other.line(('kind',))}"
            yield Problem(("metadata", "name"), told)
            return


def _identity(document: Document) -> tuple[str, str, str]:
    return document.group_kind, document.namespace, document.name


def secret_value(document: Document, context: Context) -> Iterator[Problem]:
    """Find a credential written into an environment variable or a URI."""
    if document.group_kind == "Secret":
        return
    for path, value in _walk(document.data, ()):
        if isinstance(value, str) and _USERINFO.match(value):
            yield Problem(path, "the URI contains a user name and a password")
        if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
            continue
        held = value.get("value")
        called = value["name"].upper()
        secret = _SECRET.search(called) and not _PUBLIC.search(called)
        if secret and isinstance(held, str) and held and not _NO_SECRET.fullmatch(held):
            yield Problem((*path, "value"), f"the value of `{value['name']}` is in plain text")


def mlflow_uri(document: Document, context: Context) -> Iterator[Problem]:
    """Find model URIs that mean something to MLflow or to one machine only."""
    for path, value in _walk(document.data, ()):
        if not path or path[-1] not in _URI_FIELDS or not isinstance(value, str):
            continue
        if value.startswith(_ONLY_MLFLOW):
            yield Problem(path, f"only MLflow can read `{value}`")


def local_path(document: Document, context: Context) -> Iterator[Problem]:
    """Find model URIs that are paths, where models are fetched from a store."""
    if document.api_version.startswith("mlops.seldon.io/"):
        # Servers of Seldon Core 2 may have volumes of models mounted.
        return
    for path, value in _walk(document.data, ()):
        if not path or path[-1] not in _URI_FIELDS or not isinstance(value, str) or not value:
            continue
        local = value.startswith("file:") or ":" not in value
        if local and not value.startswith("/mnt/models"):
            yield Problem(path, f"`{value}` is a path in the container, not the URI of a store")


def image_tag(document: Document, context: Context) -> Iterator[Problem]:
    """Find images that may be another tomorrow."""
    for path, value in _walk(document.data, ()):
        if not path or path[-1] != "image" or not isinstance(value, str) or not value:
            continue
        last = value.rpartition("/")[2]
        if "@" not in last and (":" not in last or last.endswith(":latest")):
            yield Problem(path, f"`{value}` has no version")


def too_large(document: Document, context: Context) -> Iterator[Problem]:
    """Find ConfigMaps and Secrets that hold more than the API server takes."""
    data = document.at("data")
    if not isinstance(data, Mapping):
        return
    size = sum(len(str(value).encode()) for pair in data.items() for value in pair)
    if size > MAX_DATA:
        yield Problem(("data",), f"it holds {size:,} bytes, and the API server takes {MAX_DATA:,}")


def _walk(value: object, path: Path) -> Iterator[tuple[Path, Any]]:
    yield path, value
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _walk(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _walk(item, (*path, index))


RULES = (
    Rule(
        YAML,
        "error",
        (),
        nothing,
        "`kubectl` reads YAML 1.1. Nothing else in the file was checked.",
        "https://yaml.org/spec/1.1/",
    ),
    Rule(
        REPEATED,
        "error",
        (),
        nothing,
        "If a key is repeated in a mapping, the last one wins silently.",
    ),
    Rule(
        KIND,
        "error",
        (),
        nothing,
        "The API server refuses a kind or a version that it does not serve.",
    ),
    Rule(
        TEMPLATE,
        "note",
        (),
        nothing,
        "It becomes a manifest when it is rendered: `helm template CHART | mlops lint -`, "
        "`envsubst`, or the engine it is written for.",
    ),
    Rule(
        PARTIAL,
        "note",
        (),
        nothing,
        "What a patch leaves out comes from the object it changes, so only its fields were "
        "checked: `kubectl kustomize FOLDER | mlops lint -` checks the whole.",
        "https://kubectl.docs.kubernetes.io/references/kustomize/kustomization/patches/",
    ),
    Rule(
        REMOVED,
        "warning",
        (),
        nothing,
        "Current clusters do not serve this version, so `kubectl apply` finds no such kind. The "
        "fields may have changed too: read the guide before you replace the version.",
        "https://kubernetes.io/docs/reference/using-api/deprecation-guide/",
    ),
    Rule(
        NO_MANIFEST,
        "error",
        (),
        nothing,
        "Every object of a cluster says its `apiVersion` and `kind`; here no document does, so "
        "nothing was checked. Name rendered manifests; in a folder, other files are skipped.",
        "https://kubernetes.io/docs/concepts/overview/working-with-objects/#required-fields",
    ),
    Rule(
        STRAY,
        "warning",
        (),
        nothing,
        "`kubectl apply` refuses a document without `apiVersion` and `kind` after applying those "
        "before it.",
        "https://kubernetes.io/docs/concepts/overview/working-with-objects/#required-fields",
    ),
    Rule(
        UNKNOWN,
        "error",
        (),
        nothing,
        "The API server silently drops fields that the kind does not have. `kubectl apply "
        "--validate=strict` refuses it, but only where the cluster's CRDs are complete.",
        "https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#field-pruning",
    ),
    Rule(TYPE, "error", (), nothing, "The API server refuses a value of the wrong type."),
    Rule(MISSING, "error", (), nothing, "The API server refuses the object without it."),
    Rule(VALUE, "error", (), nothing, "The API server refuses the value."),
    Rule(
        "name",
        "error",
        (),
        name,
        "Names of objects are DNS subdomains of up to 253 characters.",
        "https://kubernetes.io/docs/concepts/overview/working-with-objects/names/",
    ),
    Rule(
        "repeated-object",
        "error",
        (),
        repeated_object,
        "`kubectl apply` applies both, one after the other; the later one wins.",
    ),
    Rule(
        "config-size",
        "error",
        ("ConfigMap", "Secret"),
        too_large,
        "The API server refuses it: these kinds are for settings. Keep data in an image, a volume "
        "or a store.",
        "https://kubernetes.io/docs/concepts/configuration/configmap/#motivation",
    ),
    Rule(
        "secret-value",
        "warning",
        (),
        secret_value,
        "Manifests are kept in repositories and shown by `kubectl get -o yaml`. Keep the value in"
        " a Secret and refer to it with `secretKeyRef`, `envFrom` or the platform's own field.",
        "https://kubernetes.io/docs/concepts/configuration/secret/",
    ),
    Rule(
        "mlflow-uri",
        "error",
        (),
        mlflow_uri,
        "No storage initializer knows MLflow's own schemes; some take `models:/x` for a path and "
        "fail in the pod. Write the artifact URI, which `mlops deploy --target … --render` looks "
        "up in the registry; `mlops models push` copies a local model to a store the cluster can "
        "reach.",
        "kserve/kserve v0.20.0 pkg/controller/v1beta1/inferenceservice/utils/utils.go",
    ),
    Rule(
        "local-path",
        "warning",
        (),
        local_path,
        "No storage initializer copies it: the path must be in the image, or on a volume that is "
        "mounted there. To have the model fetched, write the URI of a store, such as `s3://…`; "
        "`mlops models push` copies a local model to one.",
        "kserve/kserve v0.20.0 pkg/controller/v1beta1/inferenceservice/utils/utils.go",
    ),
    Rule(
        "image-tag",
        "warning",
        (),
        image_tag,
        "`latest` changes over time, and nodes may have different images under that tag. Name a "
        "version.",
        "https://kubernetes.io/docs/concepts/containers/images/",
    ),
)
