"""What applying manifests would change in a cluster, by its dry run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from mlops.cluster import Cluster, Manifest, apply, get
from mlops.cluster.diff import difference, same
from mlops.cluster.objects import delete, ref_of
from mlops.deployment.clusters.manifests import Manifests
from mlops.errors import ConflictError
from mlops.registry.ledger import Entry
from mlops.spec.place import ObjectRef

Action = Literal["create", "update", "same", "delete", "keep", "later"]
#: Kinds with content that cannot be made again.
_KEPT_KINDS = ("PersistentVolumeClaim", "Secret")
_MANAGED_BY = "app.kubernetes.io/managed-by"
_OF = ("app.kubernetes.io/instance", "app.kubernetes.io/part-of")


@dataclass(frozen=True, slots=True)
class Change:
    """What happens to one object.

    Attributes:
        ref: The object.
        action: `create`, `update`, leave the `same`, `delete`, `keep` although the revision no
            longer has it, or delete it `later`, with the next revision.
        diff: Lines of a unified diff of YAML.
    """

    ref: ObjectRef
    action: Action
    diff: tuple[str, ...] = ()


def changes(
    cluster: Cluster,
    manifests: Manifests,
    *,
    stale: Iterable[Manifest] = (),
    force: bool = False,
) -> tuple[Change, ...]:
    """Return what applying would change, by a dry run of the server.

    Args:
        cluster: Where.
        manifests: What is to be applied.
        stale: Objects that are removed; one that replaces such an object is compared with it, as a
            ConfigMap is that has its content in its name.
        force: Take over fields that others set.

    Raises:
        ConflictError: An object is being deleted, and would take with it what is applied to it.
        MlopsError: The server would refuse an object.
    """
    found = []
    gone = list(stale)
    for ref, manifest in manifests.final.items():
        live = get(cluster, ref)
        if live is not None and "deletionTimestamp" in live["metadata"]:
            raise _going(ref, live)
        after = apply(cluster, manifest, dry_run=True, force=force)
        if live is None:
            before = next((each for each in gone if each["kind"] == ref.kind), None)
            gone = [each for each in gone if each is not before]
            found.append(Change(ref, "create", difference(before, after)))
        elif same(live, after):
            found.append(Change(ref, "same"))
        else:
            found.append(Change(ref, "update", difference(live, after)))
    return tuple(found)


def _going(ref: ObjectRef, live: Manifest) -> ConflictError:
    waits = ", ".join(live["metadata"].get("finalizers") or []) or "its owner"
    return ConflictError(
        f"{ref} is being deleted and not gone yet: it waits for {waits}.",
        hint="Repeat the command once it is gone.",
    )


def stale_objects(
    cluster: Cluster, name: str, entries: Iterable[Entry], wanted: Iterable[ObjectRef]
) -> Iterator[tuple[ObjectRef, Manifest]]:
    """Yield what earlier revisions applied, mlops still owns, and this one does not need.

    Args:
        cluster: Where.
        name: Deployment.
        entries: Earlier revisions.
        wanted: What the new revision has.
    """
    places = [entry.intent.place for entry in entries if entry.intent.place is not None]
    before = dict.fromkeys(ref for place in places for ref in (*place.objects, *place.stale))
    keep = set(wanted)
    for ref in before:
        live = None if ref in keep else get(cluster, ref)
        if live is not None and is_ours(live, name):
            yield ref, live


def is_ours(live: Manifest, name: str) -> bool:
    """Whether mlops made an object, and for this deployment."""
    labels = live["metadata"].get("labels") or {}
    deployments = [labels[key] for key in _OF if key in labels] or [live["metadata"]["name"]]
    return labels.get(_MANAGED_BY) == "mlops" and name in deployments


def removals(stale: Sequence[tuple[ObjectRef, Manifest]], *, now: bool) -> tuple[Change, ...]:
    """Say what happens to objects that a revision no longer has.

    Args:
        stale: The objects.
        now: Whether they are removed with this revision; pods of the previous one may need them.
    """
    found = []
    for ref, live in stale:
        if ref.kind in _KEPT_KINDS:
            found.append(Change(ref, "keep"))
        elif now:
            found.append(Change(ref, "delete", _removal(live)))
        else:
            found.append(Change(ref, "later"))
    return tuple(found)


def _removal(live: Manifest) -> tuple[str, ...]:
    """Say that an object is deleted; its content is not shown."""
    return (f"--- live/{ref_of(live)}", "+++ /dev/null")


def prune(cluster: Cluster, name: str, stale: Iterable[ObjectRef]) -> None:
    """Remove what a revision no longer has; may be repeated."""
    for ref in stale:
        live = get(cluster, ref)
        # It may be another one by now, created by another client under the same name.
        if live is not None and is_ours(live, name):
            delete(cluster, ref, uid=live["metadata"]["uid"])
