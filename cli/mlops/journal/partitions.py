"""Decisions in PostgreSQL, partitioned by their offset.

Archiving then drops a partition, which takes milliseconds; deleting a million rows takes minutes,
and frees no space before the next vacuum.

PostgreSQL enforces uniqueness within a partition only. So nonces have a table of their own,
`decision_keys`, with the offset of each. A journal created by an older release keeps one table.

Partitions are created ahead of the log. Rows without a partition go into a default partition, and
archiving deletes them there.
"""

from __future__ import annotations

from sqlalchemy import Connection, Index, MetaData, UniqueConstraint, inspect, text

from mlops.journal.inserting import table_name
from mlops.journal.schema import decisions

#: Offsets of one partition. Must not change for an existing journal.
ROWS = 1_000_000


def create_partitioned(connection: Connection) -> None:
    """Create the table of decisions in PostgreSQL, if it is not there."""
    translated = connection.get_execution_options().get("schema_translate_map") or {}
    if inspect(connection).has_table(decisions.name, schema=translated.get(None)):
        return
    table = decisions.to_metadata(MetaData())
    table.constraints = {
        each for each in table.constraints if not isinstance(each, UniqueConstraint)
    }
    table.dialect_options["postgresql"]["partition_by"] = "RANGE (seq)"
    Index("decisions_nonce", table.c.nonce)
    table.create(connection)
    parent = table_name(connection, decisions.name)
    rest = table_name(connection, f"{decisions.name}_rest")
    connection.execute(text(f"CREATE TABLE {rest} PARTITION OF {parent} DEFAULT"))
    make_room(connection, 0)


def is_partitioned(connection: Connection) -> bool:
    """Whether decisions are partitioned."""
    if connection.dialect.name != "postgresql":
        return False
    kind = "SELECT relkind FROM pg_class WHERE oid = to_regclass(:name)"
    name = table_name(connection, decisions.name)
    # The driver gives PostgreSQL's "char" as bytes or text.
    return str(connection.execute(text(kind), {"name": name}).scalar_one_or_none()) in ("p", "b'p'")


def make_room(connection: Connection, last: int) -> int:
    """Create partitions for offsets after this one; return the last offset with a partition."""
    number = max(last, 1) // ROWS
    for each in (number, number + 1):
        _make(connection, each)
    return (number + 2) * ROWS


def _make(connection: Connection, number: int) -> None:
    name = _name(connection, number)
    found = connection.execute(text("SELECT to_regclass(:name)"), {"name": name}).scalar_one()
    if found is not None:
        return
    parent = table_name(connection, decisions.name)
    # Attached: creating it as a partition would lock the parent table exclusively.
    connection.execute(text(f"CREATE TABLE {name} (LIKE {parent} INCLUDING ALL)"))
    bounds = f"FROM ({number * ROWS + 1}) TO ({(number + 1) * ROWS + 1})"
    connection.execute(text(f"ALTER TABLE {parent} ATTACH PARTITION {name} FOR VALUES {bounds}"))


def drop_partitions(connection: Connection, after: int, upto: int) -> None:
    """Drop the partitions of offsets behind one, up to another, which ends a partition.

    Waits for readers for at most 0.1 s, since writers are blocked in the meantime.
    """
    connection.execute(text("SET LOCAL lock_timeout = '100ms'"))
    for number in range(after // ROWS, upto // ROWS):
        connection.execute(text(f"DROP TABLE IF EXISTS {_name(connection, number)}"))


def _name(connection: Connection, number: int) -> str:
    return table_name(connection, f"{decisions.name}_{number:06d}")
