"""Files of an earlier rendering that are not rendered any more, and their objects in a cluster."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from mlops.deployment.manifest_files import RenderedFile

_MARK = "# Rendered by `mlops deploy"
_KUSTOMIZATION = "kustomization.yaml"
#: Hold evidence and keys; only a person deletes them.
_KEPT = ("PersistentVolumeClaim", "Secret", "Namespace")


def stale_files(folder: Path, name: str, files: Sequence[RenderedFile]) -> tuple[RenderedFile, ...]:
    """Return what is to be deleted from a folder, with the text that is there now.

    These are manifests that mlops has rendered of this deployment: those which the kustomization
    there lists, and those of objects with the deployment's name. All others stay.

    Args:
        folder: Where the deployment is rendered to.
        name: Of the deployment.
        files: What is rendered now.
    """
    listed = _listed(folder / _KUSTOMIZATION)
    if listed is None:
        return ()
    rendered = {Path(file.path).name for file in files}
    found = []
    for path in sorted(folder.glob("*.yaml")):
        text = "" if path.name in rendered or path.is_symlink() else _read(path)
        objects = _objects(text) if text.startswith(_MARK) else []
        own = path.name in listed or any(each["metadata"]["name"] == name for each in objects)
        if objects and own:
            found.append(RenderedFile(str(path), text, "delete", manifest=False))
    return tuple(found)


def delete_command(files: Sequence[RenderedFile], namespace: str) -> str:
    """Return the command that deletes the objects of deleted files; empty for none.

    Args:
        files: All files, of which some are to be deleted.
        namespace: Of objects that name none; empty for that of the context.
    """
    kept = {_identity(each) for file in files if file.change != "delete" for each in _made(file)}
    gone = [each for file in files if file.change == "delete" for each in _objects(file.text)]
    named = [
        f"{_kind(each)}/{each['metadata']['name']}"
        for each in gone
        if each["kind"] not in _KEPT and _identity(each) not in kept
    ]
    if not named:
        return ""
    where = namespace or next((each["metadata"].get("namespace", "") for each in gone), "")
    words = ["kubectl", "delete", *(["-n", where] if where else []), "--ignore-not-found", *named]
    return f"{shlex.join(words)}  # no longer rendered"


def _listed(path: Path) -> list[str] | None:
    """Return what a rendered kustomization lists; None where there is none that mlops rendered."""
    text = _read(path)
    if not text.startswith(_MARK):
        return None
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError:
        return None
    return [str(each) for each in document.get("resources", ())]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _made(file: RenderedFile) -> list[dict[str, Any]]:
    return _objects(file.text) if file.path.endswith(".yaml") else []


def _objects(text: str) -> list[dict[str, Any]]:
    try:
        documents = list(yaml.safe_load_all(text))
    except yaml.YAMLError:
        return []
    return [
        each
        for each in documents
        if isinstance(each, dict) and "kind" in each and (each.get("metadata") or {}).get("name")
    ]


def _kind(each: dict[str, Any]) -> str:
    group = str(each.get("apiVersion", "")).rpartition("/")[0]
    return f"{str(each['kind']).lower()}{f'.{group}' if group else ''}"


def _identity(each: dict[str, Any]) -> tuple[str, str]:
    return _kind(each), str(each["metadata"]["name"])
