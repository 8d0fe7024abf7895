"""Bringing the tables of an older release to today's form.

Version 2 lets a row have several outcomes: `ordinal` and `outcome_id` joined the table `outcomes`,
and `ordinal` its unique key. SQLite cannot change a key, so the table is copied there. Version 3
added the table `voids`, which is created like any table that is not there. Version 4 added `epoch`
and `columns_id` to `decisions`; features that are there stay in their old form, since to write a
large journal again would keep its server from starting for minutes.
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
    if version not in (1, 2, 3):
        return False
    if version == 1:
        if connection.dialect.name == "sqlite":
            _copy_outcomes(connection)
        else:
            _alter_outcomes(connection)
    _add_columns(connection)
    connection.execute(update(schema.meta).values(version=schema.VERSION))
    return True


def _add_columns(connection: Connection) -> None:
    table = table_name(connection, "decisions")
    connection.exec_driver_sql(f"ALTER TABLE {table} ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0")
    connection.exec_driver_sql(f"ALTER TABLE {table} ADD COLUMN columns_id INTEGER")


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
