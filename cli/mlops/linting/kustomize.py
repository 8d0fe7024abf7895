"""Parts of objects: patches for kustomize, which are not checked as whole objects."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mlops.linting.base import maps
from mlops.linting.documents import Document

#: Keys of a kustomization whose entries are files of patches, or name one under `path`.
PATCHES = ("patches", "patchesStrategicMerge", "patchesJson6902", "crds", "configurations")
#: Required fields that a kustomization fills in, by its labels and its namespace.
FILLED_IN = ("selector", "namespace")


def is_kustomization(document: Document) -> bool:
    """Return whether a document is a kustomization or one of its components, by kind or by name."""
    stem = posixpath.basename(document.file).partition(".")[0].lower()
    return document.kind in ("Kustomization", "Component") or stem == "kustomization"


def named(documents: Iterable[Document], *keys: str) -> Iterator[str]:
    """Yield the files that kustomizations among the documents name under some keys."""
    for document in documents:
        if is_kustomization(document):
            for name in _named(document.data, keys):
                yield posixpath.normpath(posixpath.join(document.folder, name))


def _named(data: Mapping[str, Any], keys: Iterable[str]) -> Iterator[str]:
    for key in keys:
        entries = data.get(key)
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, str):
                yield entry
        for item in maps(entries):
            if isinstance(item.get("path"), str):
                yield item["path"]


def patches(document: Document) -> bool:
    """Return whether a document is a patch by what it says, or by how its file is called."""
    *_, folder, file = ("", *document.file.lower().split("/"))
    return "patch" in file or "patch" in folder or _has_directive(document.data)


def _has_directive(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(key.startswith("$patch") or _has_directive(item) for key, item in value.items())
    return isinstance(value, list) and any(_has_directive(item) for item in value)
