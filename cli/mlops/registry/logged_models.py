"""Models that a run logged, registered or not.

MLflow 3 keeps a logged model as an entity of its own and lists it in the run's outputs; MLflow 2,
and any client of an old server, leaves it among the run's artifacts. Both are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlops.errors import InvalidInputError, NotFoundError, did_you_mean, one_of
from mlops.registry.details import read_details
from mlops.spec.model import ModelVersion

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

    from mlops.spec.refs import Ref


@dataclass(frozen=True, slots=True)
class Logged:
    """One model that a run logged.

    Attributes:
        name: Its name in the run, for example "model".
        source: Artifact URI of its folder.
        run_id: The run.
        model_id: Its id in MLflow 3, else empty.
    """

    name: str
    source: str
    run_id: str
    model_id: str = ""


def logged_models(client: MlflowClient, run_id: str, *, whole_only: bool = False) -> list[Logged]:
    """Return the models of a run in the order they were logged; of one name, the last.

    Args:
        client: Where the run is.
        run_id: The run.
        whole_only: Leave out models that are deleted, or whose upload has not ended well.

    Raises:
        MlflowException: The run does not exist, or MLflow cannot be reached.
    """
    run = client.get_run(run_id)
    found = {model.name: model for model in _entities(client, run, whole_only)}
    for model in _among_artifacts(client, run):
        found.setdefault(model.name, model)
    return list(found.values())


def models_of(client: MlflowClient, run_id: str) -> list[Logged]:
    """Return the models of a run; if it logged none, those of the finished runs below it.

    The main entry point of a project of several steps often does nothing but run the others. A
    model of theirs that is not whole is passed over, as their run went on without it.

    Raises:
        MlflowException: The run does not exist, or MLflow cannot be reached.
        RemoteError: The artifact store cannot be reached.
    """
    run = client.get_run(run_id)
    own = logged_models(client, run_id)
    if own:
        return own
    models = [
        model
        for below in _runs_below(client, run.info.experiment_id, run_id)
        for model in logged_models(client, below, whole_only=True)
    ]
    # Of several runs none is chosen, so their files need not be read.
    if len({model.run_id for model in models}) == 1:
        return [model for model in models if _is_readable(model)]
    return models


def _is_readable(model: Logged) -> bool:
    try:
        read_details(model.source)
    except (NotFoundError, InvalidInputError):
        return False
    return True


def _runs_below(client: MlflowClient, experiment: str, run_id: str) -> Iterator[str]:
    """Yield the ids of the finished runs nested in one, at any depth, those of a level in order.

    A run that failed, was killed or goes on may have logged a model that is worth nothing.
    """
    filter_string = f"tag.`mlflow.parentRunId` = '{run_id}' and attributes.status = 'FINISHED'"
    token: str | None = None
    while token != "":
        page = client.search_runs(
            [experiment], filter_string, order_by=["attributes.start_time ASC"], page_token=token
        )
        for run in page:
            yield run.info.run_id
            yield from _runs_below(client, experiment, run.info.run_id)
        token = page.token or ""


def find_in_run(client: MlflowClient, ref: Ref) -> ModelVersion:
    """Return the model that `runs:/ID/path` names.

    Raises:
        NotFoundError: The run logged no such model.
    """
    run_id, _, path = ref.text.removeprefix("runs:/").partition("/")
    path = path.strip("/")
    models = {model.name: model for model in logged_models(client, run_id)}
    if path not in models and _is_model(client, run_id, path):
        root = client.get_run(run_id).info.artifact_uri.rstrip("/")
        models[path] = Logged(path, f"{root}/{path}", run_id)
    if path not in models:
        raise NotFoundError(
            f"The run `{run_id}` logged no model `{path}`.",
            hint=did_you_mean(path, models)
            or (f"It logged {one_of(models)}." if models else "It logged no model at all."),
        )
    return ModelVersion(
        ref=ref.text, label=f"runs:/{run_id}/{path}", source=models[path].source, run_id=run_id
    )


def find_by_id(client: MlflowClient, ref: Ref) -> ModelVersion:
    """Return the model that an MLflow 3 model id names.

    Raises:
        MlflowException: There is none.
    """
    model = client.get_logged_model(ref.text.removeprefix("models:/"))
    return ModelVersion(
        ref=ref.text,
        label=f"models:/{model.model_id}",
        source=model.artifact_location,
        run_id=model.source_run_id or "",
    )


def _entities(client: MlflowClient, run: Run, whole_only: bool) -> list[Logged]:
    from mlflow.exceptions import MlflowException

    models = []
    for output in run.outputs.model_outputs if run.outputs else []:
        try:
            model = client.get_logged_model(output.model_id)
        except MlflowException as error:
            if not whole_only or error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
        else:
            if not whole_only or model.status not in ("PENDING", "FAILED"):
                models.append(model)
    models.sort(key=lambda model: int(model.creation_timestamp))
    return [
        Logged(model.name, model.artifact_location, run.info.run_id, model.model_id)
        for model in models
    ]


def _among_artifacts(client: MlflowClient, run: Run) -> list[Logged]:
    root = run.info.artifact_uri.rstrip("/")
    return [
        Logged(item.path, f"{root}/{item.path}", run.info.run_id)
        for item in client.list_artifacts(run.info.run_id)
        if item.is_dir and _is_model(client, run.info.run_id, item.path)
    ]


def _is_model(client: MlflowClient, run_id: str, path: str) -> bool:
    inside = client.list_artifacts(run_id, path)
    return any(item.path == f"{path}/MLmodel" for item in inside)
