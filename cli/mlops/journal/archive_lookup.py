"""Single requests of archived parts, read without unpacking the part.

Files of decisions and outcomes have row groups of 10,000 rows with the smallest and the largest
nonce of each. The nonce of a request begins with its time, so that one or two groups may have it;
that of a request with an idempotency key is random, and then the nonces of all groups are read, 12
bytes a row. Of a group that has the request one more read gives its columns.

What was found is kept: rows of archived requests never change. Outcomes that came after their
request was archived are in the database.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, select

from mlops.errors import RemoteError
from mlops.journal.archived import (
    Archive,
    ArchivedPart,
    by_part,
    completed_by,
    parts_of,
    read_parts,
    read_stage,
)
from mlops.journal.base import ArchiveAwayError
from mlops.journal.earlier import NOTHING, Earlier
from mlops.journal.records import NewOutcome, Observation
from mlops.journal.rows import DecisionRow, Row
from mlops.journal.schema import archived_requests

if TYPE_CHECKING:
    import pyarrow.parquet as pq

_DECISION = (
    "nonce", "revision", "arm", "propensity", "n_rows", "prediction", "predictions", "unit",
    "time_ms",
)  # fmt: skip
_OUTCOME = ("nonce", "row", "ordinal", "outcome_id", "reward", "truth", "truth_json")
_OPEN_FILES, _GROUPS, _REQUESTS = 16, 64, 50_000
_AWAY_S = 20.0
# As in `mlops.spec.request_id`: the nonce of a request without idempotency key holds its time.
_SAME_MOMENT_S = 5


@dataclass(frozen=True, slots=True)
class Known:
    """What an archive has of one request: its decision and its outcomes."""

    decision: Row
    outcomes: Sequence[Row]


class Lookups:
    """Finds single requests in an archive; used by any thread.

    Args:
        archive: Has the files.
    """

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        # A store may take its time, and writers ask for what is known meanwhile.
        self._reading, self._lock = threading.Lock(), threading.Lock()
        self._known: OrderedDict[bytes, Known] = OrderedDict()
        self._files: OrderedDict[str, Any] = OrderedDict()
        # By digest of the file and number of the group: its nonces and its columns.
        self._groups: OrderedDict[tuple[str, int], tuple[NDArray[np.bytes_], Any]] = OrderedDict()
        # Parts that could not be brought: until when they are not asked for again, and why.
        self._away: dict[int, tuple[float, RemoteError]] = {}

    def close(self) -> None:
        """Close the files."""
        with self._reading:
            for opened in self._files.values():
                opened.close()
            self._files.clear()
            self._groups.clear()

    def far(self, journal: Connection, batch: Sequence[NewOutcome]) -> list[bool]:
        """Say of each outcome whether it is about a request whose files have to be read first."""
        if read_stage(journal) == NOTHING.stage:
            return [False] * len(batch)
        named = _named(journal, batch)
        archived = parts_of(journal, _nonces(batch) | named.keys())
        with self._lock:
            unread = archived.keys() - self._known.keys()
        names = {named[nonce] for nonce in unread if nonce in named}
        return [
            each.client_id in names if each.nonce is None else each.nonce in unread
            for each in batch
        ]

    def look(
        self, journal: Connection, rows: Sequence[DecisionRow], batch: Sequence[NewOutcome]
    ) -> Earlier:
        """Find what is archived of the decisions that a batch has or is about.

        Raises:
            ArchiveAwayError: A part is needed that cannot be brought.
        """
        stage = read_stage(journal)
        if stage == NOTHING.stage:
            return NOTHING
        named = _named(journal, batch)
        known: dict[bytes, Known] = {}
        away: set[bytes] = set()
        for number, some in by_part(journal, _nonces(batch) | named.keys()).items():
            try:
                known |= self._tried(journal, number, some)
            except RemoteError as error:
                away, fault = away | set(some), error
        if away:
            lost = {named[nonce] for nonce in away if nonce in named}
            raise ArchiveAwayError(fault.message, hint=fault.hint, nonces=away, names=lost)
        by_name: dict[str | None, list[Row]] = defaultdict(list)
        for nonce, name in named.items():
            by_name[name].append(known[nonce].decision)
        retries = {row[0] for row in rows if _may_be_retry(row)}
        return Earlier(
            stage,
            {nonce: each.decision for nonce, each in known.items()},
            {nonce: each.outcomes for nonce, each in known.items() if each.outcomes},
            by_name,
            set(parts_of(journal, retries)),
        )

    def completed(self, journal: Connection, seen: Sequence[Observation]) -> list[Observation]:
        """Join outcomes that came after their decision had been archived."""
        alone = {each.nonce for each in seen if each.decided_ms is None}
        known: dict[bytes, Known] = {}
        for number, some in by_part(journal, alone).items():
            known |= self._found(journal, number, some)
        found = {nonce: each.decision for nonce, each in known.items()}
        done = (completed_by(each, found.get(each.nonce)) for each in seen)
        return [each for each in done if each is not None]

    def _tried(
        self, journal: Connection, number: int, nonces: Sequence[bytes]
    ) -> dict[bytes, Known]:
        """Look into a part, unless it could not be brought a moment ago.

        Raises:
            RemoteError: It cannot be brought.
        """
        until, fault = self._away.get(number, (0.0, None))
        if fault is not None and time.monotonic() < until:
            raise fault
        try:
            known = self._found(journal, number, nonces)
        except RemoteError as error:
            self._away[number] = time.monotonic() + _AWAY_S, error
            raise
        self._away.pop(number, None)
        return known

    def _found(
        self, journal: Connection, number: int, nonces: Sequence[bytes]
    ) -> dict[bytes, Known]:
        known = self._remembered(nonces)
        if len(known) == len(nonces):
            return known
        with self._reading:
            # Another thread may have read them.
            known |= self._remembered(nonces)
            new = [nonce for nonce in nonces if nonce not in known]
            if new:
                (part,) = (each for each in read_parts(journal) if each.part == number)
                read = self._read(part, new)
                with self._lock:
                    self._known.update(read)
                    while len(self._known) > _REQUESTS:
                        self._known.popitem(last=False)
                known |= read
        return known

    def _remembered(self, nonces: Sequence[bytes]) -> dict[bytes, Known]:
        with self._lock:
            known = {nonce: self._known[nonce] for nonce in nonces if nonce in self._known}
            for nonce in known:
                self._known.move_to_end(nonce)
            return known

    def _read(self, part: ArchivedPart, nonces: Collection[bytes]) -> dict[bytes, Known]:
        outcomes: dict[bytes, list[Row]] = defaultdict(list)
        if "outcomes" in part.files:
            for row in self._rows(part, "outcomes", _OUTCOME, nonces):
                # What was voided since is in the database too, where that is looked up.
                outcomes[row["nonce"]].append(SimpleNamespace(**row, voided=None))
        return {
            row["nonce"]: Known(SimpleNamespace(**row), tuple(outcomes.get(row["nonce"], ())))
            for row in self._rows(part, "decisions", _DECISION, nonces)
        }

    def _rows(
        self, part: ArchivedPart, name: str, columns: Sequence[str], nonces: Collection[bytes]
    ) -> Iterator[dict[str, Any]]:
        """Yield the rows of some decisions in a file of a part."""
        digest, opened = part.files[name]["sha256"], self._opened(part, name)
        wanted = np.array(sorted(nonces), dtype="S12")
        for group in _candidates(opened.metadata, wanted):
            there, table = self._group(digest, opened, group, columns)
            at = np.flatnonzero(np.isin(there, wanted))
            if at.size:
                yield from table.take(at).to_pylist()

    def _opened(self, part: ArchivedPart, name: str) -> pq.ParquetFile:
        from pyarrow import parquet

        digest = part.files[name]["sha256"]
        opened = self._files.get(digest)
        if opened is None:
            # It stays readable while it is open, also where it was a temporary file.
            with self._archive.file(part, name) as file:
                opened = parquet.ParquetFile(file, page_checksum_verification=True)
            self._files[digest] = opened
        self._files.move_to_end(digest)
        while len(self._files) > _OPEN_FILES:
            self._files.popitem(last=False)[1].close()
        return opened

    def _group(
        self,
        digest: str,
        opened: pq.ParquetFile,
        group: int,
        columns: Sequence[str],
    ) -> tuple[NDArray[np.bytes_], Any]:
        """Return the nonces and the columns of one row group."""
        found = self._groups.get((digest, group))
        if found is None:
            table = opened.read_row_group(group, columns=list(columns), use_threads=False)
            found = np.array(table.column("nonce").to_pylist(), dtype="S12"), table
            self._groups[digest, group] = found
        self._groups.move_to_end((digest, group))
        while len(self._groups) > _GROUPS:
            self._groups.popitem(last=False)
        return found


def _candidates(metadata: pq.FileMetaData, wanted: NDArray[np.bytes_]) -> Iterator[int]:
    """Yield the row groups that may have one of these nonces, ascending."""
    names = [metadata.schema.column(at).name for at in range(metadata.num_columns)]
    position = names.index("nonce")
    for group in range(metadata.num_row_groups):
        statistics = metadata.row_group(group).column(position).statistics
        if statistics is not None and statistics.has_min_max:
            ends = np.array([statistics.min, statistics.max], dtype="S12")
            first, last = (
                np.searchsorted(wanted, ends[0]),
                np.searchsorted(wanted, ends[1], "right"),
            )
            if first == last:
                continue
        yield group


def _nonces(batch: Iterable[NewOutcome]) -> set[bytes]:
    return {each.nonce for each in batch if each.nonce is not None}


def _named(journal: Connection, batch: Iterable[NewOutcome]) -> Mapping[bytes, str]:
    """Find up to two decisions for each of the callers' own ids, which tells whether it is one."""
    a, found = archived_requests.c, {}
    for name in {each.client_id for each in batch if each.nonce is None}:
        query = select(a.nonce).where(a.client_id == name).limit(2)
        if name is not None:
            found.update({bytes(nonce): name for nonce in journal.execute(query).scalars()})
    return found


def _may_be_retry(row: DecisionRow) -> bool:
    nonce, time_ms = row[0], row[1]
    apart: int = int.from_bytes(nonce[:4], "big") - time_ms // 1000
    return abs(apart) > _SAME_MOMENT_S
