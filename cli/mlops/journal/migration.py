"""Migrating the tables of an older release to the current version.

Version 2 lets a row have several outcomes: `ordinal` and `outcome_id` joined the table `outcomes`,
and `ordinal` its unique key. SQLite cannot change a key, so the table is copied there. Version 3
added the table `voids`, which is created like any table that is not there. Version 4 added `epoch`
and `columns_id` to `decisions`; features that are there stay in their old form, since to write a
large journal again would keep its server from starting for minutes. Version 5 added `key_id` to
`decisions` and `outcomes`, version 6 the tables `consumer_state` and `alarms`, and version 7 those
of archived parts, which an older release would not look for. Version 8 deletes the rows of such a
part after it counts as archived, and notes how far that is.
"""

from __future__ import annotations

from sqlalchemy import Connection, inspect, select, text, update

from mlops.journal import schema
from mlops.journal.inserting import table_name

_KEPT = 'seq, nonce, "row", time_ms, revision, arm, propensity, reward, truth, truth_json'


def migrate(connection: Connection) -> bool:
    """Bring the tables up to date, in the caller's transaction.

    Returns:
        Whether they are up to date; False if their version is not known.
    """
    version = connection.execute(select(schema.meta.c.version)).scalar_one()
    if version == schema.VERSION:
        return True
    if version not in range(1, schema.VERSION):
        return False
    copied = version == 1 and connection.dialect.name == "sqlite"
    if copied:
        _copy_outcomes(connection)
    elif version == 1:
        _alter_outcomes(connection)
    if version < 4:
        _add(connection, "decisions", "epoch INTEGER NOT NULL DEFAULT 0", "columns_id INTEGER")
    if version < 5:
        _add(connection, "decisions", "key_id TEXT")
    if version < 5 and not copied:
        _add(connection, "outcomes", "key_id TEXT")
    if version == 7:
        small = "INTEGER NOT NULL DEFAULT"
        _add(connection, "archives", f"outcomes_left {small} 0", f"step {small} 0")
        _add(connection, "archives", "cleared SMALLINT NOT NULL DEFAULT 1")
    _add(connection, "journal_meta", "forgotten BIGINT NOT NULL DEFAULT 0")
    connection.execute(update(schema.meta).values(version=schema.VERSION))
    return True


def _add(connection: Connection, table: str, *columns: str) -> None:
    for column in columns:
        connection.exec_driver_sql(
            f"ALTER TABLE {table_name(connection, table)} ADD COLUMN {column}"
        )


def _copy_outcomes(connection: Connection) -> None:
    connection.execute(text("ALTER TABLE outcomes RENAME TO outcomes_1"))
    schema.outcomes.create(connection)
    connection.execute(text(f"INSERT INTO outcomes ({_KEPT}) SELECT {_KEPT} FROM outcomes_1"))  # noqa: S608 - constants
    connection.execute(text("DROP TABLE outcomes_1"))


def _alter_outcomes(connection: Connection) -> None:
    found = inspect(connection)
    translated = connection.get_execution_options().get("schema_translate_map") or {}
    name = translated.get(None)
    table = table_name(connection, "outcomes")
    for key in found.get_unique_constraints("outcomes", schema=name):
        connection.execute(text(f'ALTER TABLE {table} DROP CONSTRAINT "{key["name"]}"'))
    connection.execute(text(f"ALTER TABLE {table} ADD COLUMN ordinal INTEGER NOT NULL DEFAULT 0"))
    connection.execute(text(f"ALTER TABLE {table} ADD COLUMN outcome_id TEXT"))
    connection.execute(text(f'ALTER TABLE {table} ADD UNIQUE (nonce, "row", ordinal)'))
