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

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_SECRET = re.compile(r"(PASSWORD|SECRET|TOKEN|ACCESS_KEY|CREDENTIAL|PRIVATE_KEY)")
_SWITCHES = ("true", "false")
_USERINFO = re.compile(r"^[a-z][a-z0-9+.]*://[^/@\s]*:[^/@\s]+@", re.IGNORECASE)
_URI_FIELDS = ("storageUri", "modelUri", "uri")
_ONLY_MLFLOW = ("models:", "runs:", "mlflow-artifacts:", "mlflow:")


def nothing(document: Document, context: Context) -> Iterator[Problem]:
    """Stand in for a check that is made while the document is read."""
    yield from ()


def unknown_kind(document: Document, known: frozenset[str]) -> Problem | None:
    """Say that a group we know has no such kind or version; None for groups we do not know."""
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
    hint = did_you_mean(name, ours) or f"Known: {', '.join(ours)}."
    return Problem(("apiVersion",), f"there is no `{name}`. {hint}")


def _unknown_builtin(document: Document, known: frozenset[str]) -> Problem | None:
    """Say that Kubernetes has no such kind in this group; all of its own kinds are known."""
    version, kind = document.api_version, document.kind
    # A kubeconfig is written like an object and is none.
    if kind in builtin_kinds()[version] or (version, kind) == ("v1", "Config"):
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
    return Problem(("kind",), f"there is no `{version}/{kind}`{f'. {hint}' if hint else ''}")


def no_manifest(documents: Sequence[Document], *, named: bool) -> Problem | None:
    """Say that a file has no object, if it should have: it was named, or it has parts of one."""
    if any(document.is_object for document in documents):
        return None
    partly = next((document for document in documents if _is_partly(document)), None)
    if partly is not None:
        missing = "kind" if partly.api_version else "apiVersion"
        return Problem((), f"no manifest in this file: it has no `{missing}`")
    return Problem((), "no manifest in this file") if named else None


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
            yield Problem(("metadata",), "it has no name")
    elif not _NAME.fullmatch(document.name) or len(document.name) > 253:
        yield Problem(
            ("metadata", "name"),
            f"`{document.name}` is no name: use lower-case letters, digits, `-` and `.`",
        )


def repeated_object(document: Document, context: Context) -> Iterator[Problem]:
    """Find an object that is given twice: the later one wins, silently."""
    same = [
        other
        for other in context.documents
        if (other.group_kind, other.namespace, other.name)
        == (document.group_kind, document.namespace, document.name)
    ]
    if len(same) > 1 and same[0] is not document:
        where = f"{same[0].file}:{same[0].line(('kind',))}"
        yield Problem(("metadata", "name"), f"{document.kind} `{document.name}` is in {where} too")


def secret_value(document: Document, context: Context) -> Iterator[Problem]:
    """Find a credential written into an environment variable or a URI."""
    if document.group_kind == "Secret":
        return
    for path, value in _walk(document.data, ()):
        if isinstance(value, str) and _USERINFO.match(value):
            yield Problem(path, "the URI carries a user name and a password")
        if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
            continue
        held = value.get("value")
        if isinstance(held, str) and _SECRET.search(value["name"].upper()) and _is_secret(held):
            yield Problem((*path, "value"), f"the value of `{value['name']}` stands in plain text")


def _is_secret(value: str) -> bool:
    """Whether a value is not a file's name, a reference or a switch."""
    return bool(value) and not value.startswith(("/", "$(")) and value.lower() not in _SWITCHES


def mlflow_uri(document: Document, context: Context) -> Iterator[Problem]:
    """Find model URIs that mean something to MLflow or to one machine only."""
    for path, value in _walk(document.data, ()):
        if not path or path[-1] not in _URI_FIELDS or not isinstance(value, str):
            continue
        if value.startswith(_ONLY_MLFLOW):
            yield Problem(path, f"`{value}` can be read by MLflow only")
        elif value.startswith(("file:", "/", "./", "../")):
            yield Problem(path, f"`{value}` is a folder of one machine")


def image_tag(document: Document, context: Context) -> Iterator[Problem]:
    """Find images that may be another tomorrow."""
    for path, value in _walk(document.data, ()):
        if not path or path[-1] != "image" or not isinstance(value, str) or not value:
            continue
        last = value.rpartition("/")[2]
        if "@" not in last and (":" not in last or last.endswith(":latest")):
            yield Problem(path, f"`{value}` names no version")


def _walk(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:  # noqa: ANN401 - parsed YAML
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
        "Of two equal keys in one mapping the last one wins, without a word.",
    ),
    Rule(
        KIND,
        "error",
        (),
        nothing,
        "Kubernetes or the platform serves no such kind in this version, so the API server "
        "refuses it.",
    ),
    Rule(
        NO_MANIFEST,
        "error",
        (),
        nothing,
        "Every object of a cluster says its `apiVersion` and `kind`; here nothing does, so nothing "
        "was checked. Name the rendered manifests; of a folder, files of another sort are skipped.",
        "https://kubernetes.io/docs/concepts/overview/working-with-objects/#required-fields",
    ),
    Rule(
        STRAY,
        "warning",
        (),
        nothing,
        "`kubectl apply` refuses a document without `apiVersion` and `kind`, and takes those "
        "before it.",
        "https://kubernetes.io/docs/concepts/overview/working-with-objects/#required-fields",
    ),
    Rule(
        UNKNOWN,
        "error",
        (),
        nothing,
        "The API server drops fields that the kind does not have, without a word: what was meant "
        "does not happen. `kubectl apply --validate=strict` refuses it, but only where the "
        "cluster's CRDs are complete.",
        "https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#field-pruning",
    ),
    Rule(TYPE, "error", (), nothing, "The API server refuses a value of another type."),
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
        "`kubectl apply` takes both, one after the other; the later one wins.",
    ),
    Rule(
        "secret-value",
        "error",
        (),
        secret_value,
        "Manifests are kept in repositories and shown by `kubectl get -o yaml`. Keep the value "
        "in a "
        "Secret and refer to it with `secretKeyRef`, `envFrom` or the platform's own field.",
        "https://kubernetes.io/docs/concepts/configuration/secret/",
    ),
    Rule(
        "mlflow-uri",
        "error",
        (),
        mlflow_uri,
        "No storage initializer knows MLflow's own schemes, nor the folders of your machine; some "
        "take `models:/x` for a path and fail in the pod. Write the artifact URI, which "
        "`mlops deploy --target … --render` looks up in the registry; `mlops models push` copies a "
        "local model to a store the cluster can reach.",
        "kserve/kserve v0.20.0 pkg/controller/v1beta1/inferenceservice/utils/utils.go",
    ),
    Rule(
        "image-tag",
        "warning",
        (),
        image_tag,
        "`latest` is another image tomorrow, and each node may have its own. Name a version.",
        "https://kubernetes.io/docs/concepts/containers/images/",
    ),
)
