"""Closed parts of a large log, as Parquet files beside it, so that a report need not read it again.

Nothing that a report reads of a decision or an outcome ever changes. So each million rows of the
log is a part once it is full: a file of the columns that reports read, and of decisions the sums of
their traffic. Whoever makes a report writes the parts that have closed since the last one; whoever
cannot write there reads the tables. What comes after the last part always comes from the tables.

Two things are looked up each time, because they do change: which outcomes have been voided, and the
decisions of outcomes that came before them. A part names the identity of its last row; one of
another journal, say of a copy that was restored, is told by that and written again.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Connection, Table, func, select

from mlops.journal import columns, traffic
from mlops.journal.columns import OutcomeColumns, RequestColumns
from mlops.journal.records import Traffic
from mlops.journal.schema import decisions, outcomes, voids

_LOG = logging.getLogger(__name__)
#: Rows of the log in one part.
ROWS = 1_000_000
_VERSION = 1
_KEY = b"mlops"
# Columns that are no numbers, with their types in Arrow.
_TEXTS = {"nonces": "binary", "truth_texts": "string", "prediction_texts": "string"}


@dataclass(frozen=True, slots=True)
class _Part:
    """A file with the rows behind `after`, up to `upto`, and what was noted when it was written."""

    file: Path
    after: int
    upto: int
    notes: dict[str, Any]


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
        after, chosen = 0, list(revisions)
        for part in self._closed(connection, decisions):
            after = part.upto
            yield columns.of_revisions(_read(RequestColumns, part.file), chosen)
        yield from columns.read_request_columns(connection, chosen, after)

    def outcomes(
        self, connection: Connection, revisions: Iterable[int]
    ) -> Iterator[OutcomeColumns]:
        """See `Evidence.outcome_columns`."""
        after, chosen = 0, list(revisions)
        for part in self._closed(connection, outcomes):
            after = part.upto
            yield columns.of_revisions(_outcomes(connection, part), chosen)
        yield from columns.read_outcome_columns(connection, chosen, after)

    def traffic(self, connection: Connection) -> list[Traffic]:
        """See `Sums.traffic`."""
        after, sums = 0, list[traffic.Sums]()
        for part in self._closed(connection, decisions):
            after = part.upto
            sums += [traffic.Sums(*each) for each in part.notes["traffic"]]
        if any(each.units for each in sums):
            # A sticky unit may come in several parts, and counts once.
            return traffic.read_traffic(connection)
        return traffic.added([*sums, *traffic.read_sums(connection, after)])

    def _closed(self, connection: Connection, table: Table) -> Iterator[_Part]:
        """Yield the closed parts in order, as far as they can be read or written."""
        if self._folder is None:
            return
        end = connection.execute(select(func.max(table.c.seq))).scalar_one() or 0
        for after in range(0, end - self._rows + 1, self._rows):
            upto = after + self._rows
            file = self._folder / f"{table.name}-{after // self._rows:06d}.parquet"
            last = _last(connection, table, after, upto)
            try:
                notes = _notes(file)
                if (notes.get("version"), notes.get("last")) != (_VERSION, last):
                    self._folder.mkdir(mode=0o700, exist_ok=True)
                    _write(connection, table, _Part(file, after, upto, {"last": last}))
                    notes = _notes(file)
            except OSError as error:
                _LOG.info("%s: %s; the journal itself is read", file, error)
                return
            yield _Part(file, after, upto, notes)


def _write(connection: Connection, table: Table, part: _Part) -> None:
    notes = {"version": _VERSION, **part.notes}
    pieces: Iterable[RequestColumns | OutcomeColumns]
    if table is decisions:
        notes["traffic"] = traffic.read_sums(connection, part.after, part.upto)
        pieces = columns.read_request_columns(connection, None, part.after, part.upto)
    else:
        found = columns.joined(
            columns.read_outcome_columns(connection, None, part.after, part.upto)
        )
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


def _outcomes(connection: Connection, part: _Part) -> OutcomeColumns:
    found: OutcomeColumns = _read(OutcomeColumns, part.file)
    missing = part.notes["open"]
    if missing:
        late = columns.read_outcome_columns(connection, None, part.after, part.upto, missing)
        found = columns.joined([found, *late])
        found = columns.picked(found, np.argsort(found.seqs))
    query = select(voids.c.outcome).where(
        voids.c.outcome > part.after, voids.c.outcome <= part.upto
    )
    voided = [outcome for (outcome,) in connection.execute(query)]
    return columns.picked(found, ~np.isin(found.seqs, voided)) if voided else found


def _last(connection: Connection, table: Table, after: int, upto: int) -> str:
    """Identity of the last row of a part."""
    t = table.c
    query = select(t.nonce).where(t.seq > after, t.seq <= upto).order_by(t.seq.desc()).limit(1)
    found = connection.execute(query).scalar_one_or_none()
    return bytes(found).hex() if found is not None else ""


def _notes(file: Path) -> dict[str, Any]:
    """Return what was noted with a part; nothing where there is none that can be read."""
    from pyarrow import ArrowInvalid, parquet

    try:
        notes: dict[str, Any] = json.loads(parquet.read_schema(file).metadata[_KEY])
    except (FileNotFoundError, ArrowInvalid, KeyError, TypeError, ValueError):
        return {}
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
            table = pa.table(arrays, names=names).replace_schema_metadata({_KEY: json.dumps(notes)})
            writer = writer or parquet.ParquetWriter(file, table.schema, compression="zstd")
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def _read(kind: Any, file: Path) -> Any:  # noqa: ANN401 - what `kind` makes
    from pyarrow import parquet

    table = parquet.read_table(file, use_threads=False)
    found = {}
    for name in columns.names(kind):
        column = table[name]
        found[name] = column.to_pylist() if name in _TEXTS else column.to_numpy()
    return kind(**found)
