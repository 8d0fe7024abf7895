"""`mlops journal prune`: forget the features of old requests."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain

from mlops.audit.entries import iso
from mlops.deployment.archiving import count_archived_features, forget_archived_features
from mlops.deployment.journals import open_journal
from mlops.deployment.recording import event_now, record
from mlops.deployment.runtime_files import is_alive, pick_name, places, read_server_state
from mlops.errors import UsageError
from mlops.settings.needs import RolloutSettings

_SUBJECT = "features of old requests"
_DAY_MS = 24 * 60 * 60 * 1000


@dataclass(frozen=True, slots=True)
class Pruned:
    """What pruning did, or would do.

    Attributes:
        name: Name of the deployment.
        before_ms: Requests from before this time, milliseconds since 1970 in UTC.
        requests: How many lost their features.
        bytes_before: What the journal took on disk.
        bytes_after: What its rows take now.
        kept_space: Whether the space is kept for new requests, because a server writes or a
            database decides.
        dry_run: Whether nothing was changed.
    """

    name: str
    before_ms: int
    requests: int
    bytes_before: int
    bytes_after: int
    kept_space: bool
    dry_run: bool


def prune(
    settings: RolloutSettings,
    name: str | None,
    older_than_days: float | None,
    *,
    dry_run: bool = False,
    on_progress: Callable[[int], None] = lambda _: None,
) -> Pruned:
    """Forget the features of requests older than so many days.

    Args:
        settings: The project's settings.
        name: Deployment, or None for the only one.
        older_than_days: At least 0; None for `[journal] retention_days`.
        dry_run: Count, and change nothing.
        on_progress: Called with the requests done so far.

    Raises:
        UsageError: Nothing says how many days.
        RemoteError: The journal cannot be reached.
    """
    days = settings.journal.retention_days if older_than_days is None else older_than_days
    if older_than_days is None and not days > 0:
        raise UsageError(
            "Say how old requests must be.",
            hint="`--older-than DAYS`, or `[journal] retention_days` in `mlops.toml`.",
        )
    picked = pick_name(settings, name)
    where = places(settings, picked)
    before_ms = time.time_ns() // 1_000_000 - int(days * _DAY_MS)
    journal = open_journal(settings, picked, read_server_state(where))
    try:
        size = journal.size_bytes()
        count = journal.count_features(before_ms) + count_archived_features(journal, before_ms)
        if dry_run:
            return Pruned(picked, before_ms, count, size, size, kept_space=True, dry_run=True)
        if count:
            _announce(settings, picked, before_ms, count)
        count = 0
        # The archive last: it may get some of them in the meantime.
        for done in chain(
            journal.forget_features(before_ms),
            forget_archived_features(settings, picked, journal, before_ms),
        ):
            count += done
            on_progress(count)
        if count:
            told = event_now("forget", _SUBJECT, after={"requests": count})
            record(settings, picked, told)
        # A server that writes would be refused for as long as the file is rewritten.
        busy = is_alive(where) or not journal.is_file
        if count and not busy:
            journal.give_back()
        return Pruned(picked, before_ms, count, size, journal.size_bytes(), busy, dry_run=False)
    finally:
        journal.close()


def _announce(settings: RolloutSettings, name: str, before_ms: int, count: int) -> None:
    """Record what is to be forgotten, while it is there: afterwards it cannot be reconstructed.

    Raises:
        MlopsError: It could not be recorded; then nothing is forgotten.
    """
    evidence = {"requests": count, "from before": iso(before_ms)}
    record(settings, name, event_now("forget, begun", _SUBJECT, evidence=evidence))
