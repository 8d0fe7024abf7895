"""Following a model back to its data and on to its deployments.

Everything is read from MLflow: the run's inputs and tags, the profile in the model's folder, and
the ledger's revisions. A run not made by `mlops train` has what MLflow knows of it.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlops.errors import InvalidInputError
from mlops.registry.client import LEDGER_PREFIX, open_registry
from mlops.registry.details import read_model_file
from mlops.registry.faults import mlflow_errors
from mlops.registry.ledger import Entry, Ledger
from mlops.registry.lineage import DataSet, Evidence, Lineage, Origin, ProfileFacts, Served
from mlops.registry.models import aliases_of
from mlops.registry.refs import ledger_names, resolve
from mlops.settings.secrets import without_credentials
from mlops.spec.refs import parse_ref
from mlops.stats.profile_document import PROFILE_FILE, from_json

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Run

    from mlops.settings.needs import StoreSettings
    from mlops.spec.deployment import Arm
    from mlops.spec.model import ModelVersion

_GIT = "mlflow.source.git."


def trace(settings: StoreSettings, ref: str) -> Lineage:
    """Follow one model version back to its data and on to its deployments.

    Raises:
        NotFoundError: There is no such model.
    """
    client = open_registry(settings, reading=True)
    version = resolve(client, settings, parse_ref(ref))
    with mlflow_errors(settings):
        run = _find_run(client, version.run_id)
        return Lineage(
            version=version,
            aliases=aliases_of(client, version.name, version.version) if version.name else (),
            data=tuple(_data_sets(run)) if run is not None else (),
            run=_origin(client, run) if run is not None else None,
            profile=_profile(version.source),
            deployments=tuple(_deployments(client, settings, version)),
        )


def _find_run(client: MlflowClient, run_id: str) -> Run | None:
    from mlflow.exceptions import MlflowException

    if not run_id:
        return None
    try:
        return client.get_run(run_id)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"):
            raise
        return None


def _data_sets(run: Run) -> Iterator[DataSet]:
    inputs: Sequence[DatasetInput] = run.inputs.dataset_inputs if run.inputs else []
    for item in sorted(inputs, key=lambda item: str(item.dataset.name)):
        tags = {tag.key: tag.value for tag in item.tags}
        profile = _json(item.dataset.profile)
        yield DataSet(
            name=item.dataset.name,
            digest=item.dataset.digest,
            source=_source(item.dataset.source),
            context=tags.get("mlflow.data.context", ""),
            rows=profile.get("num_rows"),
        )


def _source(text: str) -> str:
    """Say in a word where data is; MLflow has a form of JSON for each kind of source."""
    source = _json(text)
    tags = source.get("tags")
    if isinstance(tags, Mapping):
        return str(tags.get("mlflow.source.name", "code"))
    found = (source[key] for key in ("uri", "url", "path", "table_name") if source.get(key))
    return without_credentials(str(next(found, text)))


def _json(text: str | None) -> dict[str, Any]:
    try:
        document = json.loads(text or "{}")
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _origin(client: MlflowClient, run: Run) -> Origin:
    command = _command(client, run)
    # Of the command are those tags that MLflow does not set for a step.
    tags = {**command.data.tags, **run.data.tags}
    dirty = tags.get(f"{_GIT}dirty")
    root = command.info.artifact_uri.rstrip("/")
    records = client.list_artifacts(command.info.run_id, "provenance")
    return Origin(
        run_id=run.info.run_id,
        name=run.info.run_name or "",
        status=run.info.status,
        started=dt.datetime.fromtimestamp(run.info.start_time / 1000, dt.UTC),
        user=tags.get("mlflow.user", ""),
        host=tags.get("mlops.host", ""),
        command=tags.get("mlops.command", ""),
        commit=tags.get(f"{_GIT}commit", ""),
        branch=tags.get(f"{_GIT}branch", ""),
        repository=without_credentials(tags.get(f"{_GIT}repoURL", "")),
        dirty=None if dirty is None else dirty == "true",
        params=dict(sorted(run.data.params.items())),
        metrics=dict(sorted(run.data.metrics.items())),
        records=tuple(f"{root}/{item.path}" for item in records if not item.is_dir),
    )


def _command(client: MlflowClient, run: Run) -> Run:
    """Return the run of the `mlops train` whose step a run was; the run itself if of none."""
    top: Run | None = run
    while top is not None and "mlops.command" not in top.data.tags:
        top = _find_run(client, top.data.tags.get("mlflow.parentRunId", ""))
    return top or run


def _profile(source: str) -> ProfileFacts | None:
    text = read_model_file(source, PROFILE_FILE)
    if text is None:
        return None
    try:
        profile = from_json(text)
    except InvalidInputError:
        # Another tool's file of the same name, or one of a later version of mlops.
        return None
    return ProfileFacts(
        uri=f"{source.rstrip('/')}/{PROFILE_FILE}",
        data=profile.name,
        digest=profile.digest,
        rows=profile.rows,
        features=len(profile.features),
    )


def _deployments(
    client: MlflowClient, settings: StoreSettings, version: ModelVersion
) -> Iterator[Served]:
    for name in ledger_names(client):
        entries = Ledger(client, settings, name.removeprefix(LEDGER_PREFIX)).history()
        for entry in reversed(entries):
            for arm in entry.intent.spec.arms:
                if _is_same(arm.model, version):
                    yield _served(entry, arm, entries)


def _is_same(one: ModelVersion, other: ModelVersion) -> bool:
    if one.name and other.name:
        return (one.name, one.version) == (other.name, other.version)
    return one.source.rstrip("/") == other.source.rstrip("/")


def _served(entry: Entry, arm: Arm, entries: Sequence[Entry]) -> Served:
    spec = entry.intent.spec
    return Served(
        deployment=spec.name,
        revision=entry.number,
        state=entry.state,
        action=entry.intent.action,
        author=entry.author,
        created=dt.datetime.fromtimestamp(entry.created_ms / 1000, dt.UTC),
        arm=arm.name,
        weight=arm.weight,
        reason=entry.error or entry.intent.reason,
        evidence=tuple(
            _evidence(later, arm.name)
            for later in reversed(entries)
            if entry.number in (later.intent.evidence or {}).get("revisions", ())
        ),
    )


def _evidence(entry: Entry, arm: str) -> Evidence:
    document = entry.intent.evidence or {}
    verdict = document["verdict"]
    means = {each["name"]: each["mean"] for each in document["arms"]}
    return Evidence(
        revision=entry.number,
        decision=verdict["decision"],
        winner=verdict["winner"],
        reason=verdict["reason"],
        n=verdict["n"],
        mean=means.get(arm),
    )
