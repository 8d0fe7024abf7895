"""A name has one place: this machine, or one namespace of one cluster."""

from __future__ import annotations

from collections.abc import Iterable

from mlops.cluster import Cluster, get
from mlops.cluster.objects import FIELD_MANAGER
from mlops.deployment.runtime_files import is_alive, places
from mlops.errors import ConflictError
from mlops.registry.ledger import Entry, Ledger
from mlops.settings.needs import DeploymentSettings
from mlops.spec.place import ObjectRef, Place


def check_place(
    settings: DeploymentSettings, ledger: Ledger, name: str, live: Entry | None, wanted: Place
) -> None:
    """Refuse to put a deployment where it is not.

    Args:
        settings: The project's settings.
        ledger: Of the deployment.
        name: Its name.
        live: What is live by the ledger.
        wanted: Where it shall be.

    Raises:
        ConflictError: It is live elsewhere.
    """
    pending = [entry for entry in ledger.pending() if entry.intent.place is None]
    if is_alive(places(settings, name)) or pending:
        raise ConflictError(
            f"`{name}` is live on this machine, and a name has one place.",
            hint=f"`mlops stop {name}` first: its evidence stays here. Or give another `--name`.",
        )
    if live is None or live.intent.place is None or live.stopped_ms:
        return
    if not live.intent.place.is_at(wanted):
        raise ConflictError(
            f"`{name}` is in {live.intent.place} of `{live.intent.place.server}` (revision "
            f"{live.number}), and not in {wanted} of `{wanted.server}`.",
            hint=f"`mlops stop {name}` takes it out of there; with `--forget` if that cluster or "
            "namespace is gone. Or give this another `--name`.",
        )


def check_strangers(
    cluster: Cluster,
    ledger: Ledger,
    earlier: Iterable[Entry],
    wanted: Iterable[ObjectRef],
    where: Place,
) -> None:
    """Refuse to overwrite what was applied from another ledger.

    The API server sees no conflict: objects of both have the same field manager.

    Args:
        cluster: Where.
        ledger: Of the deployment.
        earlier: Revisions in it that were read already.
        wanted: Objects that are to be applied.
        where: The place of both.

    Raises:
        ConflictError: They are there.
    """
    known = _applied(earlier, where)
    found = [ref for ref in wanted if ref not in known and _by_mlops(cluster, ref)]
    if found:
        # Objects that a stopped revision left, such as a volume, are of older entries.
        known = _applied(ledger.history(), where)
    strangers = [str(ref) for ref in found if ref not in known]
    if strangers:
        raise ConflictError(
            f"{where} has a deployment of this name that this project's ledger does not know: "
            f"`mlops` applied {', '.join(strangers)} from elsewhere.",
            hint="Use their MLflow server (`[tracking] uri`), or another `--name` or namespace; "
            "`--force-conflicts` takes it over.",
            reason="ledger",
        )


def _applied(entries: Iterable[Entry], where: Place) -> set[ObjectRef]:
    found = (each.intent.place for each in entries)
    return {ref for place in found if place and place.is_at(where) for ref in place.objects}


def _by_mlops(cluster: Cluster, ref: ObjectRef) -> bool:
    live = get(cluster, ref, metadata_only=True) or {"metadata": {}}
    managers = live["metadata"].get("managedFields") or []
    return any(each.get("manager") == FIELD_MANAGER for each in managers)
