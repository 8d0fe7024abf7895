"""Rows of the tables as Parquet files, and such files as rows of a SQLite database."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Float,
    Integer,
    LargeBinary,
    Select,
    SmallInteger,
    Table,
    Text,
)

from mlops.journal.schema import decisions, outcomes, shadow_decisions

if TYPE_CHECKING:
    import pyarrow as pa

_AT_ONCE = 10_000
#: Files of a part: name to the table and the columns that it has. Features are apart: they are most
#: of it, few ask for them, and they may be forgotten.
FILES: dict[str, tuple[Table, tuple[Column[Any], ...]]] = {
    "decisions": (decisions, tuple(c for c in decisions.c if c.name != "features")),
    "features": (decisions, (decisions.c.seq, decisions.c.time_ms, decisions.c.features)),
    "outcomes": (outcomes, tuple(outcomes.c)),
    "shadows": (shadow_decisions, tuple(shadow_decisions.c)),
}


def write_rows(
    connection: Connection, query: Select[Any], columns: Sequence[Column[Any]], file: Path
) -> int:
    """Write what a query gives, these columns in this order; return how many rows that was."""
    import pyarrow as pa
    from pyarrow import parquet

    schema = pa.schema([(column.name, _arrow_type(column)) for column in columns])
    count = 0
    with parquet.ParquetWriter(
        file, schema, compression="zstd", write_page_checksum=True
    ) as writer:
        streamed = connection.execution_options(yield_per=_AT_ONCE).execute(query)
        for rows in streamed.partitions():
            arrays = [
                pa.array(list(values), field.type)
                for values, field in zip(zip(*rows, strict=True), schema, strict=True)
            ]
            writer.write_batch(pa.record_batch(arrays, schema=schema))
            count += len(rows)
    return count


def keep_rows(
    file: Path, draft: Path, since_ms: int, without: Collection[int] = ()
) -> tuple[int, int]:
    """Copy the rows of a file that are not from before a time; return how many are and are not.

    Args:
        file: With columns `seq` and `time_ms`.
        draft: Where to.
        since_ms: Milliseconds since 1970 in UTC.
        without: Offsets that are left out, whatever their time.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import parquet

    with parquet.ParquetFile(file, page_checksum_verification=True) as opened:
        table = opened.read(use_threads=False)
    left_out = pc.is_in(table["seq"], pa.array(list(without), pa.int64()))
    chosen = pc.and_(pc.greater_equal(table["time_ms"], since_ms), pc.invert(left_out))
    kept = table.filter(chosen)
    parquet.write_table(kept, draft, compression="zstd", write_page_checksum=True)
    return kept.num_rows, table.num_rows - kept.num_rows


def read_rows(file: Path, columns: Sequence[str]) -> Iterable[list[tuple[Any, ...]]]:
    """Yield the rows of a file, some at a time.

    Raises:
        OSError: It cannot be read.
    """
    from pyarrow import parquet

    with parquet.ParquetFile(file, page_checksum_verification=True) as opened:
        for batch in opened.iter_batches(_AT_ONCE, columns=list(columns), use_threads=False):
            yield list(zip(*(batch.column(name).to_pylist() for name in columns), strict=True))


def load_rows(connection: Connection, file: Path, name: str) -> None:
    """Put the rows of a file into its table in SQLite; what is there already stays."""
    table, columns = FILES[name]
    names = [column.name for column in columns]
    if name == "features":
        statement = "UPDATE decisions SET features = ? WHERE seq = ?"
        for rows in read_rows(file, ("features", "seq")):
            connection.exec_driver_sql(statement, rows)
        return
    for rows in read_rows(file, names):
        insert_rows(connection, table, names, rows)


def insert_rows(
    connection: Connection, table: Table, names: Sequence[str], rows: Sequence[tuple[Any, ...]]
) -> None:
    """Insert rows into a table in SQLite; what is there already stays."""
    marks = ", ".join("?" for _ in names)
    listed = ", ".join(f'"{name}"' for name in names)
    statement = f"INSERT OR IGNORE INTO {table.name} ({listed}) VALUES ({marks})"  # noqa: S608 - constants
    if rows:
        connection.exec_driver_sql(statement, list(rows))


def _arrow_type(column: Column[Any]) -> pa.DataType:
    import pyarrow as pa

    kinds: dict[type[Any], Any] = {
        BigInteger: pa.int64(),
        Integer: pa.int64(),
        SmallInteger: pa.int64(),
        Float: pa.float64(),
        LargeBinary: pa.binary(),
        Text: pa.string(),
    }
    return kinds[type(column.type)]
