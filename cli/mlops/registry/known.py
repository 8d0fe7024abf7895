"""What is registered, by name only, without importing MLflow: for completion in a shell.

A SQLite store is read directly, a server is asked and given a second. What cannot be read in that
time is left out: completion must not print errors.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from mlops.errors import MlopsError
from mlops.registry.client import LEDGER_PREFIX
from mlops.registry.tracking_probe import ask, is_server

if TYPE_CHECKING:
    from mlops.settings.needs import StoreSettings

_TIMEOUT_S = 1.0
_MOST = 500


def known_models(settings: StoreSettings) -> list[str]:
    """Return the names of registered models."""
    return sorted({name for name, _, _ in _versions(settings)})


def known_refs(settings: StoreSettings) -> list[str]:
    """Return REFs of everything registered: models, versions, aliases."""
    versions = _versions(settings)
    names = sorted({name for name, _, _ in versions})
    aliases = sorted((name, alias) for name, _, given in versions for alias in given)
    return [
        *names,
        *(alias for name, alias in aliases if name == settings.project_name),
        *(f"{name}@{alias}" for name, alias in aliases),
        *(f"{name}/{number}" for name, number, _ in versions),
    ]


def _versions(settings: StoreSettings) -> list[tuple[str, int, tuple[str, ...]]]:
    """Return name, number and aliases of every version that can be read, the newest first."""
    try:
        found = list(_from_server(settings) if is_server(settings) else _from_file(settings))
    except (MlopsError, OSError, ValueError, sqlite3.Error):
        return []
    return [each for each in found if not each[0].startswith(LEDGER_PREFIX)]


def _from_file(settings: StoreSettings) -> Iterable[tuple[str, int, tuple[str, ...]]]:
    uri = settings.tracking_uri
    path = Path(uri.removeprefix("sqlite:///").partition("?")[0])
    if not uri.startswith("sqlite:///") or not path.is_file():
        return
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=_TIMEOUT_S)) as store:
        aliases: dict[tuple[str, int], list[str]] = {}
        for name, number, alias in store.execute(
            "SELECT name, version, alias FROM registered_model_aliases ORDER BY alias"
        ):
            aliases.setdefault((name, int(number)), []).append(alias)
        for name, number in store.execute(
            "SELECT name, version FROM model_versions ORDER BY creation_time DESC LIMIT ?", (_MOST,)
        ):
            yield name, int(number), tuple(aliases.get((name, int(number)), ()))


def _from_server(settings: StoreSettings) -> Iterable[tuple[str, int, tuple[str, ...]]]:
    path = "/api/2.0/mlflow/{}/search?max_results=200"
    models = json.loads(ask(settings, path.format("registered-models"), _TIMEOUT_S))
    aliases: dict[tuple[str, int], list[str]] = {}
    for model in models.get("registered_models", []):
        for each in model.get("aliases", []):
            aliases.setdefault((model["name"], int(each["version"])), []).append(each["alias"])
    versions = json.loads(ask(settings, path.format("model-versions"), _TIMEOUT_S))
    for version in versions.get("model_versions", []):
        name, number = version["name"], int(version["version"])
        yield name, number, tuple(aliases.get((name, number), ()))
