"""A name has one place: this machine, or one namespace of one cluster."""

from __future__ import annotations

from mlops.deployment.places import is_alive, places
from mlops.errors import ConflictError
from mlops.registry.ledger import Entry, Ledger
from mlops.settings import Settings
from mlops.spec.place import Place


def check_place(
    settings: Settings, ledger: Ledger, name: str, live: Entry | None, wanted: Place
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
            f"`{name}` is in {live.intent.place} (revision {live.number}), and not in {wanted}.",
            hint=f"`mlops stop {name}` takes it out of there; or give this another `--name`.",
        )
