"""`mlflow run --backend mlops`: the warm runner behind MLflow's own command.

MLflow finds this class by the entry point `mlflow.project_backend`. The run is created by MLflow's
own function and looks as if its local backend had run it. MLflow's command does not wait for a
backend that it does not know, so `run` returns when the script has ended.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import RunStatus
from mlflow.exceptions import ExecutionException
from mlflow.projects.backend.abstract_backend import AbstractBackend
from mlflow.projects.backend.local import LocalBackend
from mlflow.projects.submitted_run import SubmittedRun
from mlflow.projects.utils import (
    PROJECT_ENV_MANAGER,
    PROJECT_SYNCHRONOUS,
    fetch_and_validate_project,
    get_or_create_run,
)

from mlops.errors import MlopsError
from mlops.settings import load_settings
from mlops.training.project import Project, read_project
from mlops.training.runner import Trial, Work, open_runner

_logger = logging.getLogger("mlflow.projects")


class EndedRun(SubmittedRun):  # type: ignore[misc] # MLflow ships no types
    """A run that succeeded before MLflow could wait for it.

    Args:
        run_id: The run.
    """

    def __init__(self, run_id: str) -> None:
        super().__init__()
        self._run_id = run_id

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self._run_id

    def wait(self) -> bool:
        """Return that it succeeded."""
        return True

    def get_status(self) -> str:
        """Return MLflow's status of a successful run."""
        return str(RunStatus.to_string(RunStatus.FINISHED))

    def cancel(self) -> None:
        """There is nothing left to cancel."""


class MlopsBackend(AbstractBackend):  # type: ignore[misc] # MLflow ships no types
    """Runs a project's script as a fork of a warm parent, if that can be."""

    def run(
        self,
        project_uri: str,
        entry_point: str,
        params: Mapping[str, str],
        version: str | None,
        backend_config: dict[str, Any],
        tracking_uri: str,
        experiment_id: str,
    ) -> SubmittedRun:
        """Run a project to its end.

        Raises:
            ExecutionException: The script failed; its run says so.
        """
        folder = Path(fetch_and_validate_project(project_uri, version, entry_point, params))
        project = _suitable(folder, backend_config.get(PROJECT_ENV_MANAGER))
        if isinstance(project, str):
            _logger.warning("MLflow's own runner is used: %s", project)
            own = {**backend_config, PROJECT_SYNCHRONOUS: True}
            submitted = LocalBackend().run(
                project_uri, entry_point, params, version, own, tracking_uri, experiment_id
            )
            return _ended(submitted.run_id, submitted.wait())
        run = get_or_create_run(
            None, project_uri, experiment_id, str(folder), version, entry_point, params
        )
        run_id = str(run.info.run_id)
        try:
            code = _execute(
                project, entry_point, Trial(run_id, experiment_id, params), tracking_uri
            )
        except BaseException:
            _close(run_id, "FAILED")
            raise
        return _ended(run_id, code == 0)


def _suitable(folder: Path, manager: str | None) -> Project | str:
    """Return the project, or why it is left to MLflow."""
    try:
        project = read_project(folder)
    except MlopsError as error:
        return error.message
    if project.environment == "docker_env":
        return "the project runs in a container"
    if manager != "local":
        return f"environment manager `{manager or 'by default'}`; `--env-manager local` is faster"
    return project


def _execute(project: Project, entry_point: str, trial: Trial, tracking_uri: str) -> int:
    settings = load_settings(project.folder)
    tracking = replace(settings.tracking, uri=tracking_uri)
    settings = replace(settings, tracking=tracking)

    def show(_run_id: str, line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    work = Work(project, entry_point, "local")
    with open_runner(work, settings, show, _logger.warning) as runner:
        (outcome,) = runner.run([trial])
    return outcome.code


def _ended(run_id: str, well: bool) -> EndedRun:
    _close(run_id, "FINISHED" if well else "FAILED")
    if not well:
        raise ExecutionException(f"Run (ID '{run_id}') failed")
    _logger.info("=== Run (ID '%s') succeeded ===", run_id)
    return EndedRun(run_id)


def _close(run_id: str, status: str) -> None:
    """Give a run its status, unless its script did."""
    client = MlflowClient()
    if RunStatus.is_terminated(RunStatus.from_string(client.get_run(run_id).info.status)):
        return
    client.set_terminated(run_id, status)
