"""Closed parts of a large log, as Parquet files beside it, so that a report need not read it again.

Nothing that a report reads of a decision or an outcome ever changes. So each million rows of the
log is a part once it is full: a file of the columns that reports read, and of decisions the sums of
their traffic. A report writes the parts that have closed since the last one; a process that
cannot write there reads the tables. What comes after the last part always comes from the tables.

Two things are looked up each time, because they do change: which outcomes have been voided, and the
decisions of outcomes that came before them. A part names its last row, and one of outcomes also the
last decision that it was written with. If other rows are there, as after a restored backup,
it is written again; so is a part that is damaged, by its checksums.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Table, func, select

from mlops.journal import columns, traffic
from mlops.journal.archived import count_parts, last_decision
from mlops.journal.columns import OutcomeColumns, RequestColumns
from mlops.journal.schema import decisions, outcomes, voids

_C = TypeVar("_C", RequestColumns, OutcomeColumns)
_LOG = logging.getLogger(__name__)
#: Rows of the log in one part.
ROWS = 1_000_000
_VERSION = 3
# Rows that are in memory at once, of each part that is read.
_GROUP = 50_000
_KEY = b"mlops"
# A draft is written within seconds; one this old was left by a killed process.
_OLD_S = 3600.0
# Columns that are not numbers, with their types in Arrow.
_TEXTS = {"nonces": "binary", "truth_texts": "string", "prediction_texts": "string"}


class _DamagedError(Exception):
    """A part cannot be read to its end."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A file with the rows behind `after`, up to `upto`, and what was noted when it was written.

    Rows and notes come from one open file, even if it is replaced while it is read.
    """

    file: Path
    after: int
    upto: int
    notes: dict[str, Any]
    opened: Any = None


class Parts:
    """The closed parts of one journal in SQLite.

    Args:
        journal: The SQLite file; None for a database that has no parts.
        rows: Rows of the log in one part.
    """

    def __init__(self, journal: Path | None, rows: int) -> None:
        self._folder = journal.with_name(f"{journal.name}-parts") if journal else None
        self._rows = rows

    def requests(
        self, connection: Connection, revisions: Iterable[int]
    ) -> Iterator[RequestColumns]:
        """See `Evidence.request_columns`."""
        read, stored = columns.read_request_columns, functools.partial(_read, RequestColumns)
        return self._columns(connection, decisions, list(revisions), read, stored)

    def outcomes(
        self, connection: Connection, revisions: Iterable[int]
    ) -> Iterator[OutcomeColumns]:
        """See `Evidence.outcome_columns`."""
        read, stored = columns.read_outcome_columns, functools.partial(_outcomes, connection)
        return self._columns(connection, outcomes, list(revisions), read, stored)

    def _columns(
        self,
        connection: Connection,
        table: Table,
        revisions: list[int],
        read: Callable[..., Iterator[_C]],
        stored: Callable[[_Part], Iterator[_C]],
    ) -> Iterator[_C]:
        """Yield the rows of closed parts, of damaged ones from the tables, then all after them."""
        after = _first(connection, table)
        for part in self._closed(connection, table):
            after, done = part.upto, 0
            try:
                for piece in stored(part):
                    done += piece.revisions.size
                    yield columns.of_revisions(piece, revisions)
            except _DamagedError:
                rows = read(connection, None, part.after, part.upto)
                for piece in columns.after_first(rows, done):
                    yield columns.of_revisions(piece, revisions)
        yield from read(connection, revisions, after)

    def sums(self, connection: Connection) -> tuple[list[traffic.Sums], list[traffic.Sums]]:
        """Return the sums of closed parts, and those of what comes after them."""
        after, sums = _first(connection, decisions), list[traffic.Sums]()
        for part in self._closed(connection, decisions):
            after = part.upto
            sums += [traffic.Sums(*each) for each in part.notes["traffic"]]
        return sums, traffic.read_sums(connection, after)

    def _closed(self, connection: Connection, table: Table) -> Iterator[_Part]:
        """Yield the closed parts in order, as far as they can be read or written."""
        if self._folder is None:
            return
        end = connection.execute(select(func.max(table.c.seq))).scalar_one() or 0
        # Rows that have gone to the archive since are in none of them.
        moved, first = count_parts(connection), _first(connection, table)
        for number in range(first // self._rows, end // self._rows):
            after, upto = max(number * self._rows, first), (number + 1) * self._rows
            file = self._folder / f"{table.name}-{number:06d}.parquet"
            last = _row(connection, table, upto)
            try:
                notes = {"last": last, "archived": moved}
                part = _opened(connection, file, after, upto, notes)
                if part is None:
                    self._folder.mkdir(mode=0o700, exist_ok=True)
                    _remove_drafts(self._folder)
                    _write(connection, table, _Part(file, after, upto, notes))
                    part = _opened(connection, file, after, upto, notes)
            except OSError as error:
                _LOG.info("%s: %s; the journal itself is read", file, error)
                return
            if part is None:
                _LOG.warning("%s: cannot be read as written; the journal itself is read", file)
                return
            with part.opened:
                yield part


def _first(connection: Connection, table: Table) -> int:
    """Return the offset after which rows are not archived; outcomes are known one by one."""
    return last_decision(connection) if table is decisions else 0


def _write(connection: Connection, table: Table, part: _Part) -> None:
    notes = {"version": _VERSION, **part.notes}
    pieces: Iterable[RequestColumns | OutcomeColumns]
    if table is decisions:
        notes["traffic"] = traffic.read_sums(connection, part.after, part.upto)
        requests = columns.read_request_columns(connection, None, part.after, part.upto)
        # Where no arm was drawn there are none, and the file has its columns nevertheless.
        pieces = chain([columns.no_requests()], requests)
    else:
        found = columns.joined(
            columns.read_outcome_columns(connection, None, part.after, part.upto, voided_too=True)
        )
        notes["decision"] = _row(connection, decisions)
        known = found.requests > 0
        notes["open"] = found.seqs[~known].tolist()
        pieces = [columns.picked(found, known)]
    descriptor, draft = tempfile.mkstemp(dir=part.file.parent)
    os.close(descriptor)
    try:
        _store(pieces, Path(draft), notes)
        Path(draft).replace(part.file)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(draft).unlink()
        raise


def _remove_drafts(folder: Path) -> None:
    for draft in folder.glob(f"{tempfile.gettempprefix()}*"):
        with contextlib.suppress(OSError):
            if draft.stat().st_mtime < time.time() - _OLD_S:
                draft.unlink()


def _outcomes(connection: Connection, part: _Part) -> Iterator[OutcomeColumns]:
    """Yield the outcomes of a part, with those whose decision came late, without voided ones."""
    query = select(voids.c.outcome).where(
        voids.c.outcome > part.after, voids.c.outcome <= part.upto
    )
    voided = np.array(list(connection.execute(query).scalars()), dtype=np.int64)
    missing = part.notes["open"]
    late = columns.joined(
        columns.read_outcome_columns(connection, None, part.after, part.upto, missing)
        if missing
        else ()
    )
    last = part.after
    for piece in _read(OutcomeColumns, part):
        end = int(piece.seqs[-1])
        yield _with_late(piece, late, last, end, voided)
        last = end
    rest = _between(late, last, part.upto)
    if rest.seqs.size:
        yield rest


def _with_late(
    piece: OutcomeColumns, late: OutcomeColumns, after: int, upto: int, voided: NDArray[np.int64]
) -> OutcomeColumns:
    between = _between(late, after, upto)
    if between.seqs.size:
        piece = columns.joined([piece, between])
        piece = columns.picked(piece, np.argsort(piece.seqs))
    return columns.picked(piece, ~np.isin(piece.seqs, voided)) if voided.size else piece


def _between(found: OutcomeColumns, after: int, upto: int) -> OutcomeColumns:
    return columns.picked(found, (found.seqs > after) & (found.seqs <= upto))


def _row(connection: Connection, table: Table, upto: int | None = None) -> list[Any]:
    """Offset, identity and time of the last row up to an offset; nothing where there is none."""
    t = table.c
    query = select(t.seq, t.nonce, t.time_ms).order_by(t.seq.desc()).limit(1)
    if upto is not None:
        query = query.where(t.seq <= upto)
    found = connection.execute(query).one_or_none()
    return [found.seq, bytes(found.nonce).hex(), found.time_ms] if found is not None else []


def _opened(
    connection: Connection, file: Path, after: int, upto: int, expected: dict[str, Any]
) -> _Part | None:
    """Open a part; None where there is none that can be read, or if it is not of this journal."""
    from pyarrow import ArrowException, parquet

    try:
        opened = parquet.ParquetFile(file, page_checksum_verification=True)
    except (OSError, ArrowException, KeyError, ValueError):
        return None
    with contextlib.ExitStack() as stack:
        stack.push(opened)
        notes = _notes((opened.schema_arrow.metadata or {}).get(_KEY, b""))
        expected = {"version": _VERSION, **expected}
        if any(notes.get(name) != value for name, value in expected.items()):
            return None
        decision = notes.get("decision")
        if decision and _row(connection, decisions, decision[0]) != decision:
            return None
        stack.pop_all()
    return _Part(file, after, upto, notes, opened)


def _noted(notes: dict[str, Any]) -> bytes:
    """Return notes as bytes, after their checksum: those of Parquet cover the rows only."""
    told = json.dumps(notes).encode()
    return b"%08x" % zlib.crc32(told) + told


def _notes(written: bytes) -> dict[str, Any]:
    """Return the notes of a part; nothing if they are damaged."""
    told = written[8:]
    if written[:8] != b"%08x" % zlib.crc32(told) or not told:
        return {}
    notes: dict[str, Any] = json.loads(told)
    return notes


def _store(pieces: Iterable[Any], file: Path, notes: dict[str, Any]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    writer = None
    try:
        for piece in pieces:
            names = columns.names(type(piece))
            # Lists without any text have no type of their own.
            arrays = [
                pa.array(getattr(piece, name), _TEXTS[name])
                if name in _TEXTS
                else pa.array(getattr(piece, name))
                for name in names
            ]
            table = pa.table(arrays, names=names).replace_schema_metadata({_KEY: _noted(notes)})
            writer = writer or parquet.ParquetWriter(
                file, table.schema, compression="zstd", write_page_checksum=True
            )
            if table.num_rows:
                writer.write_table(table, row_group_size=_GROUP)
    finally:
        if writer is not None:
            writer.close()


def _read(kind: Any, part: _Part) -> Iterator[Any]:  # noqa: ANN401 - what `kind` makes
    """Yield the columns of a part, some rows at a time.

    Raises:
        _DamagedError: It is damaged; the file is removed.
    """
    from pyarrow import ArrowException

    try:
        for group in range(part.opened.num_row_groups):
            table = part.opened.read_row_group(group, use_threads=False)
            found = {}
            for name in columns.names(kind):
                column = table[name]
                found[name] = column.to_pylist() if name in _TEXTS else column.to_numpy()
            if table.num_rows:
                yield kind(**found)
    except (OSError, ArrowException, KeyError, ValueError) as error:
        _LOG.warning("%s: damaged (%s); the journal itself is read", part.file, error)
        with contextlib.suppress(OSError):
            part.file.unlink()
        raise _DamagedError from error
