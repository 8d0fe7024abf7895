"""Objects: apply, get, list, delete."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, TypeAlias
from urllib.parse import quote

from mlops.cluster.connect import Cluster
from mlops.cluster.platforms import missing_kind
from mlops.errors import NotFoundError
from mlops.spec.place import ObjectRef

#: An object of the API, as JSON data.
Manifest: TypeAlias = dict[str, Any]

#: The field manager of the fields that mlops sets.
FIELD_MANAGER = "mlops"
_METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"


def ref_of(manifest: Manifest) -> ObjectRef:
    """Say which object a manifest is."""
    return ObjectRef(manifest["apiVersion"], manifest["kind"], manifest["metadata"]["name"])


def path_of(cluster: Cluster, ref: ObjectRef) -> str:
    """Return the path of an object.

    Raises:
        NotFoundError: The cluster does not have its kind.
    """
    return f"{_collection(cluster, ref.api_version, ref.kind)}/{quote(ref.name, safe='')}"


def apply(
    cluster: Cluster, manifest: Manifest, *, dry_run: bool = False, force: bool = False
) -> Manifest:
    """Apply an object by the server, and return what it is then.

    Fields applied before that the manifest no longer has are removed; those of others stay.
    The same manifest again changes nothing.

    Args:
        cluster: Where.
        manifest: What the object shall be; unknown fields are refused.
        dry_run: Let the server say what it would be, and change nothing.
        force: Take over fields that others set.

    Raises:
        ConflictError: Others set a field to another value.
        InvalidInputError: The server refuses the object.
        NotFoundError: Its kind or the namespace does not exist.
    """
    query = [("fieldManager", FIELD_MANAGER), ("fieldValidation", "Strict")]
    if dry_run:
        query.append(("dryRun", "All"))
    if force:
        query.append(("force", "true"))
    applied: Manifest = cluster.ask(
        "patch",
        path_of(cluster, ref_of(manifest)),
        json.dumps(manifest),
        query=query,
        content_type="application/apply-patch+yaml",
    )
    return applied


def get(cluster: Cluster, ref: ObjectRef, *, metadata_only: bool = False) -> Manifest | None:
    """Return an object, None if it does not exist.

    Args:
        cluster: Where.
        ref: Which.
        metadata_only: Leave the rest with the cluster, as for a Secret.
    """
    accept = _METADATA_ONLY if metadata_only else "application/json"
    try:
        found: Manifest = cluster.ask("get", path_of(cluster, ref), accept=accept)
    except NotFoundError:
        return None
    return found


def list_objects(
    cluster: Cluster, api_version: str, kind: str, *, labels: str = "", fields: str = ""
) -> list[Manifest]:
    """Return the objects of a kind in the namespace.

    Args:
        cluster: Where.
        api_version: Such as `v1`.
        kind: Such as `Pod`.
        labels: Label selector.
        fields: Field selector.

    Raises:
        NotFoundError: The cluster does not have the kind.
    """
    query = [("labelSelector", labels), ("fieldSelector", fields)]
    path = _collection(cluster, api_version, kind)
    found = cluster.ask("get", path, query=[pair for pair in query if pair[1]])
    # A list leaves out of its items what is the same for all of them.
    return [{"apiVersion": api_version, "kind": kind, **item} for item in found["items"]]


def create(cluster: Cluster, manifest: Manifest) -> Manifest:
    """Create an object that does not exist yet.

    Raises:
        ConflictError: It does.
    """
    path = _collection(cluster, manifest["apiVersion"], manifest["kind"])
    query = [("fieldManager", FIELD_MANAGER)]
    created: Manifest = cluster.ask("post", path, manifest, query=query)
    return created


def delete(cluster: Cluster, ref: ObjectRef, *, uid: str = "", foreground: bool = False) -> bool:
    """Delete an object with all that it owns; return whether it was there.

    Args:
        cluster: Where.
        ref: Which.
        uid: Delete only the object of this identity; one that was recreated stays.
        foreground: Let the object stay visible until what it owns is gone.

    Raises:
        ConflictError: It is another object of the same name.
    """
    options: Manifest = {
        "kind": "DeleteOptions",
        "apiVersion": "v1",
        "propagationPolicy": "Foreground" if foreground else "Background",
    }
    if uid:
        options["preconditions"] = {"uid": uid}
    try:
        cluster.ask("delete", path_of(cluster, ref), options)
    except NotFoundError:
        return False
    return True


def require_kinds(cluster: Cluster, refs: Sequence[ObjectRef], versions: dict[str, str]) -> None:
    """Find out that the cluster has all kinds before anything is applied.

    Args:
        cluster: Where.
        refs: Objects.
        versions: API group to the version of its platform, for the advice what to install.

    Raises:
        NotFoundError: It lacks one.
    """
    for ref in refs:
        if cluster.resource(ref.api_version, ref.kind) is None:
            group = ref.api_version.partition("/")[0]
            raise missing_kind(ref.api_version, ref.kind, versions.get(group, ""))


def _collection(cluster: Cluster, api_version: str, kind: str) -> str:
    resource = cluster.resource(api_version, kind)
    if resource is None:
        raise missing_kind(api_version, kind)
    group = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
    within = f"/namespaces/{quote(cluster.namespace, safe='')}" if resource.namespaced else ""
    return f"{group}{within}/{resource.plural}"
