"""The tags of a deployment's live revision, quickly: an MLflow server is asked without MLflow."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from mlops.errors import InvalidInputError
from mlops.registry.client import LEDGER_PREFIX, open_registry
from mlops.registry.faults import mlflow_errors
from mlops.registry.refs import look_up_model
from mlops.registry.tracking_probe import ask, is_server

if TYPE_CHECKING:
    from mlops.settings.needs import StoreSettings

_LIVE = "live"
_API = "/api/2.0/mlflow"


def live_tags(settings: StoreSettings, name: str) -> tuple[int, Mapping[str, str]]:
    """Return the number of the live revision, 0 for none, and its tags.

    Args:
        settings: Where MLflow is.
        name: Deployment.

    Raises:
        MlopsError: MLflow does not answer, or refuses the request.
    """
    model = f"{LEDGER_PREFIX}{name}"
    if is_server(settings) and not os.environ.get("MLFLOW_REGISTRY_URI"):
        return _ask_server(settings, model)
    client = open_registry(settings, reading=True)
    with mlflow_errors(settings):
        found = look_up_model(client, model)
        number = int(found.aliases.get(_LIVE, 0)) if found else 0
        tags = client.get_model_version(model, str(number)).tags if number else {}
    return number, tags


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
