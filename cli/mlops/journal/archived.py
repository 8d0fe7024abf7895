"""Parts of the log that are in an artifact store, and how they are read.

`mlops.journal.archiving` moves the oldest decisions, with their outcomes and what shadows answered,
into Parquet files in an artifact store. The journal keeps which part has which decision. From one
commit on a part counts, and what is still to be deleted of it does not, so that each row is read
exactly once whenever a command ends, and whatever is asked of a journal gives the same answer as
before:

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
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import file_digest
from pathlib import Path
from typing import Any, TypeAlias

from sqlalchemy import Connection, and_, func, select

from mlops.errors import MlopsError, RemoteError
from mlops.journal.partitions import is_partitioned
from mlops.journal.records import Observation
from mlops.journal.rows import Row, prediction_of
from mlops.journal.schema import (
    archived_requests,
    archives,
    decision_keys,
    meta,
    outcomes,
)
from mlops.journal.scratch import Scratch
from mlops.journal.streaming import outcome_seqs
from mlops.plugins import Plugins

#: Brings a file of an artifact store: root of the store, key, where to.
Fetch: TypeAlias = Callable[[str, str, Path], None]
# As in `joining`: older builds of SQLite take 999 variables.
_KEYS_PER_QUERY = 900
_OPEN_PARTS = 4


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
        cleared: Whether all its rows are deleted in the journal.
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
    cleared: bool = False


def read_parts(connection: Connection) -> list[ArchivedPart]:
    """Return the archived parts of a journal, in order."""
    return [
        ArchivedPart(
            row.part, row.after, row.upto, row.first_ms, row.requests, row.outcomes,
            row.first_outcome, row.last_outcome, row.location, json.loads(row.files),
            json.loads(row.traffic), json.loads(row.doomed), bool(row.cleared),
        )
        for row in connection.execute(select(archives).order_by(archives.c.part))
    ]  # fmt: skip


def count_parts(connection: Connection) -> int:
    """Return how many parts are archived."""
    return read_stage(connection)[0]


def read_stage(connection: Connection) -> tuple[int, int]:
    """Return how far archiving is: parts, and commits that have deleted rows of them."""
    query = select(func.count(), func.coalesce(func.sum(archives.c.step), 0))
    count, steps = connection.execute(query.select_from(archives)).one()
    return int(count), int(steps)


def last_decision(connection: Connection) -> int:
    """Return the offset of the last decision that is archived; 0 for none."""
    return int(connection.execute(select(func.max(archives.c.upto))).scalar_one() or 0)


def last_outcome(connection: Connection) -> int:
    """Return the largest offset of an outcome that is archived; 0 for none."""
    return int(connection.execute(select(func.max(archives.c.last_outcome))).scalar_one() or 0)


def count_forgettings(connection: Connection) -> int:
    """Return how often features were forgotten, in any number of commits."""
    return int(connection.execute(select(meta.c.forgotten)).scalar_one())


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
        self._whole: _Whole | None = None

    def close(self) -> None:
        """Release what was unpacked."""
        with self._lock:
            for scratch in self._opened.values():
                scratch.close()
            self._opened.clear()
            if self._whole:
                self._whole.scratch.close()
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
            parts = read_parts(journal)
            self._forget(journal, parts)
            (part,) = (each for each in parts if each.part == number)
            key = (number, _features_of(part) if features else "")
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
            self._forget(journal, parts)
            key = tuple((part.part, str(part.files)) for part in parts)
            whole = self._whole
            # With features it also answers a reader that asks for none.
            if whole is None or whole.key != key or (features and whole.forgotten is None):
                self._whole = None
                scratch = Scratch()
                for part in parts:
                    self._load(scratch, part, features=features)
                forgotten = count_forgettings(journal) if features else None
                whole = self._whole = _Whole(key, forgotten, scratch)
            whole.scratch.copy_all(journal, features=whole.forgotten is not None)
            return whole.scratch

    def _forget(self, journal: Connection, parts: Sequence[ArchivedPart]) -> None:
        """Drop what was unpacked with features that are forgotten since, whatever is asked for."""
        # An archived part has its features in another file then.
        features = {part.part: _features_of(part) for part in parts}
        for key in [each for each in self._opened if each[1] not in ("", features.get(each[0]))]:
            self._opened.pop(key).close()
        forgotten = self._whole and self._whole.forgotten
        if forgotten is not None and forgotten != count_forgettings(journal):
            # Another thread may be reading it: it goes when that is done.
            self._whole = None

    def outcome_rows(
        self, journal: Connection, nonces: Iterable[bytes]
    ) -> list[tuple[int, list[dict[str, Any]]]]:
        """Return the outcomes of archived decisions as rows of the table, by number of the part.

        Of a part that is not cleared all of them, whether or not its decisions have moved yet.
        """
        found, chosen = [], sorted(set(nonces))
        moving = {each.part: chosen for each in read_parts(journal) if not each.cleared}
        for number, some in (by_part(journal, chosen) | moving).items():
            with self.part(journal, number) as connection:
                rows: list[dict[str, Any]] = []
                for start in range(0, len(some), _KEYS_PER_QUERY):
                    chunk = some[start : start + _KEYS_PER_QUERY]
                    query = select(outcomes).where(outcomes.c.nonce.in_(chunk))
                    rows += [dict(row) for row in connection.execute(query).mappings()]
                found.append((number, rows))
        return found

    def count_outcomes(self, journal: Connection, nonces: set[bytes], upto: int) -> Counter[bytes]:
        """See `Stream.count_outcomes`, of archived outcomes that are not in the journal too."""
        counted: Counter[bytes] = Counter()
        for number, some in by_part(journal, nonces).items():
            here = {seq for _, seq in outcome_seqs(journal, some, upto)}
            with self.part(journal, number) as connection:
                its = outcome_seqs(connection, some, upto)
            counted.update(nonce for nonce, seq in its if seq not in here)
        return counted


@dataclass(frozen=True, slots=True)
class _Whole:
    """All that is archived and all that is in the journal.

    Attributes:
        key: The archived parts that it was made of, with their files.
        forgotten: How often features had been forgotten by then; None if it has no features.
        scratch: The rows.
    """

    key: tuple[tuple[int, str], ...]
    forgotten: int | None
    scratch: Scratch


def _features_of(part: ArchivedPart) -> str:
    """Return what tells the features of a part from what they are once some are forgotten."""
    return str(part.files.get("features", ""))


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
