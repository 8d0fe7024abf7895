"""What is registered, as frozen records."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlops.registry.client import nothing_yet, open_registry
from mlops.registry.details import Details, read_details
from mlops.registry.faults import mlflow_errors
from mlops.registry.push import PushRecord, push_records
from mlops.registry.refs import (
    look_up_model,
    no_such_model,
    registered_models,
    resolve,
    version_numbers,
)
from mlops.spec.refs import parse_ref

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from mlops.settings.needs import StoreSettings
    from mlops.spec.model import ModelVersion


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What a run knows about the model it logged.

    Attributes:
        run_id: The run.
        name: MLflow's name for it.
        status: FINISHED, FAILED, KILLED or RUNNING.
        params: Its parameters.
        metrics: The last value of each metric.
        datasets: Name to digest of each data set that it logged.
    """

    run_id: str
    name: str
    status: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    datasets: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RegisteredVersion:
    """One version in a list.

    Attributes:
        label: For example `wine/3`.
        name: The registered model.
        version: Its number.
        aliases: What else it is called.
        created: When it was registered.
        run: The run that logged it, None if it is unknown or was deleted.
    """

    label: str
    name: str
    version: int
    aliases: tuple[str, ...]
    created: dt.datetime
    run: RunFacts | None


@dataclass(frozen=True, slots=True)
class Model:
    """One model with everything that is known about it.

    Attributes:
        version: The pinned version.
        aliases: What else it is called.
        run: The run that logged it, None if it is unknown or was deleted.
        details: What the model's own files say.
        pushed: Where it was pushed to, last first.
    """

    version: ModelVersion
    aliases: tuple[str, ...]
    run: RunFacts | None
    details: Details
    pushed: tuple[PushRecord, ...]


def list_versions(settings: StoreSettings, name: str = "") -> tuple[RegisteredVersion, ...]:
    """Return registered versions, by model and newest first, without the deployment ledger.

    Args:
        settings: Where MLflow is.
        name: Only this model's; empty means all.

    Raises:
        NotFoundError: There is no model of that name.
    """
    if not name and nothing_yet(settings):
        return ()
    client = open_registry(settings, reading=True)
    with mlflow_errors(settings):
        names = [model.name for model in registered_models(client)]
        if name and name not in names:
            raise no_such_model(client, name)
        return tuple(
            _listed(client, known, number)
            for known in names
            if name in ("", known)
            for number in version_numbers(client, known)
        )


def show_model(settings: StoreSettings, ref: str) -> Model:
    """Return everything known about the model that a REF names.

    Raises:
        NotFoundError: There is none, or its files are gone.
    """
    client = open_registry(settings, reading=True)
    return load_model_record(client, settings, resolve(client, settings, parse_ref(ref)))


def load_model_record(
    client: MlflowClient, settings: StoreSettings, version: ModelVersion
) -> Model:
    """Return everything known about a pinned model version."""
    with mlflow_errors(settings):
        return Model(
            version=version,
            aliases=aliases_of(client, version.name, version.version) if version.name else (),
            run=_run_facts(client, version.run_id),
            details=read_details(version.source),
            pushed=_pushed(client, version),
        )


def _listed(client: MlflowClient, name: str, number: int) -> RegisteredVersion:
    found = client.get_model_version(name, str(number))
    created = dt.datetime.fromtimestamp(found.creation_timestamp / 1000, dt.UTC)
    return RegisteredVersion(
        label=f"{name}/{number}",
        name=name,
        version=number,
        aliases=tuple(sorted(found.aliases)),
        created=created,
        run=_run_facts(client, found.run_id or ""),
    )


def aliases_of(client: MlflowClient, name: str, number: int) -> tuple[str, ...]:
    """Return the aliases of one version, in alphabetical order."""
    model = look_up_model(client, name)
    aliases = model.aliases if model is not None else {}
    return tuple(sorted(alias for alias, version in aliases.items() if int(version) == number))


def _pushed(client: MlflowClient, version: ModelVersion) -> tuple[PushRecord, ...]:
    if not version.name:
        return ()
    return push_records(client.get_model_version(version.name, str(version.version)).tags)


def _run_facts(client: MlflowClient, run_id: str) -> RunFacts | None:
    from mlflow.exceptions import MlflowException

    if not run_id:
        return None
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"):
            raise
        return None
    inputs = run.inputs.dataset_inputs if run.inputs else []
    return RunFacts(
        run_id=run_id,
        name=run.info.run_name or "",
        status=run.info.status,
        params=dict(sorted(run.data.params.items())),
        metrics=dict(sorted(run.data.metrics.items())),
        datasets={item.dataset.name: item.dataset.digest for item in inputs},
    )
