"""From a REF to one pinned model version."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops.errors import NotFoundError, did_you_mean, one_of
from mlops.registry.client import LEDGER_PREFIX, open_registry
from mlops.registry.faults import mlflow_errors
from mlops.registry.logged_models import find_by_id, find_in_run
from mlops.spec.model import ModelVersion
from mlops.spec.refs import parse_ref

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion as MlflowVersion
    from mlflow.entities.model_registry import RegisteredModel

    from mlops.settings.needs import StoreSettings
    from mlops.spec.refs import Ref

#: The alias that a bare name means.
CHAMPION = "champion"


def resolve(client: MlflowClient, settings: StoreSettings, ref: Ref) -> ModelVersion:
    """Look a REF up and pin it, so that it means the same tomorrow.

    A bare name means the alias `champion` if there is one, else the newest version; if no such
    model is registered, an alias of the project's own model. What was chosen is in
    `chosen_by`.

    Raises:
        NotFoundError: There is no such model, version, alias, run or folder; the closest ones
            are named.
        RemoteError: The registry cannot be reached.
    """
    # These need no MLflow, and must not pay for its import.
    if ref.kind == "path":
        return _in_folder(ref)
    if ref.kind == "endpoint":
        return ModelVersion(ref=ref.text, label=ref.text.partition("#")[0], source=ref.text)
    if ref.kind == "uri":
        return ModelVersion(ref=ref.text, label=ref.text, source=ref.text.rstrip("/"))
    with mlflow_errors(settings):
        if ref.kind == "run":
            return find_in_run(client, ref)
        if ref.kind == "model_id":
            return find_by_id(client, ref)
        return _registered(client, settings, ref)


def resolve_all(settings: StoreSettings, refs: Sequence[str]) -> list[ModelVersion]:
    """Parse and look up several REFs; MLflow is opened only if one of them needs it.

    Raises:
        UsageError: One of them is malformed.
        MlopsError: As `resolve`.
    """
    parsed = [parse_ref(text) for text in refs]
    client: Any = None
    if any(ref.kind not in ("path", "uri", "endpoint") for ref in parsed):
        client = open_registry(settings, reading=True)
    return [resolve(client, settings, ref) for ref in parsed]


def registered_models(client: MlflowClient) -> list[RegisteredModel]:
    """Return every registered model in the order of their names, without the ledger's."""
    return [model for model in _all_models(client) if not model.name.startswith(LEDGER_PREFIX)]


def ledger_names(client: MlflowClient) -> list[str]:
    """Return the registered models that hold the revisions of deployments, in their order."""
    names = [str(model.name) for model in _all_models(client)]
    return [name for name in names if name.startswith(LEDGER_PREFIX)]


def _all_models(client: MlflowClient) -> list[RegisteredModel]:
    found: list[RegisteredModel] = []
    token = None
    while True:
        page = client.search_registered_models(max_results=500, page_token=token)
        found += page
        token = page.token
        if not token:
            return sorted(found, key=lambda model: str(model.name))


def version_numbers(client: MlflowClient, name: str) -> list[int]:
    """Return the versions of a registered model, newest first."""
    return [int(version.version) for version in all_versions(client, name)]


def all_versions(client: MlflowClient, name: str) -> list[MlflowVersion]:
    """Return every version of a registered model with its tags, newest first."""
    quote = '"' if "'" in name else "'"
    found: list[MlflowVersion] = []
    token = None
    while True:
        page = client.search_model_versions(f"name = {quote}{name}{quote}", page_token=token)
        found += page
        token = page.token
        if not token:
            return sorted(found, key=lambda version: int(version.version), reverse=True)


def newest_of(client: MlflowClient, name: str) -> ModelVersion:
    """Return the newest version of a registered model.

    Raises:
        NotFoundError: There is no such model, or it has no version.
    """
    model = look_up_model(client, name)
    if model is None:
        raise no_such_model(client, name)
    return _newest(client, parse_ref(name), model)


def look_up_model(client: MlflowClient, name: str) -> RegisteredModel | None:
    """Return a registered model, or None if there is no such name."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"):
            return None
        raise


def no_such_model(client: MlflowClient, name: str) -> NotFoundError:
    """Say that a registered model does not exist, and which are closest."""
    names = [model.name for model in registered_models(client)]
    hint = did_you_mean(name, names)
    if hint is None and not names:
        hint = "Nothing is registered yet: `mlops train` registers what it trains."
    elif hint is None:
        hint = f"Registered: {', '.join(f'`{known}`' for known in names[:8])}."
    return NotFoundError(f"There is no model `{name}` in the registry.", hint=hint)


def no_such_alias(name: str, alias: str, known: Iterable[str]) -> NotFoundError:
    """Say that a model has no such alias, and which are closest."""
    known = list(known)
    hint = f"Its aliases: {one_of(known)}." if known else None
    return NotFoundError(
        f"The model `{name}` has no alias `{alias}`.",
        hint=did_you_mean(alias, known)
        or hint
        or f"`mlops models alias {name}/VERSION {alias}` sets it.",
    )


def _registered(client: MlflowClient, settings: StoreSettings, ref: Ref) -> ModelVersion:
    model = look_up_model(client, ref.name)
    if model is None and ref.kind == "name":
        return _alias_of_project(client, settings, ref)
    if model is None:
        raise no_such_model(client, ref.name)
    if ref.kind == "version":
        return _pin(client, ref, model, ref.version, "")
    if ref.kind == "alias":
        return _pin(client, ref, model, _aliased(model, ref.alias), "")
    if CHAMPION in model.aliases:
        return _pin(client, ref, model, int(model.aliases[CHAMPION]), f"alias {CHAMPION}")
    return _newest(client, ref, model)


def _newest(client: MlflowClient, ref: Ref, model: RegisteredModel) -> ModelVersion:
    numbers = version_numbers(client, model.name)
    if not numbers:
        raise NotFoundError(
            f"The model `{model.name}` has no versions.", hint="`mlops train` registers one."
        )
    return _pin(client, ref, model, numbers[0], "newest version")


def _alias_of_project(client: MlflowClient, settings: StoreSettings, ref: Ref) -> ModelVersion:
    own = look_up_model(client, settings.project_name)
    if own is None:
        raise _elsewhere(client, settings, ref.name)
    if ref.name not in own.aliases:
        raise _neither_model_nor_alias(client, own, ref.name)
    return _pin(client, ref, own, int(own.aliases[ref.name]), f"alias of {own.name}")


def _elsewhere(client: MlflowClient, settings: StoreSettings, name: str) -> NotFoundError:
    """Say that a bare name is not a model, and which model has an alias of that name."""
    error = no_such_model(client, name)
    hint = _hint_to_aliases(client, name)
    if hint:
        error.hint = (
            f"{hint} A bare alias is one of the project's own model, and `{settings.project_dir}` "
            f"is the project `{settings.project_name}`, which has none."
        )
    return error


def _hint_to_aliases(client: MlflowClient, name: str) -> str | None:
    """Name the models that have an alias `name`; None where there is none."""
    having = [model.name for model in registered_models(client) if name in model.aliases]
    return f"Write {one_of(f'{model}@{name}' for model in having)}." if having else None


def _neither_model_nor_alias(
    client: MlflowClient, own: RegisteredModel, name: str
) -> NotFoundError:
    known = [model.name for model in registered_models(client)]
    hint = _hint_to_aliases(client, name) or did_you_mean(name, [*known, *own.aliases])
    if hint is None and Path(name).is_dir():
        hint = f"Write `./{name}` for the folder."
    return NotFoundError(
        f"`{name}` is neither a registered model nor an alias of `{own.name}`.",
        hint=hint
        or f"Models: {one_of(known)}; aliases of `{own.name}`: {one_of(own.aliases)}. "
        f"`mlops models alias {own.name}/VERSION {name}` sets one.",
    )


def _aliased(model: RegisteredModel, alias: str) -> int:
    if alias not in model.aliases:
        raise no_such_alias(model.name, alias, model.aliases)
    return int(model.aliases[alias])


def _pin(
    client: MlflowClient, ref: Ref, model: RegisteredModel, number: int, chosen_by: str
) -> ModelVersion:
    from mlflow.exceptions import MlflowException

    try:
        found = client.get_model_version(model.name, str(number))
        source = client.get_model_version_download_uri(model.name, str(number))
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"):
            raise
        raise _no_such_version(client, model.name, number) from error
    return ModelVersion(
        ref=ref.text,
        label=f"{model.name}/{number}",
        source=source,
        name=model.name,
        version=number,
        run_id=found.run_id or "",
        chosen_by=chosen_by,
    )


def _no_such_version(client: MlflowClient, name: str, number: int) -> NotFoundError:
    numbers = version_numbers(client, name)
    shown = ", ".join(str(known) for known in numbers[:10]) or "none"
    return NotFoundError(
        f"The model `{name}` has no version {number}.",
        hint=f"Its versions: {shown}{', …' if len(numbers) > 10 else ''}.",
    )


def _in_folder(ref: Ref) -> ModelVersion:
    folder = Path(ref.text).resolve()
    if not (folder / "MLmodel").is_file():
        raise NotFoundError(
            f"`{ref.text}` is not a model: it has no `MLmodel` file.",
            hint="A path names a folder that MLflow saved a model to; a registered model is "
            "written without `./`.",
        )
    return ModelVersion(ref=ref.text, label=str(folder), source=str(folder))
