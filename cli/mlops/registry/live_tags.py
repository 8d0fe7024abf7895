"""The tags of a deployment's live revision, quickly: without importing MLflow."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from mlops.errors import InvalidInputError, RemoteError
from mlops.registry.client import LEDGER_PREFIX
from mlops.registry.tracking_probe import ask, is_server

if TYPE_CHECKING:
    from mlops.settings.needs import StoreSettings

_LIVE = "live"
_API = "/api/2.0/mlflow"
_SQLITE = "sqlite:///"
_LOCKED_S = 1.0


def live_tags(settings: StoreSettings, name: str) -> tuple[int, Mapping[str, str]]:
    """Return the number of the live revision, 0 for none, and its tags.

    There are none where only MLflow itself could tell, as of a database server.

    Args:
        settings: Where MLflow is.
        name: Deployment.

    Raises:
        MlopsError: MLflow does not answer, or refuses the request.
    """
    model = f"{LEDGER_PREFIX}{name}"
    if is_server(settings) and not os.environ.get("MLFLOW_REGISTRY_URI"):
        return _ask_server(settings, model)
    uri = os.environ.get("MLFLOW_REGISTRY_URI") or settings.tracking_uri
    if uri.startswith(_SQLITE):
        return _read_sqlite(Path(uri.removeprefix(_SQLITE).partition("?")[0]), model)
    return 0, {}


def _read_sqlite(file: Path, model: str) -> tuple[int, Mapping[str, str]]:
    """Read MLflow's own tables."""
    try:
        opened = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", _LOCKED_S, uri=True)
        with closing(opened) as database:
            query = "SELECT version FROM registered_model_aliases WHERE name = ? AND alias = ?"
            row = database.execute(query, (model, _LIVE)).fetchone()
            if row is None:
                return 0, {}
            query = "SELECT key, value FROM model_version_tags WHERE name = ? AND version = ?"
            tags = database.execute(query, (model, row[0])).fetchall()
    except sqlite3.Error as error:
        raise RemoteError(f"`{file}` cannot be read: {error}") from error
    return int(row[0]), {key: value or "" for key, value in tags}


def _ask_server(settings: StoreSettings, model: str) -> tuple[int, Mapping[str, str]]:
    found = _get(settings, "registered-models/get", name=model).get("registered_model", {})
    aliases = {each["alias"]: int(each["version"]) for each in found.get("aliases", ())}
    number = aliases.get(_LIVE, 0)
    if not number:
        return 0, {}
    version = _get(settings, "model-versions/get", name=model, version=str(number))
    tags = version.get("model_version", {}).get("tags", ())
    return number, {each["key"]: each.get("value", "") for each in tags}


def _get(settings: StoreSettings, path: str, **query: str) -> dict[str, Any]:
    answer = ask(settings, f"{_API}/{path}?{urlencode(query)}", timeout_s=2.0)
    try:
        found: dict[str, Any] = json.loads(answer)
    except ValueError as error:
        raise InvalidInputError(f"`{settings.tracking_uri}` is not an MLflow server.") from error
    return found
