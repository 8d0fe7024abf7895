"""Parts of the log that are in an artifact store, and how they are read.

`mlops.journal.archiving` moves the oldest decisions, with their outcomes and what shadows answered,
into Parquet files in an artifact store. The journal keeps which part has which decision. A part
goes in the transaction that takes its rows away, so that each row is read exactly once whenever a
command ends, and whatever is asked of a journal gives the same answer as before:

- Evidence is read from a throw-away database into which the parts and the journal are put together;
  the questions are those that are asked of any journal. It takes the space that the rows had.
- Outcomes that come for an archived decision are joined to it, and to its earlier outcomes.
- Voiding an archived outcome brings it back first: what is void stays in the journal.

All files but the features are kept beside a SQLite journal too, so that its server needs no store.
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import file_digest
from pathlib import Path
from typing import Any, TypeAlias

from sqlalchemy import Connection, and_, func, select

from mlops.errors import MlopsError, RemoteError
from mlops.journal.base import ArchiveAwayError
from mlops.journal.earlier import NOTHING, Earlier
from mlops.journal.joining import decisions_of
from mlops.journal.partitions import is_partitioned
from mlops.journal.records import NewOutcome, Observation
from mlops.journal.rows import DecisionRow, Row, prediction_of
from mlops.journal.schema import (
    archived_requests,
    archives,
    decision_keys,
    decisions,
    outcomes,
)
from mlops.journal.scratch import Scratch
from mlops.journal.storing import earlier_query
from mlops.journal.streaming import count_outcomes
from mlops.plugins import Plugins

#: Brings a file of an artifact store: root of the store, key, where to.
Fetch: TypeAlias = Callable[[str, str, Path], None]
# As in `joining`: older builds of SQLite take 999 variables.
_KEYS_PER_QUERY = 900
_OPEN_PARTS = 4
_AWAY_S = 20.0
# As in `mlops.spec.request_id`: the nonce of a request without idempotency key holds its time.
_SAME_MOMENT_S = 5


# By its name: stores are beside the journal, and neither imports the other.
_FETCH: Plugins[Fetch] = Plugins("way to fetch", {"stores": "mlops.registry.archives:fetch"})


def fetch(location: str, key: str, target: Path) -> None:
    """Bring a file from a store, which is reached as the environment of this process says.

    Raises:
        MlopsError: There is no such file, or the store cannot be reached.
    """
    _FETCH.load("stores")(location, key, target)


@dataclass(frozen=True, slots=True)
class ArchivedPart:
    """Decisions behind one offset, up to another, that are in an artifact store.

    Attributes:
        part: Its number, from 0.
        after: Offset of the last decision before it.
        upto: Offset of its last decision.
        first_ms: Time of its oldest decision, milliseconds since 1970 in UTC.
        requests: How many decisions it has.
        outcomes: How many outcomes it has that the journal does not have.
        first_outcome: The smallest offset of an outcome.
        last_outcome: The largest offset of an outcome.
        location: Root of the store.
        files: Name to `key`, `size` in bytes and `sha256` of a file.
        traffic: Sums of its decisions, as `traffic.Sums`.
        doomed: Keys of files that are to be deleted.
    """

    part: int
    after: int
    upto: int
    first_ms: int
    requests: int
    outcomes: int
    first_outcome: int
    last_outcome: int
    location: str
    files: Mapping[str, Mapping[str, Any]]
    traffic: Sequence[Sequence[int]]
    doomed: Sequence[str] = ()


def read_parts(connection: Connection) -> list[ArchivedPart]:
    """Return the archived parts of a journal, in order."""
    return [
        ArchivedPart(
            row.part, row.after, row.upto, row.first_ms, row.requests, row.outcomes,
            row.first_outcome, row.last_outcome, row.location, json.loads(row.files),
            json.loads(row.traffic), json.loads(row.doomed),
        )
        for row in connection.execute(select(archives).order_by(archives.c.part))
    ]  # fmt: skip


def count_parts(connection: Connection) -> int:
    """Return how many parts are archived."""
    return int(connection.execute(select(func.count()).select_from(archives)).scalar_one())


def last_decision(connection: Connection) -> int:
    """Return the offset of the last decision that is archived; 0 for none."""
    return int(connection.execute(select(func.max(archives.c.upto))).scalar_one() or 0)


def last_outcome(connection: Connection) -> int:
    """Return the largest offset of an outcome that is archived; 0 for none."""
    return int(connection.execute(select(func.max(archives.c.last_outcome))).scalar_one() or 0)


def parts_of(connection: Connection, nonces: Iterable[bytes]) -> dict[bytes, int]:
    """Return the part that each archived decision is in; the others are left out."""
    found, keys = {}, sorted(set(nonces))
    a, p = archived_requests.c, archives.c
    queries = [select(a.nonce, a.part)]
    if is_partitioned(connection):
        k = decision_keys.c
        within = and_(k.seq > p.after, k.seq <= p.upto)
        queries.append(select(k.nonce, p.part).join(archives, within))
    for start in range(0, len(keys), _KEYS_PER_QUERY):
        chunk = keys[start : start + _KEYS_PER_QUERY]
        for query in queries:
            rows = connection.execute(query.where(query.selected_columns[0].in_(chunk)))
            found.update({bytes(nonce): part for nonce, part in rows})
    return found


def by_part(connection: Connection, nonces: Iterable[bytes]) -> dict[int, list[bytes]]:
    """Return, by number of the part, those of these decisions that are archived."""
    found: dict[int, list[bytes]] = defaultdict(list)
    for nonce, number in parts_of(connection, nonces).items():
        found[number].append(nonce)
    return found


class Archive:
    """The archived parts of one journal, read from any thread.

    Args:
        journal: The SQLite file; None for another database.
        fetch: Brings what is not here.
    """

    def __init__(self, journal: Path | None, fetch: Fetch) -> None:
        self._folder = journal.with_name(f"{journal.name}-archive") if journal else None
        self._fetch = fetch
        self._lock = threading.RLock()
        self._opened: OrderedDict[tuple[int, str], Scratch] = OrderedDict()
        # Parts that could not be brought: until when they are not asked for again, and why.
        self._away: dict[int, tuple[float, RemoteError]] = {}
        self._whole: tuple[tuple[tuple[tuple[int, str], ...], int | None], Scratch] | None = None

    def close(self) -> None:
        """Release what was unpacked."""
        with self._lock:
            for scratch in self._opened.values():
                scratch.close()
            self._opened.clear()
            if self._whole:
                self._whole[1].close()
                self._whole = None

    @contextmanager
    def file(self, part: ArchivedPart, name: str) -> Iterator[Path]:
        """Give a file of a part, whose digest is that which the journal has.

        Raises:
            RemoteError: It is not here, and cannot be brought.
        """
        stored = part.files[name]
        base = Path(stored["key"]).name
        kept = self._folder / base if self._folder and name != "features" else None
        if kept is not None and _is_whole(kept, stored):
            yield kept
            return
        with tempfile.TemporaryDirectory(prefix="mlops-archive-") as folder:
            draft = Path(folder, base)
            self._bring(part, stored, draft)
            if kept is not None:
                _keep(draft, kept)
            yield draft

    def _bring(self, part: ArchivedPart, stored: Mapping[str, Any], draft: Path) -> None:
        where = f"{part.location}/{stored['key']}"
        what = f"Requests up to the {part.upto:,}th of this journal are archived in `{where}`"
        try:
            self._fetch(part.location, stored["key"], draft)
        except MlopsError as error:
            raise RemoteError(
                f"{what}, which cannot be read: {error.message}", hint=error.hint
            ) from error
        if not _is_whole(draft, stored):
            raise RemoteError(
                f"{what}, which is not what was archived: its SHA-256 differs.",
                hint="Put the file back as it was; the journal has its digest.",
            )

    def keep(self, file: Path, name: str, part: ArchivedPart) -> None:
        """Keep a file of a new part here too, where there is a folder for it."""
        if self._folder is not None and name != "features":
            _keep(file, self._folder / Path(part.files[name]["key"]).name)

    @contextmanager
    def part(
        self, journal: Connection, number: int, *, features: bool = False
    ) -> Iterator[Connection]:
        """Give a database with one part, and with what is void of it."""
        with self._lock:
            (part,) = (each for each in read_parts(journal) if each.part == number)
            # Features that are forgotten since are in another file.
            key = (number, str(part.files.get("features", "")) if features else "")
            scratch = self._opened.get(key)
            if scratch is None:
                scratch = Scratch()
                self._load(scratch, part, features=features)
                self._opened[key] = scratch
            self._opened.move_to_end(key)
            while len(self._opened) > _OPEN_PARTS:
                self._opened.popitem(last=False)[1].close()
            scratch.copy_voids(journal)
            with scratch.connect() as connection:
                yield connection

    def _load(self, scratch: Scratch, part: ArchivedPart, *, features: bool) -> None:
        for name in part.files:
            if name != "features" or features:
                with self.file(part, name) as file:
                    scratch.load(file, name)

    def whole(
        self, journal: Connection, parts: Sequence[ArchivedPart], *, features: bool
    ) -> Scratch:
        """Return a database with all that is archived and all that is in the journal.

        Args:
            journal: As it is at one moment.
            parts: All of it, at that moment.
            features: Whether features are asked for.
        """
        with self._lock:
            key = tuple((part.part, str(part.files)) for part in parts)
            # Features that were pruned since are not to be read from a copy.
            marked = key, _oldest(journal) if features else None
            known = self._whole[0] if self._whole else ((), None)
            # With features it also answers a reader that asks for none.
            if self._whole is None or (known != marked if features else known[0] != key):
                self._whole = None
                scratch = Scratch()
                for part in parts:
                    self._load(scratch, part, features=features)
                self._whole = marked, scratch
            scratch = self._whole[1]
            scratch.copy_all(journal)
            return scratch

    def outcome_rows(
        self, journal: Connection, nonces: Iterable[bytes]
    ) -> list[tuple[int, list[dict[str, Any]]]]:
        """Return the outcomes of archived decisions as rows of the table, by number of the part."""
        found = []
        for number, some in by_part(journal, nonces).items():
            with self.part(journal, number) as connection:
                rows: list[dict[str, Any]] = []
                for start in range(0, len(some), _KEYS_PER_QUERY):
                    chunk = some[start : start + _KEYS_PER_QUERY]
                    query = select(outcomes).where(outcomes.c.nonce.in_(chunk))
                    rows += [dict(row) for row in connection.execute(query).mappings()]
                found.append((number, rows))
        return found

    def completed(self, journal: Connection, seen: Sequence[Observation]) -> list[Observation]:
        """Join outcomes that came after their decision had been archived."""
        alone = {each.nonce for each in seen if each.decided_ms is None}
        found: dict[bytes, Row] = {}
        for number, some in by_part(journal, alone).items():
            with self.part(journal, number) as connection:
                found.update(decisions_of(connection, some))
        done = (completed_by(each, found.get(each.nonce)) for each in seen)
        return [each for each in done if each is not None]

    def count_outcomes(self, journal: Connection, nonces: set[bytes], upto: int) -> Counter[bytes]:
        """See `Stream.count_outcomes`, of outcomes that are archived."""
        counted: Counter[bytes] = Counter()
        for number, some in by_part(journal, nonces).items():
            with self.part(journal, number) as connection:
                counted += count_outcomes(connection, some, upto)
        return counted

    @contextmanager
    def _tried(self, journal: Connection, number: int) -> Iterator[Connection]:
        """Give a part, unless it could not be brought a moment ago: its writer has others to serve.

        Raises:
            RemoteError: It cannot be brought.
        """
        until, fault = self._away.get(number, (0.0, None))
        if fault is not None and time.monotonic() < until:
            raise fault
        try:
            with self.part(journal, number) as connection:
                yield connection
        except RemoteError as error:
            self._away[number] = time.monotonic() + _AWAY_S, error
            raise
        self._away.pop(number, None)

    def look(
        self, journal: Connection, rows: Sequence[DecisionRow], batch: Sequence[NewOutcome]
    ) -> Earlier:
        """Find what is archived of the decisions that a batch has or is about.

        Raises:
            ArchiveAwayError: A part is needed that cannot be brought.
        """
        count = count_parts(journal)
        if not count:
            return NOTHING
        retries = {row[0] for row in rows if _may_be_retry(row)}
        nonces = {each.nonce for each in batch if each.nonce is not None}
        names = {each.client_id for each in batch if each.nonce is None}
        named = _named(journal, {name for name in names if name is not None})
        found: dict[bytes, Row] = {}
        told: dict[bytes, list[Row]] = {}
        away: set[bytes] = set()
        for number, some in by_part(journal, nonces | named.keys()).items():
            try:
                with self._tried(journal, number) as connection:
                    found.update(decisions_of(connection, some))
                    for row in _outcomes(connection, some):
                        told.setdefault(bytes(row.nonce), []).append(row)
            except RemoteError as error:
                away, fault = away | set(some), error
        if away:
            lost = {named[nonce] for nonce in away if nonce in named}
            raise ArchiveAwayError(fault.message, hint=fault.hint, nonces=away, names=lost)
        by_name: dict[str | None, list[Row]] = defaultdict(list)
        for nonce, name in named.items():
            by_name[name].append(found[nonce])
        return Earlier(count, found, told, by_name, set(parts_of(journal, retries)))


def _oldest(journal: Connection) -> int:
    """Return the offset of the oldest decision with features, 0 for none: pruning moves it."""
    kept = select(decisions.c.seq).where(decisions.c.features.is_not(None))
    found = journal.execute(kept.order_by(decisions.c.seq).limit(1)).scalar_one_or_none()
    return found or 0


def completed_by(seen: Observation, decision: Row | None) -> Observation | None:
    """Join an outcome to its decision, as the database does; None if that has no such row."""
    if decision is None or (decision.revision, decision.arm) != (seen.revision, seen.arm):
        return seen
    if seen.row >= decision.n_rows:
        return None
    return replace(
        seen,
        prediction=prediction_of(decision.prediction, decision.predictions, seen.row),
        unit=None if decision.unit is None else bytes(decision.unit),
        decided_ms=decision.time_ms,
    )


def _outcomes(connection: Connection, nonces: Sequence[bytes]) -> Iterator[Row]:
    for start in range(0, len(nonces), _KEYS_PER_QUERY):
        chunk = nonces[start : start + _KEYS_PER_QUERY]
        yield from connection.execute(earlier_query().where(outcomes.c.nonce.in_(chunk)))


def _named(journal: Connection, names: set[str]) -> dict[bytes, str]:
    """Find up to two decisions for each of the callers' own ids, which tells whether it is one."""
    a, found = archived_requests.c, {}
    for name in names:
        query = select(a.nonce).where(a.client_id == name).limit(2)
        found.update({bytes(nonce): name for nonce in journal.execute(query).scalars()})
    return found


def _may_be_retry(row: DecisionRow) -> bool:
    nonce, time_ms = row[0], row[1]
    apart: int = int.from_bytes(nonce[:4], "big") - time_ms // 1000
    return abs(apart) > _SAME_MOMENT_S


def _is_whole(file: Path, stored: Mapping[str, Any]) -> bool:
    try:
        with file.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            digest = file_digest(stream, "sha256").hexdigest()
    except OSError:
        return False
    same: bool = (size, digest) == (stored["size"], stored["sha256"])
    return same


def _keep(file: Path, kept: Path) -> None:
    """Copy a file to where it is looked for first; on a full disk it is fetched each time."""
    try:
        kept.parent.mkdir(mode=0o700, exist_ok=True)
        descriptor, draft = tempfile.mkstemp(dir=kept.parent)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(file.read_bytes())
        Path(draft).replace(kept)
    except OSError:
        return
