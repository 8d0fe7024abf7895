"""What must be in the namespace before a revision is applied."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterable, Iterator, Mapping

from mlops.cluster import Cluster, Manifest, get
from mlops.cluster.objects import create, ref_of
from mlops.deployment.runtime_files import Places, read_key
from mlops.deployment.targets import RenderOptions, platform_of
from mlops.errors import ConflictError, NotAllowedError, NotFoundError
from mlops.spec.deployment import DeploymentSpec
from mlops.spec.place import ObjectRef
from mlops.spec.request_id import KEY_BYTES

_KEY, _TOKEN = "request-id-key", "token"
#: Fields that name a Secret, and those that hold a reference to one.
_NAMES = ("secretName", "envSecretRefName")
_REFERENCES = ("secretRef", "secretKeyRef")


def check_namespace(cluster: Cluster) -> None:
    """Check that the namespace exists, if that may be read.

    Raises:
        NotFoundError: It does not.
    """
    name = cluster.namespace
    try:
        found = get(cluster, ObjectRef("v1", "Namespace", name), metadata_only=True)
    except NotAllowedError:
        # Many users may work in a namespace without the right to read it.
        return
    if found is None:
        raise NotFoundError(
            f"The cluster has no namespace `{name}`.",
            hint=f"`kubectl create namespace {name}`, or name another with `--namespace`.",
        )


def make_key(
    cluster: Cluster, target: str, spec: DeploymentSpec, options: RenderOptions, where: Places
) -> None:
    """Create the Secret with the key of the request ids and the token of callers.

    Unless it is there, or the settings name one.

    It is never replaced: with another key, feedback for earlier predictions would be refused.

    Args:
        cluster: Where.
        target: Name of the target.
        spec: Of the deployment.
        options: Of its manifests.
        where: Has the key that it had on this machine, if it was here; it keeps that.

    Raises:
        InvalidInputError: That key cannot be read, or has another length.
    """
    ref = key_secret(target, spec, options)
    if ref is None or get(cluster, ref, metadata_only=True) is not None:
        return
    labels = {
        "app.kubernetes.io/name": "mlops",
        "app.kubernetes.io/instance": spec.name,
        "app.kubernetes.io/managed-by": "mlops",
    }
    data = {_KEY: read_key(where) or secrets.token_bytes(KEY_BYTES)}
    if not options.kubernetes.insecure_no_auth:
        data[_TOKEN] = secrets.token_urlsafe(32).encode()
    try:
        create(
            cluster,
            {
                "apiVersion": ref.api_version,
                "kind": ref.kind,
                "metadata": {"name": ref.name, "labels": labels},
                "type": "Opaque",
                "data": {name: base64.b64encode(value).decode() for name, value in data.items()},
            },
        )
    except ConflictError:
        # Another client created it first, and that one will do.
        return


def key_secret(target: str, spec: DeploymentSpec, options: RenderOptions) -> ObjectRef | None:
    """Return the Secret that mlops creates; None if there is none, or the settings name one."""
    ours = platform_of(target).own_server or options.cluster.router
    if not ours or options.kubernetes.key_secret:
        return None
    return ObjectRef("v1", "Secret", f"{spec.name}-mlops")


def lacking(
    cluster: Cluster,
    manifests: Iterable[Manifest],
    ours: ObjectRef | None,
    commands: Iterable[str],
) -> NotFoundError | None:
    """Return an error about Secrets and ServiceAccounts that pods would wait for; None without any.

    Their content is not read.

    Args:
        cluster: Where.
        manifests: What names them.
        ours: The Secret that mlops creates.
        commands: Commands that would make some of them.
    """
    manifests = list(manifests)
    made = {ref_of(each) for each in manifests}
    needed = dict.fromkeys(ref for each in manifests for ref in _references(each))
    missing = [
        ref for ref in needed if ref not in made and ref != ours and not _exists(cluster, ref)
    ]
    if not missing:
        return None
    hints = [
        command
        for command in commands
        if any(f" {ref.name} " in command and ref.kind == "Secret" for ref in missing)
    ]
    return NotFoundError(
        f"Pods would wait for what namespace `{cluster.namespace}` does not have: "
        f"{', '.join(map(str, missing))}.",
        hint="\n".join(f"`{each}`" for each in hints)
        or "`mlops stores secret` prints the Secret of an artifact store in a platform's form.",
    )


def _exists(cluster: Cluster, ref: ObjectRef) -> bool:
    try:
        return get(cluster, ref, metadata_only=True) is not None
    except NotAllowedError:
        # Many users may deploy without the right to read Secrets.
        return True


def _references(value: object) -> Iterator[ObjectRef]:
    if isinstance(value, list):
        for item in value:
            yield from _references(item)
    if not isinstance(value, Mapping):
        return
    for key, item in value.items():
        if key in _NAMES and isinstance(item, str) and item and not value.get("optional"):
            yield ObjectRef("v1", "Secret", item)
        elif key in _REFERENCES and isinstance(item, Mapping) and not item.get("optional"):
            yield ObjectRef("v1", "Secret", item["name"])
        elif key == "serviceAccountName" and isinstance(item, str) and item:
            yield ObjectRef("v1", "ServiceAccount", item)
        else:
            yield from _references(item)
