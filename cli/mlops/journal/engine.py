"""Opening a journal's database with the durability the journal promises."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    Table,
    create_engine,
    event,
    insert,
    inspect,
    select,
    text,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.schema import CreateSchema

from mlops.errors import InvalidInputError, MlopsError, RemoteError
from mlops.journal import schema
from mlops.journal.migration import migrate
from mlops.journal.partitions import create_partitioned
from mlops.settings.secrets import without_credentials

_EXAMPLES = "Write `sqlite:////folder/file.db` or `postgresql+psycopg://user@host/db`."
# libpq's own names, https://www.postgresql.org/docs/current/libpq-connect.html. A server that
# vanished silently would otherwise be waited for until the kernel times out, after minutes.
_PATIENCE = {
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
    "application_name": "mlops",
}
# Two processes that open a new journal at once must not both create its tables.
_CREATING = 0x6D6C6F7073  # "mlops"


def open_engine(url: str) -> Engine:
    """Open the database behind `url`, creating the tables if they are not there.

    Raises:
        InvalidInputError: The URL is not a database URL, its driver is not installed, or the tables
            are of another version.
        RemoteError: The database cannot be reached.
    """
    parsed = _for_reading(_parse(url))
    engine = _engine(parsed)
    try:
        if engine.dialect.name == "sqlite" and parsed.database and "mode" not in parsed.query:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        _create_tables(engine)
    except (DBAPIError, OSError) as error:
        engine.dispose()
        reason = first_line(error) if isinstance(error, DBAPIError) else error.strerror
        raise RemoteError(
            f"The journal at `{_shown(parsed)}` cannot be opened: {reason}."
        ) from error
    except MlopsError:
        engine.dispose()
        raise
    return engine


def has_events(url: str) -> bool:
    """Whether a deployment has written that it serves, into the journal behind `url`.

    Creates nothing.

    Raises:
        InvalidInputError: The URL is not a database URL, or its driver is not installed.
        RemoteError: The database cannot be reached.
    """
    with reading(url) as connection:
        query = select(schema.revisions.c.seq).limit(1)
        return has(connection, schema.revisions) and connection.execute(query).first() is not None


@contextlib.contextmanager
def reading(url: str) -> Iterator[Connection]:
    """Connect to the journal behind `url`, whether its tables are there or not; create nothing.

    Raises:
        InvalidInputError: The URL is not a database URL, or its driver is not installed.
        RemoteError: The database cannot be reached.
    """
    parsed = _for_reading(_parse(url))
    engine = _engine(parsed)
    try:
        with engine.connect() as connection:
            yield connection
    except DBAPIError as error:
        raise RemoteError(
            f"The journal at `{_shown(parsed)}` cannot be opened: {first_line(error)}."
        ) from error
    finally:
        engine.dispose()


def has(connection: Connection, table: Table) -> bool:
    """Whether a table of the journal is there."""
    translated = connection.get_execution_options().get("schema_translate_map") or {}
    return bool(inspect(connection).has_table(table.name, schema=translated.get(None)))


def first_line(error: DBAPIError) -> str:
    """Return a database's message, in one line, without advice and credentials."""
    lines = str(error.orig).strip().splitlines()
    return without_credentials(lines[0].rstrip(".")) if lines else type(error.orig).__name__


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise InvalidInputError("The journal's URL cannot be read.", hint=_EXAMPLES) from error
    if parsed.drivername in ("postgres", "postgresql"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername.partition("+")[0] not in ("sqlite", "postgresql"):
        raise InvalidInputError(
            f"A journal cannot be kept in `{parsed.drivername}`.", hint=_EXAMPLES
        )
    return parsed


def _for_reading(parsed: URL) -> URL:
    """Return what opens a file on a disk that cannot be written; any other URL as it is."""
    file = Path(parsed.database or "")
    if parsed.get_backend_name() != "sqlite" or parsed.query or not file.is_file():
        return parsed
    if not os.statvfs(file).f_flag & os.ST_RDONLY:
        return parsed
    # Without a log SQLite would make one, which the disk refuses (https://sqlite.org/wal.html#readonly).
    query = {"mode": "ro", "uri": "true"}
    if not file.with_name(f"{file.name}-wal").exists():
        query["immutable"] = "1"
    return parsed.set(database=f"file:{quote(str(file))}", query=query)


def _engine(parsed: URL) -> Engine:
    options: dict[str, Any] = {}
    if parsed.get_backend_name() == "postgresql":
        wanted = parsed.query.get("schema", "")
        if wanted:
            # Not the search path, which a pooler in between does not keep.
            options["execution_options"] = {"schema_translate_map": {None: str(wanted)}}
        parsed = parsed.difference_update_query(["schema"])
        parsed = parsed.update_query_dict({**_PATIENCE, **parsed.query})
        # A connection that a restart has closed is detected before it is used.
        options["pool_pre_ping"] = True
    try:
        engine = create_engine(parsed, **options)
    except ModuleNotFoundError as error:
        raise InvalidInputError(
            f"A journal in PostgreSQL needs the package `{error.name}`, which is not installed.",
            hint="pip install 'mlops-loop[postgres]'",
        ) from error
    except (ArgumentError, NoSuchModuleError) as error:
        raise InvalidInputError(
            f"The journal's URL cannot be used: {error}.", hint=_EXAMPLES
        ) from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _sqlite_pragmas)
    return engine


def _shown(parsed: URL) -> str:
    """Return a URL for display, without its password."""
    return re.sub(r"(password=)[^&]*", r"\1***", parsed.render_as_string(hide_password=True))


def _sqlite_pragmas(connection: Any, _record: Any) -> None:  # noqa: ANN401 - DBAPI objects
    cursor = connection.cursor()
    # It stays in the file. Setting it again is refused on a read-only disk.
    if cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        cursor.execute("PRAGMA journal_mode=WAL")
    # In WAL mode only FULL syncs the log at each commit; NORMAL may lose the last commits in a
    # power cut (https://sqlite.org/pragma.html#pragma_synchronous).
    cursor.execute("PRAGMA synchronous=FULL")
    # On macOS a plain fsync stops at the drive's cache; elsewhere this changes nothing
    # (https://sqlite.org/pragma.html#pragma_fullfsync).
    cursor.execute("PRAGMA fullfsync=ON")
    cursor.execute("PRAGMA busy_timeout=5000")
    cursor.execute("PRAGMA cache_size=-65536")
    cursor.close()


def _create_tables(engine: Engine) -> None:
    with engine.connect() as connection:
        if _is_current(connection):
            return
    with engine.begin() as connection:
        translated = connection.get_execution_options().get("schema_translate_map") or {}
        # Two that find nothing there must not both create it. Python's driver for SQLite begins a
        # transaction before an INSERT only, and a crash would leave half of it done.
        if engine.dialect.name == "postgresql":
            creating_lock(connection)
        else:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        # Checked first: a user may have rights to use it but not to create one.
        if translated and not inspect(connection).has_schema(translated[None]):
            connection.execute(CreateSchema(translated[None], if_not_exists=True))
        if engine.dialect.name == "postgresql":
            create_partitioned(connection)
        schema.metadata.create_all(connection, tables=_tables(engine))
        found = connection.execute(select(schema.meta.c.version)).scalar_one_or_none()
        if found is None:
            connection.execute(insert(schema.meta).values(version=schema.VERSION))
        elif found != schema.VERSION and not migrate(connection):
            raise InvalidInputError(
                f"The journal has tables of version {found}; this mlops reads {schema.VERSION}.",
                hint="pip install --upgrade mlops-loop",
            )


def creating_lock(connection: Connection) -> None:
    """Be the only one that creates tables in PostgreSQL, until the end of the transaction."""
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _CREATING})


def _tables(engine: Engine) -> list[Table]:
    return [
        table
        for table in schema.metadata.sorted_tables
        if table.info.get("only", engine.dialect.name) == engine.dialect.name
    ]


def _is_current(connection: Connection) -> bool:
    """Whether the tables are there, in today's form."""
    if not has(connection, schema.meta):
        return False
    found = connection.execute(select(schema.meta.c.version)).scalar_one_or_none()
    return found == schema.VERSION
