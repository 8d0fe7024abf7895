"""`mlops journal void`: outcomes that must not count, with the reason."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from mlops.deployment.journals import open_journal
from mlops.deployment.recording import recorded
from mlops.deployment.runtime_files import Places, pick_name, places, read_server_state
from mlops.errors import NotFoundError, UsageError
from mlops.journal.records import Void
from mlops.settings import Settings
from mlops.settings.actor import current_actor
from mlops.spec.request_id import read


@dataclass(frozen=True, slots=True)
class Voided:
    """What was voided, or is.

    Attributes:
        name: Name of the deployment.
        outcomes: How many outcomes this command voided.
        voids: All that are void, by revision, time and reason, oldest first.
    """

    name: str
    outcomes: int
    voids: tuple[Void, ...]


def void(settings: Settings, name: str | None, request_ids: Sequence[str], reason: str) -> Voided:
    """Void every outcome of these requests; without any, say what is void.

    Args:
        settings: The project's settings.
        name: Deployment, or None for the only one.
        request_ids: As the predictions gave them.
        reason: Why; it stays in the journal.

    Raises:
        UsageError: There is no reason.
        InvalidInputError: An id is not of this deployment; nothing was voided.
        NotFoundError: None of these requests has an outcome that counts; or there is no deployment.
        RemoteError: The journal cannot be used.
    """
    if request_ids and not reason.strip():
        raise UsageError("Voiding needs a reason.", hint='`--reason "sent by a broken client"`')
    picked = pick_name(settings, name)
    where = places(settings, picked)
    nonces = [read(_key(where), each).nonce for each in request_ids]
    journal = open_journal(settings, picked, read_server_state(where))
    try:
        done = 0
        if nonces:
            now_ms = time.time_ns() // 1_000_000
            by = current_actor().name
            with recorded(settings, picked):
                done = journal.void(nonces, time_ms=now_ms, reason=reason, by=by)
            if not done:
                raise NotFoundError(
                    "None of these requests has an outcome that counts.",
                    hint=f"`mlops journal void {picked} --list` shows what is void already.",
                )
        return Voided(picked, done, tuple(journal.voids()))
    finally:
        journal.close()


def _key(where: Places) -> bytes:
    if not where.key.exists():
        raise NotFoundError(
            f"The key that made these request ids is not on this machine: `{where.key}`.",
            hint="Void them where the deployment runs.",
        )
    return where.key.read_bytes()
