"""Inserting many decisions at once: the one statement that has to be fast.

SQLAlchemy spends as long on the parameters of a row as SQLite on the row, so these rows go to the
driver as they are: to SQLite as tuples, to PostgreSQL as one array for each column.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Collection
from itertools import chain
from typing import Any

from sqlalchemy import Connection, Engine, select
from sqlalchemy.dialects import postgresql, sqlite

from mlops.journal.rows import DECISION_COLUMNS, DecisionRow
from mlops.journal.schema import decisions, feature_columns

# As in `joining`: older builds of SQLite take 999 variables.
_KEYS_PER_QUERY = 900
# Python's driver lets other threads run, and waits for its own next turn, at each statement: with
# one for each row, a writer and a busy event loop spend more time on taking turns than on rows.
_ROWS_PER_STATEMENT = _KEYS_PER_QUERY // len(DECISION_COLUMNS)


def insert_decisions(connection: Connection, rows: list[DecisionRow]) -> None:
    """Insert rows of `DECISION_COLUMNS`; existing rows stay as they are."""
    if connection.dialect.name == "sqlite":
        _insert_into_sqlite(connection, rows)
        return
    # In one order everywhere: two writers that wait for each other's rows would deadlock.
    columns = tuple(list(column) for column in zip(*sorted(rows), strict=True))
    arrays = ", ".join(f"%s::{kind}[]" for kind in DECISION_COLUMNS.values())
    names = ", ".join(DECISION_COLUMNS)
    statement = (
        f"INSERT INTO {table_name(connection, decisions.name)} ({names}) "  # noqa: S608 - constants
        f"SELECT * FROM unnest({arrays}) ON CONFLICT DO NOTHING"
    )
    connection.exec_driver_sql(statement, columns)


def insert_partitioned(connection: Connection, rows: list[DecisionRow]) -> int:
    """Insert rows as `insert_decisions` does, where a table of its own keeps nonces unique.

    Returns:
        The largest offset that was given; 0 for none.
    """
    # Twice in one batch, it would be new twice.
    first = {row[0]: row for row in sorted(rows, reverse=True)}
    columns = tuple(list(column) for column in zip(*sorted(first.values()), strict=True))
    kinds = ", ".join(f"%s::{kind}[]" for kind in DECISION_COLUMNS.values())
    names = ", ".join(DECISION_COLUMNS)
    table, keys = (table_name(connection, name) for name in ("decisions", "decision_keys"))
    statement = (
        f"WITH given AS (SELECT * FROM unnest({kinds}) AS given ({names})), "  # noqa: S608 - constants
        f"fresh AS (INSERT INTO {keys} (nonce, seq) "
        "SELECT nonce, nextval(pg_get_serial_sequence(%s, 'seq')) FROM given "
        "ON CONFLICT DO NOTHING RETURNING nonce, seq), "
        f"done AS (INSERT INTO {table} (seq, {names}) "
        f"SELECT fresh.seq, {', '.join(f'given.{name}' for name in DECISION_COLUMNS)} "
        "FROM given JOIN fresh ON fresh.nonce = given.nonce RETURNING seq) "
        "SELECT coalesce(max(seq), 0) FROM done"
    )
    given = connection.exec_driver_sql(statement, (*columns, table))
    return int(given.scalar_one())


def _insert_into_sqlite(connection: Connection, rows: list[DecisionRow]) -> None:
    together: dict[int, list[tuple[Any, ...]]] = {}
    for start in range(0, len(rows), _ROWS_PER_STATEMENT):
        some = rows[start : start + _ROWS_PER_STATEMENT]
        together.setdefault(len(some), []).append(tuple(chain.from_iterable(some)))
    for count, values in together.items():
        connection.exec_driver_sql(_sqlite_insert(count), values)


@functools.cache
def _sqlite_insert(count: int) -> str:
    names = ", ".join(DECISION_COLUMNS)
    row = f"({', '.join('?' for _ in DECISION_COLUMNS)})"
    rows = ", ".join([row] * count)
    return f"INSERT INTO decisions ({names}) VALUES {rows} ON CONFLICT DO NOTHING"  # noqa: S608 - constants


def table_name(connection: Connection, table: str) -> str:
    """Return a table's name for SQL that SQLAlchemy does not see, with its schema."""
    translated = connection.get_execution_options().get("schema_translate_map") or {}
    schema = translated.get(None)
    return f'"{schema}".{table}' if schema else table


class ColumnIds:
    """Keys of lists of column names; a list that is new is stored first, in its own transaction.

    Used by one thread.

    Args:
        engine: Of the journal.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._dialect = sqlite if engine.dialect.name == "sqlite" else postgresql
        self._known: dict[bytes, int] = {}

    def of(self, names: Collection[bytes]) -> dict[bytes, int]:
        """Return the key of each list, which is JSON."""
        new = [each for each in names if each not in self._known]
        if new:
            if len(self._known) > 10 * _KEYS_PER_QUERY:
                # Callers choose the names of columns, and may choose new ones each time.
                self._known.clear()
                new = list(names)
            for start in range(0, len(new), _KEYS_PER_QUERY):
                self._store(new[start : start + _KEYS_PER_QUERY])
        return self._known

    def _store(self, names: list[bytes]) -> None:
        digests = {hashlib.blake2b(each, digest_size=16).digest(): each for each in names}
        table = feature_columns
        rows = [{"digest": key, "names": each.decode()} for key, each in sorted(digests.items())]
        found = select(table.c.id, table.c.digest).where(table.c.digest.in_(list(digests)))
        with self._engine.begin() as connection:
            connection.execute(self._dialect.insert(table).on_conflict_do_nothing(), rows)
            keys = {digests[bytes(digest)]: number for number, digest in connection.execute(found)}
        self._known.update(keys)
