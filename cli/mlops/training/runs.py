"""The MLflow run that `mlops train` owns."""

from __future__ import annotations

import getpass
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mlops.settings.secrets import without_credentials
from mlops.training.processes import PID_TAG, owner_is_gone, owner_tags

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

    from mlops.training.child import Fate

_ENDED = ("FINISHED", "FAILED", "KILLED")
#: Longest value of an MLflow tag or parameter that every store takes.
_MAX_VALUE = 5000


def create_run(
    client: MlflowClient, experiment: str, source: str, folder: Path, entry_point: str
) -> str:
    """Create the run with the tags that MLflow's own runner sets, and those that name us.

    Args:
        client: Where to create it.
        experiment: Id of the experiment.
        source: The project as the person wrote it, if it is remote; else its folder.
        folder: Its local copy, for the commit.
        entry_point: What will be run.

    Returns:
        The run's id.
    """
    tags = {
        "mlflow.user": _user(),
        "mlflow.source.name": without_credentials(source),
        "mlflow.source.type": "PROJECT",
        "mlflow.project.entryPoint": entry_point,
        "mlflow.project.backend": "local",
        **_git_tags(folder),
        **owner_tags(),
    }
    return str(client.create_run(experiment, tags=tags).info.run_id)


def close_abandoned(client: MlflowClient, experiment: str) -> list[str]:
    """Mark runs KILLED whose `mlops train` died without a word; return their ids."""
    running = client.search_runs([experiment], f"status = 'RUNNING' and tag.`{PID_TAG}` != ''")
    gone = [run.info.run_id for run in running if owner_is_gone(run.data.tags)]
    for run_id in gone:
        client.set_terminated(run_id, "KILLED")
    return gone


def settle(client: MlflowClient, run_id: str, fate: Fate, values: Mapping[str, str]) -> Run:
    """Give a run its final status and the parameters its script did not log itself.

    A script that marked its run FAILED and then left with 0 is believed; one that marked it
    FINISHED and then failed is not. Parameters come last, since MLflow refuses a second value: a
    script that logs `1.0` for `-P alpha=1` would fail if we had logged `1` before.

    Returns:
        The run as it is now.
    """
    run = client.get_run(run_id)
    for name, value in values.items():
        if name not in run.data.params:
            client.log_param(run_id, name, value[:_MAX_VALUE])
    if run.info.status not in _ENDED or fate != "FINISHED":
        client.set_terminated(run_id, fate, end_time=int(time.time() * 1000))
    return client.get_run(run_id)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container may run under a number that has no name.
        return "unknown"


def _git_tags(folder: Path) -> dict[str, str]:
    from mlflow.utils.git_utils import get_git_branch, get_git_commit, get_git_repo_url

    found = {
        "mlflow.source.git.commit": get_git_commit(str(folder)),
        "mlflow.source.git.branch": get_git_branch(str(folder)),
        "mlflow.source.git.repoURL": get_git_repo_url(str(folder)),
    }
    return {name: value for name, value in found.items() if value}
