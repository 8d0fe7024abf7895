"""Forgetting the features of old requests; every statistic of the report stays.

Features are nearly all of a journal's size, and of its personal data. They serve
`mlops report --paired` and drift only; decisions, outcomes and predictions are kept.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from sqlalchemy import ColumnElement, Connection, Engine, and_, func, select, text, update

from mlops.journal.schema import decisions, meta, metadata

# Small, so that a server that writes at the same time waits for moments only.
_ROWS_AT_ONCE = 5_000
# Older builds of SQLite take 999 variables.
_KEYS_AT_ONCE = 500


def count_features(connection: Connection, before_ms: int) -> int:
    """Count the decisions from before a time that still have features."""
    found = connection.execute(select(func.count()).where(_old(before_ms)))
    count: int = found.scalar_one()
    return count


def forget_features(engine: Engine, before_ms: int) -> Iterator[int]:
    """Clear the features of decisions from before a time, in batches; yield the size of each."""
    d = decisions.c
    with engine.connect() as connection:
        span = select(func.min(d.seq), func.max(d.seq)).where(_old(before_ms))
        first, last = connection.execute(span).one()
    for start in range(first or 0, (last or -1) + 1, _ROWS_AT_ONCE):
        these = d.seq.between(start, start + _ROWS_AT_ONCE - 1)
        with engine.begin() as connection:
            _count_forgetting(connection)
            done = connection.execute(
                update(decisions).where(these, _old(before_ms)).values(features=None)
            )
        yield done.rowcount


def forget_units(engine: Engine, units: Collection[bytes]) -> Iterator[int]:
    """Clear the features of sticky units, in batches; yield how many each time.

    SQLite overwrites what it frees, so that the file does not have it any more.
    """
    d = decisions.c
    chosen = and_(d.unit.in_(list(units)), d.features.is_not(None))
    with engine.connect() as connection:
        seqs = list(connection.execute(select(d.seq).where(chosen).order_by(d.seq)).scalars())
    for start in range(0, len(seqs), _KEYS_AT_ONCE):
        some = seqs[start : start + _KEYS_AT_ONCE]
        with engine.connect() as connection:
            if engine.dialect.name == "sqlite":
                connection.exec_driver_sql("PRAGMA secure_delete = ON")
                connection.rollback()
            with connection.begin():
                _count_forgetting(connection)
                done = connection.execute(
                    update(decisions).where(d.seq.in_(some), chosen).values(features=None)
                )
            if engine.dialect.name == "sqlite":
                connection.exec_driver_sql("PRAGMA secure_delete = OFF")
                connection.rollback()
        yield done.rowcount


def known_units(connection: Connection, units: Collection[bytes]) -> set[bytes]:
    """Return which of some sticky units have requests that are not archived."""
    d = decisions.c
    found = connection.execute(select(d.unit).where(d.unit.in_(list(units))).distinct())
    return {bytes(unit) for unit in found.scalars()}


def _count_forgetting(connection: Connection) -> None:
    """Tell who is archiving that what it has read may hold what is forgotten now."""
    connection.execute(update(meta).values(forgotten=meta.c.forgotten + 1))


def drain_log(engine: Engine) -> bool:
    """Empty SQLite's write-ahead log, which has pages as they were; return whether it is empty."""
    if engine.dialect.name != "sqlite":
        return True
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        busy, _, _ = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
    return not busy


def size_bytes(connection: Connection) -> int:
    """Return what the database, or this journal's tables, take on disk.

    Of SQLite what is free for new rows does not count.
    """
    if connection.dialect.name == "sqlite":
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        pages -= connection.exec_driver_sql("PRAGMA freelist_count").scalar_one()
        size = connection.exec_driver_sql("PRAGMA page_size").scalar_one()
        return int(pages * size)
    translated = connection.get_execution_options().get("schema_translate_map") or {}
    schema = translated.get(None)
    total = 0
    for table in metadata.tables.values():
        name = f'"{schema}"."{table.name}"' if schema else f'"{table.name}"'
        query = text(
            "SELECT pg_total_relation_size(to_regclass(:name)) + (SELECT"
            " coalesce(sum(pg_total_relation_size(relid)), 0)"
            " FROM pg_partition_tree(to_regclass(:name)) WHERE isleaf AND level > 0)"
        )
        total += int(connection.execute(query, {"name": name}).scalar_one() or 0)
    return total


def give_back(engine: Engine) -> None:
    """Give the space of what was forgotten back to the disk; needs that no process writes."""
    if engine.dialect.name == "sqlite":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM")
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")


def _old(before_ms: int) -> ColumnElement[bool]:
    return and_(decisions.c.time_ms < before_ms, decisions.c.features.is_not(None))
