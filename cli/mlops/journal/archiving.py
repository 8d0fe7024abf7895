"""Moving the oldest rows of a log into an artifact store.

A part is written to files, the files are stored, and a manifest with their digests after them. Only
then, in one short transaction, the journal records the part, whose rows here do not count from then
on, see `archive_cleanup`. A process that is killed before that has stored files that are not read,
and the next one stores the same again.

The last decision and the last outcome always stay: SQLite counts on from them.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, TypeAlias

from sqlalchemy import Connection, Select, func, insert, select, update

from mlops.errors import ConflictError
from mlops.journal import partitions, traffic
from mlops.journal.archive_files import FILES, keep_rows, read_rows, write_rows
from mlops.journal.archived import ArchivedPart, read_parts
from mlops.journal.schema import archives, decisions, meta, outcomes, shadow_decisions
from mlops.journal.voiding import counts

#: Stores a file under a key.
Put: TypeAlias = Callable[[Path, str], None]
#: Decisions of one part.
ROWS = 100_000


class Noting(Protocol):
    """What gives the files of archived parts, and takes note of new ones."""

    def part_file(self, part: ArchivedPart, name: str) -> AbstractContextManager[Path]:
        """Give a file of a part."""
        ...

    def note_files(self, part: ArchivedPart) -> None:
        """Take note of the files that a part has now."""
        ...


@dataclass(frozen=True, slots=True)
class Span:
    """Decisions that the next part gets.

    Attributes:
        part: Its number, from 0.
        after: Offset of the last decision before it.
        upto: Offset of its last decision.
    """

    part: int
    after: int
    upto: int


@dataclass(frozen=True, slots=True)
class Planned:
    """What archiving would move.

    Attributes:
        parts: How many parts it would write.
        requests: How many decisions would go.
        outcomes: How many outcomes would go with them.
    """

    parts: int = 0
    requests: int = 0
    outcomes: int = 0


def last_span(connection: Connection) -> Span:
    """Return the decisions that were archived last; before the first part, one without any."""
    there = read_parts(connection)
    return Span(there[-1].part, there[-1].after, there[-1].upto) if there else Span(-1, 0, 0)


def next_span(
    connection: Connection, before: Span, before_ms: int, end: int, rows: int
) -> Span | None:
    """Choose what to archive next: the oldest decisions, as far as all are from before a time.

    Args:
        connection: To the journal.
        before: What was archived before.
        before_ms: Milliseconds since 1970 in UTC.
        end: Offset before which no decision will come any more.
        rows: Most decisions.
    """
    d, after, number = decisions.c, before.upto, before.part + 1
    last = min(end, connection.execute(select(func.max(d.seq))).scalar_one() or 0)
    if partitions.is_partitioned(connection):
        # One partition, which is dropped then.
        upto = (after // partitions.ROWS + 1) * partitions.ROWS
        if upto >= last or _first_young(connection, after, upto, before_ms) is not None:
            return None
        return Span(number, after, upto)
    oldest = select(d.seq).where(d.seq > after, d.seq < last).order_by(d.seq).limit(rows).subquery()
    upto = connection.execute(select(func.max(oldest.c.seq))).scalar_one() or after
    young = _first_young(connection, after, upto, before_ms)
    if young is not None:
        older = select(func.max(d.seq)).where(d.seq > after, d.seq < young)
        upto = connection.execute(older).scalar_one() or after
    return Span(number, after, upto) if upto > after else None


def _first_young(connection: Connection, after: int, upto: int, before_ms: int) -> int | None:
    """Return the first decision of these that is not from before a time; None for none."""
    d = decisions.c
    query = select(func.min(d.seq)).where(d.seq > after, d.seq <= upto, d.time_ms >= before_ms)
    found: int | None = connection.execute(query).scalar_one()
    return found


def plan(connection: Connection, before_ms: int, end: int, rows: int) -> Planned:
    """Count what archiving would move, see `next_span`."""
    found, span = Planned(), last_span(connection)
    while (following := next_span(connection, span, before_ms, end, rows)) is not None:
        span = following
        counted = [
            connection.execute(
                _rows(name, span).with_only_columns(func.count(), maintain_column_froms=True)
                .order_by(None)
            ).scalar_one()
            for name in ("decisions", "outcomes")
        ]  # fmt: skip
        found = Planned(found.parts + 1, found.requests + counted[0], found.outcomes + counted[1])
    return found


def write_files(connection: Connection, span: Span, folder: Path) -> dict[str, Path]:
    """Write the rows of a part; a file without any row is left out."""
    found = {}
    for name, (_, columns) in FILES.items():
        file = folder / f"{name}.parquet"
        query = _rows(name, span).with_only_columns(*columns, maintain_column_froms=True)
        if write_rows(connection, query, columns, file) or name == "decisions":
            found[name] = file
    return found


def _rows(name: str, span: Span) -> Select[Any]:
    """Ask for the rows of one file of a part."""
    within = decisions.c.seq.between(span.after + 1, span.upto)
    if name == "decisions":
        return select(decisions).where(within).order_by(decisions.c.seq)
    if name == "features":
        kept = decisions.c.features.is_not(None)
        return select(decisions).where(within, kept).order_by(decisions.c.seq)
    table = outcomes if name == "outcomes" else shadow_decisions
    last = select(func.max(table.c.seq)).scalar_subquery()
    query = (
        select(table)
        .select_from(decisions.join(table, decisions.c.nonce == table.c.nonce))
        .where(within, table.c.seq < last)
    )
    # By request, as it is looked up; by their own offsets SQLite would read all of the table.
    query = query.order_by(decisions.c.seq, table.c.seq)
    # What is void stays, with the reason.
    return query.where(counts()) if name == "outcomes" else query


def describe(
    connection: Connection, span: Span, location: str, files: dict[str, Path]
) -> ArchivedPart:
    """Return what is to be known of a part but for its files, as long as its rows are here."""
    d = decisions.c
    within = d.seq.between(span.after + 1, span.upto)
    count, first_ms = connection.execute(
        select(func.count(), func.coalesce(func.min(d.time_ms), 0)).where(within)
    ).one()
    seqs = offsets(files.get("outcomes"))
    sums = traffic.read_sums(connection, span.after, span.upto)
    return ArchivedPart(
        span.part, span.after, span.upto, first_ms, count, len(seqs), min(seqs, default=0),
        max(seqs, default=0), location, {}, sums,
    )  # fmt: skip


def store_files(part: ArchivedPart, files: dict[str, Path], prefix: str, put: Put) -> ArchivedPart:
    """Store the files of a part, then its manifest; return the part with its files.

    Args:
        part: It.
        files: Name to file.
        prefix: Of their keys.
        put: Stores a file.
    """
    stored = dict(part.files)
    for name, file in files.items():
        digest = _digest(file)
        key = f"{prefix}/{part.part:06d}-{name}-{digest[:12]}.parquet"
        put(file, key)
        stored[name] = {"key": key, "size": file.stat().st_size, "sha256": digest}
    part = replace(part, files=stored)
    _store_manifest(part, prefix, put)
    return part


def _store_manifest(part: ArchivedPart, prefix: str, put: Put) -> None:
    """Store what says which files a part has."""
    told = asdict(part)
    del told["doomed"], told["cleared"]
    with tempfile.TemporaryDirectory(prefix="mlops-archiving-") as folder:
        manifest = Path(folder, "manifest.json")
        manifest.write_text(json.dumps({"schema_version": 1, **told}, indent=1))
        put(manifest, f"{prefix}/{part.part:06d}.json")


def forget_features(
    journal: Noting,
    part: ArchivedPart,
    before_ms: int,
    put: Put,
    units: Collection[bytes] = (),
) -> tuple[ArchivedPart, int]:
    """Let a part have the features of later decisions only; return it and how many are forgotten.

    The file that has them is doomed, and the caller deletes it.

    Args:
        journal: Gives and notes files.
        part: The part.
        before_ms: Features from before this time go, milliseconds since 1970 in UTC.
        put: Stores a file.
        units: Sticky units whose features go, whatever their time.
    """
    chosen = _of_units(journal, part, units)
    if units and not chosen and not before_ms:
        return part, 0
    old = part.files["features"]["key"]
    prefix = str(PurePosixPath(old).parent)
    with tempfile.TemporaryDirectory(prefix="mlops-archiving-") as folder:
        draft = Path(folder, "features.parquet")
        with journal.part_file(part, "features") as file:
            kept, gone = keep_rows(file, draft, before_ms, chosen)
        if not gone:
            return part, 0
        files = {name: stored for name, stored in part.files.items() if name != "features"}
        part = replace(part, files=files, doomed=[*part.doomed, old])
        part = store_files(part, {"features": draft} if kept else {}, prefix, put)
    journal.note_files(part)
    return part, gone


def _of_units(journal: Noting, part: ArchivedPart, units: Collection[bytes]) -> set[int]:
    """Return the offsets of the decisions of these units."""
    if not units:
        return set()
    with journal.part_file(part, "decisions") as file:
        return {
            seq for rows in read_rows(file, ("seq", "unit")) for seq, unit in rows if unit in units
        }


def known_units(journal: Noting, part: ArchivedPart, units: Collection[bytes]) -> set[bytes]:
    """Return which of some sticky units have requests in a part."""
    with journal.part_file(part, "decisions") as file:
        found = (bytes(u) for rows in read_rows(file, ("unit",)) for (u,) in rows if u is not None)
        return set(units).intersection(found)


def count_features(journal: Noting, part: ArchivedPart, before_ms: int) -> int:
    """Count the decisions of a part from before a time that have features."""
    with journal.part_file(part, "features") as file:
        return sum(
            time_ms < before_ms for rows in read_rows(file, ("time_ms",)) for (time_ms,) in rows
        )


def note_part(connection: Connection, part: ArchivedPart, forgotten: int) -> None:
    """Take note of a part whose files are stored; from this commit on its rows here do not count.

    Args:
        connection: In a transaction, with the write lock held.
        part: It.
        forgotten: How often features had been forgotten when its rows were read.

    Raises:
        ConflictError: Another process has changed its rows in the meantime; nothing is changed.
    """
    now = select(meta.c.forgotten)
    if connection.dialect.name != "sqlite":
        # A process that forgets some has locked this row.
        now = now.with_for_update()
    changed = connection.execute(now).scalar_one() != forgotten
    if changed or last_span(connection).upto != part.after:
        raise ConflictError(
            "Another process is archiving or pruning this journal.", hint="Try again later."
        )
    left = {"outcomes_left": part.outcomes, "cleared": 0}
    connection.execute(insert(archives).values(**_row(part), outcomes=part.outcomes, **left))


def note_files(connection: Connection, part: ArchivedPart) -> None:
    """Take note of the files that a part has now."""
    row = {name: value for name, value in _row(part).items() if name in ("files", "doomed")}
    connection.execute(update(archives).where(archives.c.part == part.part).values(**row))


def _row(part: ArchivedPart) -> dict[str, Any]:
    return {
        "part": part.part,
        "after": part.after,
        "upto": part.upto,
        "first_ms": part.first_ms,
        "requests": part.requests,
        "first_outcome": part.first_outcome,
        "last_outcome": part.last_outcome,
        "location": part.location,
        "files": json.dumps(part.files),
        "traffic": json.dumps(part.traffic),
        "doomed": json.dumps(list(part.doomed)),
    }


def offsets(file: Path | None) -> list[int]:
    """Return the offsets of the rows in a file of a part, ascending; none if there is none."""
    if file is None:
        return []
    return sorted(seq for rows in read_rows(file, ("seq",)) for (seq,) in rows)


def _digest(file: Path) -> str:
    from hashlib import file_digest

    with file.open("rb") as stream:
        return file_digest(stream, "sha256").hexdigest()
