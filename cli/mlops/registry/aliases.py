"""Aliases: the names that move from version to version."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlops.errors import InvalidInputError, UsageError
from mlops.registry.client import open_registry
from mlops.registry.faults import mlflow_errors
from mlops.registry.refs import look_up_model, no_such_alias, resolve
from mlops.spec.refs import parse_ref

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from mlops.settings.needs import StoreSettings

_ALIAS = re.compile(r"[A-Za-z0-9_-]{1,255}")


@dataclass(frozen=True, slots=True)
class AliasChange:
    """The result of a change of an alias.

    Attributes:
        model: The registered model.
        alias: The alias.
        version: The version it names now, 0 if it was deleted.
        before: The version it named before, 0 if it is new.
    """

    model: str
    alias: str
    version: int
    before: int


def check_alias(alias: str) -> None:
    """Refuse an alias that MLflow would refuse, before an hour of training and not after it.

    Raises:
        InvalidInputError: It has other characters, or is reserved.
    """
    if not _ALIAS.fullmatch(alias) or re.fullmatch(r"[vV]\d+|latest", alias):
        raise InvalidInputError(
            f"`{alias}` cannot be an alias.",
            hint="Use letters, digits, `_` and `-`; `latest` and `v1`, `v2`, … are reserved.",
        )


def move_alias(client: MlflowClient, name: str, version: int, alias: str) -> AliasChange:
    """Let an alias name this version, whatever it named before. May be repeated.

    Raises:
        MlflowException: There is no such model or version, or MLflow cannot be reached.
    """
    model = look_up_model(client, name)
    before = int(model.aliases.get(alias, 0)) if model is not None else 0
    if before != version:
        client.set_registered_model_alias(name, alias, str(version))
    return AliasChange(name, alias, version, before)


def change_alias(settings: StoreSettings, ref: str, alias: str, *, delete: bool) -> AliasChange:
    """Set an alias to the version that a REF names, or take it off that REF's model.

    Raises:
        InvalidInputError: The alias is malformed.
        UsageError: The REF names no registered model.
        NotFoundError: There is no such version; or, to be deleted, no such alias.
    """
    check_alias(alias)
    client = open_registry(settings, reading=True)
    version = resolve(client, settings, parse_ref(ref))
    if not version.name:
        raise UsageError(
            f"`{ref}` is not a registered model, so it cannot have an alias.",
            hint="`mlops models list` shows what is registered.",
        )
    with mlflow_errors(settings):
        if not delete:
            return move_alias(client, version.name, version.version, alias)
        return _drop(client, version.name, alias)


def _drop(client: MlflowClient, name: str, alias: str) -> AliasChange:
    model = look_up_model(client, name)
    if model is None or alias not in model.aliases:
        raise no_such_alias(name, alias, model.aliases if model is not None else {})
    client.delete_registered_model_alias(name, alias)
    return AliasChange(name, alias, 0, int(model.aliases[alias]))
