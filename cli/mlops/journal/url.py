"""Which database a deployment's journal is in."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from mlops.settings.secrets import look_up

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

# PostgreSQL truncates longer names silently.
_MAX_NAME = 63


def journal_url(reference: str, deployment: str) -> str:
    """Return the URL to open, with its password.

    In PostgreSQL each deployment has a schema of its own, `mlops_` and its name, unless the URL
    names one as `?schema=NAME`: revision 3 of one deployment is not revision 3 of another.

    Args:
        reference: A URL, `env:VARIABLE` or `file:PATH`.
        deployment: Name of the deployment.

    Raises:
        InvalidInputError: The reference names nothing that exists.
    """
    url = look_up(reference)
    parsed = _parse(url)
    if parsed is None:
        # Reported in full where it is opened.
        return url
    if not parsed.drivername.startswith("postgres") or "schema" in parsed.query:
        return url
    named = parsed.update_query_dict({"schema": _schema(deployment)})
    return named.render_as_string(hide_password=False)


def journal_folder(url: str) -> Path | None:
    """Return the folder of a journal's file; None where it has none on this machine.

    >>> journal_folder("sqlite:///a/b.db")
    PosixPath('a')
    >>> journal_folder("postgresql+psycopg://db.example/mlops")
    """
    file = journal_file(url)
    return None if file is None else file.parent


def journal_file(url: str) -> Path | None:
    """Return a journal's file; None where it has none on this machine.

    >>> journal_file("sqlite+pysqlite:///a/b.db?timeout=5")
    PosixPath('a/b.db')
    """
    parsed = _parse(url)
    if parsed is None or parsed.get_backend_name() != "sqlite" or not parsed.database:
        return None
    return Path(parsed.database)


def has_password(url: str) -> bool:
    """Whether a URL holds a password that must not be written anywhere."""
    parsed = _parse(url)
    if parsed is None:
        return "@" in url
    return bool(parsed.password) or "password" in parsed.query


def _parse(url: str) -> URL | None:
    # `status` and `stop` use this and cannot wait for it.
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(url)
    except (ArgumentError, ValueError):
        return None


def _schema(deployment: str) -> str:
    name = f"mlops_{deployment.replace('-', '_')}"
    if len(name) <= _MAX_NAME:
        return name
    return f"{name[: _MAX_NAME - 9]}_{hashlib.sha256(deployment.encode()).hexdigest()[:8]}"
