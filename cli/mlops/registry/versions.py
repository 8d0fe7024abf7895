"""Creating a registered model version."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from mlops.errors import InvalidInputError
from mlops.registry.client import LEDGER_PREFIX
from mlops.spec.model import ModelVersion

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from mlops.registry.logged_models import Logged


def check_model_name(name: str) -> None:
    """Refuse a name that cannot be a registered model of a user.

    Raises:
        InvalidInputError: A REF could not name it, or it is one of the ledger's.
    """
    if not name.strip() or re.search(r"[/:@]", name) or name.startswith(LEDGER_PREFIX):
        raise InvalidInputError(
            f"`{name}` cannot be the name of a registered model.",
            hint=f"Leave out `/`, `:` and `@`; names starting with `{LEDGER_PREFIX}` are reserved.",
        )


def register(client: MlflowClient, model: Logged, name: str, project: str) -> ModelVersion:
    """Make a version of the registered model `name`, which is created if need be.

    Args:
        client: Where to register.
        model: What a run logged.
        name: The registered model.
        project: Where the code came from, kept as a tag.
    """
    _ensure_registered(client, name)
    made = client.create_model_version(
        name,
        f"models:/{model.model_id}" if model.model_id else model.source,
        run_id=model.run_id,
        tags={"mlops.project": project},
        model_id=model.model_id or None,
    )
    number = int(made.version)
    if model.model_id:
        _link_back(client, model.model_id, name, number)
    return ModelVersion(
        ref=f"{name}/{number}",
        label=f"{name}/{number}",
        source=model.source,
        name=name,
        version=number,
        run_id=model.run_id,
    )


def _ensure_registered(client: MlflowClient, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS"):
            raise


def _link_back(client: MlflowClient, model_id: str, name: str, number: int) -> None:
    """Show in MLflow's UI which versions a logged model became, as `mlflow.register_model` does."""
    tag = "mlflow.modelVersions"
    before = json.loads(client.get_logged_model(model_id).tags.get(tag) or "[]")
    now = [*before, {"name": name, "version": number}]
    client.set_logged_model_tags(model_id, {tag: json.dumps(now)})
