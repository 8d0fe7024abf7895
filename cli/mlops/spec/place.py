"""Where a revision runs, if not on the machine that deployed it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, order=True)
class ObjectRef:
    """An object of a Kubernetes API, in the namespace of the object that refers to it.

    Attributes:
        api_version: Such as `apps/v1`.
        kind: Such as `Deployment`.
        name: Its name.
    """

    api_version: str
    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True, slots=True)
class Place:
    """A namespace of a cluster with a revision in it, and all that is needed to put it there again.

    Attributes:
        target: Platform, a name of `mlops.deployment.targets.TARGETS`.
        context: Context of the kubeconfig it was reached by; empty from within the cluster.
        server: Address of its API.
        namespace: Namespace of the objects.
        options: `section.key` to the value that the manifests were rendered with, as JSON data.
        objects: What was applied, in this order.
        stale: What earlier revisions applied and this one no longer has.
        uid: UID of the namespace, unique for all time; empty if not known.
    """

    target: str
    context: str
    server: str
    namespace: str
    options: Mapping[str, Any]
    objects: tuple[ObjectRef, ...] = ()
    stale: tuple[ObjectRef, ...] = ()
    uid: str = ""

    def is_at(self, other: Place) -> bool:
        """Whether two places are one namespace of one cluster, whatever runs there.

        The namespace's UID decides: two clusters often have the same name in two kubeconfigs. Where
        one is not known, the address of the API does, or the name that its user gave it.
        """
        if self.uid and other.uid:
            return self.uid == other.uid
        same_cluster = self.server == other.server or (
            bool(self.context) and self.context == other.context
        )
        return same_cluster and self.namespace == other.namespace

    def __str__(self) -> str:
        where = f"context `{self.context}`" if self.context else f"`{self.server}`"
        return f"namespace `{self.namespace}` of {where}"


def place_to_dict(place: Place) -> dict[str, Any]:
    """Return a place as JSON data."""
    return {
        "target": place.target,
        "context": place.context,
        "server": place.server,
        "namespace": place.namespace,
        "uid": place.uid,
        "options": dict(place.options),
        "objects": [[ref.api_version, ref.kind, ref.name] for ref in place.objects],
        "stale": [[ref.api_version, ref.kind, ref.name] for ref in place.stale],
    }


def place_from_dict(document: Mapping[str, Any]) -> Place:
    """Read what `place_to_dict` wrote."""
    return Place(
        target=document["target"],
        context=document["context"],
        server=document["server"],
        namespace=document["namespace"],
        uid=document.get("uid", ""),
        options=document["options"],
        objects=tuple(ObjectRef(*words) for words in document["objects"]),
        stale=tuple(ObjectRef(*words) for words in document["stale"]),
    )
