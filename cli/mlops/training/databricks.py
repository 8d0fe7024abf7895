"""`mlops train --backend databricks`: MLflow's own backend for a Databricks workspace.

MLflow uploads the project, starts a cluster and waits; mlops checks beforehand what it would only
complain about half-way, and registers the model afterwards. Never tried against a real workspace.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops.errors import InvalidInputError, MlopsError, NotAllowedError, NotFoundError, UsageError
from mlops.registry import experiment_id, mlflow_errors, open_registry
from mlops.registry.client import quieten
from mlops.registry.logged_models import models_of
from mlops.settings.secrets import without_credentials
from mlops.spec.model import ModelVersion
from mlops.training.progress import Progress, Silent
from mlops.training.registration import Registered, Registration, register_run
from mlops.training.remote_plan import Plan, plan_trials
from mlops.training.runs import Fate, read_tags

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from mlops.settings.needs import TrainSettings
    from mlops.training.train import TrainRequest

_NEEDS_LOGIN = "DATABRICKS_HOST and DATABRICKS_TOKEN, or a profile of ~/.databrickscfg, say where."


@dataclass(frozen=True, slots=True)
class DatabricksRun:
    """What came of a run.

    Attributes:
        run_id: The MLflow run.
        experiment: Name of its experiment.
        status: FINISHED, or there would be no result.
        params: Given parameters and those that its script logged.
        metrics: The last value of each metric.
        model: The registered version, if one was made.
        alias: The alias that it carries now, if one was asked for.
        next_commands: What to do with the model, ready to be copied.
    """

    run_id: str
    experiment: str
    status: Fate
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    model: ModelVersion | None
    alias: str
    next_commands: tuple[str, ...]


def run_on_databricks(
    request: TrainRequest, settings: TrainSettings, config: str, progress: Progress | None = None
) -> DatabricksRun:
    """Run a project on a new cluster of a Databricks workspace, and wait for it.

    Args:
        request: What to train; no sweep.
        settings: Where MLflow is.
        config: JSON file that describes the cluster, as `mlflow run --backend-config` takes it.
        progress: Called with phases.

    Raises:
        UsageError: It is a sweep, or there is no description of a cluster.
        InvalidInputError: The description is wrong, or the workspace cannot reach MLflow.
        NotAllowedError: No workspace is configured.
        MlopsError: The run failed.
    """
    progress = progress or Silent()
    plan = plan_trials(request, settings)
    if plan.axes:
        raise UsageError(
            f"`{plan.axes[0]}` has several values, and `--backend databricks` runs one.",
            hint="Each run would start a cluster of its own. Sweep with `--backend ray` on a "
            "cluster that is there.",
        )
    if plan.beyond_mlflow:
        raise InvalidInputError(
            f"`{plan.entry_point}` has flags, lists or optional parameters of `mlops.toml`, which "
            "MLflow's backend cannot fill in.",
            hint="Use `--backend local`, `ray` or `kubernetes`.",
        )
    cluster = read_cluster(config)
    _check_place(settings)
    _check_login(settings)
    client = open_registry(settings)
    progress.phase("running on Databricks")
    run_id = _run(client, request, settings, plan, cluster)
    with mlflow_errors(settings):
        run = client.get_run(run_id)
        registered = _register(client, request, settings, plan, run_id)
    return DatabricksRun(
        run_id=run_id,
        experiment=plan.experiment,
        status="FINISHED",
        params=dict(run.data.params),
        metrics=dict(run.data.metrics),
        model=registered.model,
        alias=request.alias if registered.model else "",
        next_commands=registered.next_commands,
    )


def read_cluster(config: str) -> dict[str, Any]:
    """Return the description of a cluster.

    Raises:
        UsageError: There is none.
        NotFoundError: The file is not there.
        InvalidInputError: It is not a JSON object, or names a cluster that runs already.
    """
    if not config:
        raise UsageError(
            "`--backend databricks` needs a description of the cluster to start.",
            hint="`--backend-config cluster.json`, as `mlflow run` takes it.",
        )
    try:
        cluster = json.loads(Path(config).expanduser().read_text(encoding="utf-8"))
    except OSError as error:
        raise NotFoundError(f"`{config}` cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise InvalidInputError(f"`{config}` is not JSON: {error}.") from error
    if not isinstance(cluster, dict):
        raise InvalidInputError(f"`{config}` must be a JSON object.")
    if "existing_cluster_id" in cluster:
        raise InvalidInputError(
            f"`{config}` has `existing_cluster_id`, and MLflow runs projects on new clusters only.",
            hint="Describe a new one: `spark_version`, `node_type_id`, `num_workers`.",
        )
    return cluster


def _check_place(settings: TrainSettings) -> None:
    uri = settings.tracking_uri
    if not uri.startswith(("databricks", "http")):
        raise InvalidInputError(
            f"A Databricks workspace does not reach MLflow at `{without_credentials(uri)}`.",
            hint="Set `tracking.uri` or MLFLOW_TRACKING_URI to `databricks`, `databricks://PROFILE`"
            " or a server's URL.",
        )


def _check_login(settings: TrainSettings) -> None:
    quieten()
    from mlflow.exceptions import MlflowException
    from mlflow.utils.databricks_utils import get_databricks_host_creds

    try:
        # With the same argument as MLflow's backend; a URL means the default profile.
        get_databricks_host_creds(settings.tracking_uri)
    except (MlflowException, ValueError) as error:
        raise NotAllowedError(
            "No Databricks workspace is configured.", hint=_NEEDS_LOGIN
        ) from error


def _run(
    client: MlflowClient,
    request: TrainRequest,
    settings: TrainSettings,
    plan: Plan,
    cluster: dict[str, Any],
) -> str:
    import mlflow
    from mlflow.exceptions import ExecutionException

    with mlflow_errors(settings):
        experiment = experiment_id(client, settings, plan.experiment)
        try:
            submitted = mlflow.projects.run(
                request.project,
                entry_point=plan.entry_point,
                parameters=dict(plan.points[0]),
                experiment_id=experiment,
                backend="databricks",
                backend_config=cluster,
            )
        except ExecutionException as error:
            raise MlopsError(
                f"The run on Databricks failed: {without_credentials(str(error))}"
            ) from error
        run_id = str(submitted.run_id)
        for name, value in read_tags(request.tags).items():
            client.set_tag(run_id, name, value)
    return run_id


def _register(
    client: MlflowClient, request: TrainRequest, settings: TrainSettings, plan: Plan, run_id: str
) -> Registered:
    if request.no_register:
        return Registered()
    wanted = Registration(
        name=request.register or plan.project,
        model=request.model,
        alias=request.alias,
        needed=bool(request.register or request.alias),
        project=settings.project_name,
    )
    return register_run(client, models_of(client, run_id), run_id, wanted, request.project)
