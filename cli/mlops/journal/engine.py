"""Opening a journal's database with the durability the journal promises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event, insert, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from mlops.errors import InvalidInputError, RemoteError
from mlops.journal import schema


def open_engine(url: str) -> Engine:
    """Open the database behind `url`, creating the tables if they are not there.

    Raises:
        InvalidInputError: The URL is no database URL, or the tables are of another version.
        RemoteError: The database cannot be reached.
    """
    try:
        parsed = make_url(url)
        engine = create_engine(parsed)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        raise InvalidInputError(
            f"The journal's URL cannot be used: {error}.",
            hint="Write `sqlite:////folder/file.db` or `postgresql+psycopg://user@host/db`.",
        ) from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _sqlite_pragmas)
    try:
        if engine.dialect.name == "sqlite" and parsed.database:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        _create_tables(engine)
    except (DBAPIError, OSError) as error:
        # `render_as_string` hides the password.
        where = parsed.render_as_string(hide_password=True)
        reason = error.orig if isinstance(error, DBAPIError) else error.strerror
        raise RemoteError(f"The journal at `{where}` cannot be opened: {reason}.") from error
    return engine


def _sqlite_pragmas(connection: Any, _record: Any) -> None:  # noqa: ANN401 - DBAPI objects
    cursor = connection.cursor()
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
    with engine.begin() as connection:
        schema.metadata.create_all(connection)
        found = connection.execute(select(schema.meta.c.version)).scalar_one_or_none()
        if found is None:
            connection.execute(insert(schema.meta).values(version=schema.VERSION))
        elif found != schema.VERSION:
            raise InvalidInputError(
                f"The journal has tables of version {found}; this mlops reads {schema.VERSION}.",
                hint="pip install --upgrade mlops-loop",
            )
