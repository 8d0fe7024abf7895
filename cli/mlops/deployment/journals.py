"""Where the journals of this project's deployments are.

A password goes from the settings to the server through its environment, never through a file: what
is written into `.mlops/run` names the variable.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mlops.journal.url import has_password, journal_url
from mlops.settings.needs import DeploymentSettings
from mlops.settings.secrets import is_reference
from mlops.spec.server import ServerState

if TYPE_CHECKING:
    from mlops.journal.sql import SqlJournal

_FILE = "sqlite:///"
_VARIABLE = "MLOPS_JOURNAL_URL"
_IN_ENVIRONMENT = f"env:{_VARIABLE}"


def journal_reference(settings: DeploymentSettings, name: str) -> str:
    """Return what says where a deployment's journal is, and may be written into a file."""
    url = settings.journal.url
    if not url:
        return f"sqlite:///{settings.home / 'journal' / f'{name}.db'}"
    if is_reference(url):
        kind, _, where = url.partition(":")
        return url if kind == "env" else f"file:{Path(settings.project_dir, where)}"
    return _IN_ENVIRONMENT if has_password(url) else url


def journal_environment(settings: DeploymentSettings, name: str) -> Mapping[str, str]:
    """Return the variables that a server needs beside the reference."""
    if journal_reference(settings, name) != _IN_ENVIRONMENT or is_reference(settings.journal.url):
        return {}
    return {_VARIABLE: settings.journal.url}


def open_journal(settings: DeploymentSettings, name: str, state: ServerState | None) -> SqlJournal:
    """Open a deployment's journal for reading: the one its server writes, or last wrote.

    Raises:
        InvalidInputError: Nothing says where it is.
        RemoteError: It cannot be reached.
    """
    from mlops.journal.sql import SqlJournal
    from mlops.registry.archives import fetch_from

    return SqlJournal(
        journal_url(_reference(settings, name, state), name), fetch=fetch_from(settings)
    )


def has_journal(settings: DeploymentSettings, name: str, state: ServerState | None) -> bool:
    """Whether there may be something to read; a file that is gone must not be created."""
    reference = _reference(settings, name, state)
    if not reference.startswith(_FILE):
        return state is not None or bool(settings.journal.url)
    path = Path(reference.removeprefix(_FILE).partition("?")[0])
    return path.is_file() and path.stat().st_size > 0


def _reference(settings: DeploymentSettings, name: str, state: ServerState | None) -> str:
    reference = state.launch.journal_url if state else journal_reference(settings, name)
    if reference == _IN_ENVIRONMENT:
        return settings.journal.url or reference
    return reference
