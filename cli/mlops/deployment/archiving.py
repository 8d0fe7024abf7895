"""`mlops journal archive`: move old requests with their outcomes into the artifact store."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from mlops.audit.entries import iso
from mlops.deployment.journals import open_journal
from mlops.deployment.recording import event_now, record
from mlops.deployment.runtime_files import is_alive, pick_name, places, read_server_state
from mlops.errors import ConflictError
from mlops.registry.archives import opened
from mlops.registry.locks import locked_if_free
from mlops.settings.needs import RolloutSettings

if TYPE_CHECKING:
    from mlops.journal.archived import ArchivedPart
    from mlops.journal.sql import SqlJournal
    from mlops.registry.stores import Store

_SUBJECT = "old requests and their outcomes"
_DAY_MS = 24 * 60 * 60 * 1000


@dataclass(frozen=True, slots=True)
class Archived:
    """What archiving did, or would do.

    Attributes:
        name: Name of the deployment.
        before_ms: Requests from before this time, milliseconds since 1970 in UTC.
        location: Root of the store.
        parts: How many parts were written.
        requests: How many requests went there; with `dry_run` how many would go.
        outcomes: How many outcomes went with them, or would.
        archived: How many requests are archived in all.
        left: Parts whose rows are still to be deleted in the journal, which a report was reading.
        bytes_before: What the journal took on disk.
        bytes_after: What it takes now.
        kept_space: Whether the space is kept, because a server writes or a database decides.
        dry_run: Whether nothing was changed.
    """

    name: str
    before_ms: int
    location: str
    parts: int
    requests: int
    outcomes: int
    archived: int
    left: int
    bytes_before: int
    bytes_after: int
    kept_space: bool
    dry_run: bool


def archive(
    settings: RolloutSettings,
    name: str | None,
    older_than_days: float,
    to: str = "",
    *,
    dry_run: bool = False,
    rows: int | None = None,
    on_progress: Callable[[int], None] = lambda _: None,
) -> Archived:
    """Move requests older than so many days into an artifact store.

    Args:
        settings: The project's settings.
        name: Deployment, or None for the only one.
        older_than_days: At least 0.
        to: URI of the folder for archives; by default `journal` in the artifact store.
        dry_run: Count, and change nothing.
        rows: Requests of one part.
        on_progress: Called with the requests done so far.

    Raises:
        ConflictError: Another command archives this journal now.
        RemoteError: The journal or the store cannot be reached; what was moved is moved.
    """
    from mlops.journal.archiving import ROWS

    picked = pick_name(settings, name)
    where = places(settings, picked)
    before_ms = time.time_ns() // 1_000_000 - int(older_than_days * _DAY_MS)
    location = to or f"{settings.artifact_root.rstrip('/')}/journal"
    journal = open_journal(settings, picked, read_server_state(where))
    try:
        size = journal.size_bytes()
        there = sum(part.requests for part in journal.archived_parts())
        found = Archived(
            picked, before_ms, location, 0, 0, 0, there, 0, size, size,
            kept_space=True, dry_run=dry_run,
        )  # fmt: skip
        if dry_run:
            planned = journal.plan_archive(before_ms, rows or ROWS)
            return replace(
                found,
                parts=planned.parts,
                requests=planned.requests,
                outcomes=planned.outcomes,
                left=len(_uncleared(journal)),
            )
        with _alone(settings, picked, journal), opened(location, settings) as store:
            location = str(store.location)
            # Of a command that was interrupted.
            _clear(journal)
            for part in _moved(settings, picked, journal, before_ms, store, rows or ROWS):
                found = replace(
                    found,
                    location=location,
                    parts=found.parts + 1,
                    requests=found.requests + part.requests,
                    outcomes=found.outcomes + part.outcomes,
                    archived=found.archived + part.requests,
                )
                on_progress(found.requests)
            found = replace(found, left=len(_uncleared(journal)))
        busy = is_alive(where) or not journal.is_file
        if found.parts:
            moved = {"requests": found.requests, "outcomes": found.outcomes, "to": location}
            record(settings, picked, event_now("archive", _SUBJECT, after=moved))
            if not busy:
                journal.give_back()
        return replace(found, bytes_after=journal.size_bytes(), kept_space=busy)
    finally:
        journal.close()


@contextlib.contextmanager
def _alone(settings: RolloutSettings, name: str, journal: SqlJournal) -> Iterator[None]:
    """Let one command at a time change the archive, of all machines that share the journal.

    Another would put its manifest in place of this one's before it notices.
    """
    folder = settings.make_home() / "journal"
    folder.mkdir(mode=0o700, exist_ok=True)
    with locked_if_free(folder / f"{name}.archiving") as here, journal.archive_held() as everywhere:
        if not (here and everywhere):
            raise ConflictError(
                f"Another command archives the journal of `{name}` now.", hint="Wait for it."
            )
        yield


def _moved(
    settings: RolloutSettings,
    name: str,
    journal: SqlJournal,
    before_ms: int,
    store: Store,
    rows: int,
) -> Iterator[ArchivedPart]:
    from mlops.journal.archiving import store_files

    there = journal.archived_parts()
    prefix, begun = _prefix(there), False
    while True:
        with tempfile.TemporaryDirectory(prefix="mlops-archiving-") as folder:
            found = journal.write_part(before_ms, rows, str(store.location), Path(folder))
            if found is None:
                return
            if not begun:
                evidence = {"from before": iso(before_ms), "to": found.part.location}
                told = event_now("archive, begun", _SUBJECT, evidence=evidence)
                record(settings, name, told)
                begun = True
            prefix = prefix or f"{name}/{_identity(journal, found.part)}"
            part = store_files(found.part, found.files, prefix, _put(store))
            journal.note_part(part, found)
        journal.remove_rows(part)
        yield part


def _uncleared(journal: SqlJournal) -> list[ArchivedPart]:
    return [part for part in journal.archived_parts() if not part.cleared]


def _clear(journal: SqlJournal) -> None:
    """Delete what is archived and still in the journal."""
    for part in _uncleared(journal):
        journal.remove_rows(part)


def _put(store: Store) -> Callable[[Path, str], None]:
    def put(file: Path, key: str) -> None:
        store.put(file, key)

    return put


def _prefix(there: list[ArchivedPart]) -> str:
    """Folder of the parts that are there; another journal of this name has another one."""
    if not there:
        return ""
    return str(PurePosixPath(next(iter(there[0].files.values()))["key"]).parent)


def _identity(journal: SqlJournal, part: ArchivedPart) -> str:
    first = journal.decisions(part.after, part.upto, 1)
    return hashlib.sha256(b"".join(first.nonces)).hexdigest()[:12]


def count_archived_features(journal: SqlJournal, before_ms: int) -> int:
    """Count the archived requests from before a time that still have features.

    Raises:
        RemoteError: The archive cannot be read.
    """
    from mlops.journal.archiving import count_features

    return sum(
        count_features(journal, part, before_ms)
        for part in journal.archived_parts()
        if "features" in part.files and part.first_ms < before_ms
    )


def known_units(journal: SqlJournal, units: Collection[bytes]) -> set[bytes]:
    """Return which of some sticky units have requests, also archived ones.

    Raises:
        RemoteError: The journal or its archive cannot be read.
    """
    from mlops.journal import archiving

    found = journal.known_units(units)
    for part in journal.archived_parts():
        if left := set(units) - found:
            found |= archiving.known_units(journal, part, left)
    return found


def forget_archived_features(
    settings: RolloutSettings,
    name: str,
    journal: SqlJournal,
    before_ms: int,
    units: Collection[bytes] = (),
) -> Iterator[int]:
    """Forget the features of archived requests from before a time; yield how many, by part.

    Those of some sticky units are forgotten, too, whatever their time.

    Raises:
        ConflictError: Another command archives this journal now.
        RemoteError: The archive cannot be read or written.
    """
    from mlops.journal.archiving import forget_features

    with _alone(settings, name, journal):
        for part in journal.archived_parts():
            is_old = "features" in part.files and (part.first_ms < before_ms or bool(units))
            if not is_old and not part.doomed:
                continue
            left = part
            with opened(part.location, settings) as store:
                if is_old:
                    left, count = forget_features(journal, part, before_ms, _put(store), units)
                    yield count
                for key in left.doomed:
                    store.delete(key)
                if left.doomed:
                    journal.note_files(replace(left, doomed=()))
