"""The MLflow run that `mlops train` owns."""

from __future__ import annotations

import getpass
import json
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mlops.errors import UsageError
from mlops.registry.faults import mlflow_errors
from mlops.settings.secrets import without_credentials
from mlops.training.processes import PID_TAG, owner_is_gone, owner_tags
from mlops.training.runner.base import SIGNALLED

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from mlops.settings.needs import StoreSettings

Fate = Literal["FINISHED", "FAILED", "KILLED"]

# A script that ends by one of these was stopped on purpose; SIGSEGV and the like are failures.
_KILLING = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
_ENDED = ("FINISHED", "FAILED", "KILLED")
#: Run tag with the parameters that the entry point was given, as JSON; a script may log others.
PARAMETERS_TAG = "mlops.parameters"
#: Longest value of an MLflow tag or parameter that every store takes.
_MAX_VALUE = 5000


def fate_of(code: int) -> Fate:
    """Return the status of a run by its script's exit code."""
    if code == 0:
        return "FINISHED"
    return "KILLED" if code - SIGNALLED in _KILLING else "FAILED"


class OwnedRun:
    """A run that gets the right status, whatever happens in the meantime; a context manager.

    Args:
        client: Where to create it.
        settings: For the words of errors.
        experiment: Id of the experiment.
        tags: Its first tags.
        values: Its parameters. They are logged last, and only those the script has not logged:
            MLflow refuses a second value, so a script that logs `1.0` for `-P alpha=1` would fail
            if `1` had been logged before.

    Attributes:
        run_id: Its id once it exists.
        fate: Its final status; KILLED unless it is known to have ended otherwise.
        status: How it ended. A script that marked its run FAILED and left with 0 is
            trusted; one that marked it FINISHED and then failed is not.
    """

    def __init__(
        self,
        client: MlflowClient,
        settings: StoreSettings,
        experiment: str,
        tags: Mapping[str, str],
        values: Mapping[str, str],
    ) -> None:
        self._client = client
        self._settings = settings
        self._experiment = experiment
        given = json.dumps(dict(values))
        self._tags = {**tags, **({PARAMETERS_TAG: given} if len(given) <= _MAX_VALUE else {})}
        self._values = values
        self.run_id = ""
        self.fate: Fate = "KILLED"
        self.status = ""

    def __enter__(self) -> str:
        """Create it and return its id."""
        with mlflow_errors(self._settings):
            run = self._client.create_run(self._experiment, tags=self._tags)
        self.run_id = str(run.info.run_id)
        return self.run_id

    def __exit__(self, *_: object) -> None:
        with mlflow_errors(self._settings):
            run = self._client.get_run(self.run_id)
            for name, value in self._values.items():
                if name not in run.data.params:
                    self._client.log_param(self.run_id, name, value[:_MAX_VALUE])
            self.status = run.info.status
            if self.status not in _ENDED or self.fate != "FINISHED":
                self._client.set_terminated(self.run_id, self.fate)
                self.status = self.fate


def read_tags(words: Sequence[str]) -> dict[str, str]:
    """Return the tags that a command line gives to its runs.

    Raises:
        UsageError: A word is not name=value, or the name is MLflow's or mlops's.
    """
    tags = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise UsageError(f"`--tag {word}` is not of the form name=value.")
        if name.startswith(("mlflow.", "mlops.")):
            raise UsageError(
                f"`--tag {word}` has a reserved name.",
                hint="`mlflow.` and `mlops.` begin the tags that MLflow and mlops set.",
            )
        tags[name] = value
    return tags


def run_tags(source: str, entry_point: str, env_manager: str = "local") -> dict[str, str]:
    """Return the tags that MLflow's own runner sets, and those of mlops.

    Args:
        source: The project as the user wrote it, if it is remote; else its folder.
        entry_point: What will be run.
        env_manager: What makes its environment.
    """
    own = env_manager in ("uv", "virtualenv", "conda")
    return {
        "mlflow.user": user_name(),
        "mlflow.source.name": without_credentials(_source_name(source)),
        "mlflow.source.type": "PROJECT",
        "mlflow.project.entryPoint": entry_point,
        "mlflow.project.backend": "local",
        **({"mlflow.project.env": env_manager} if own else {}),
        **owner_tags(),
    }


def close_abandoned(client: MlflowClient, experiment: str) -> list[str]:
    """Mark runs KILLED whose `mlops train` died silently; return their ids."""
    running = client.search_runs([experiment], f"status = 'RUNNING' and tag.`{PID_TAG}` != ''")
    gone = [run.info.run_id for run in running if owner_is_gone(run.data.tags)]
    for run_id in gone:
        client.set_terminated(run_id, "KILLED")
    return gone


def user_name() -> str:
    """Return the name of the user who runs this."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container may run under a number that has no name.
        return "unknown"


def _source_name(source: str) -> str:
    """Return a source as MLflow writes it: a folder in a git repository as `file://REPO#FOLDER`."""
    from mlflow.tracking._tracking_service.utils import _get_git_url_if_present

    return str(_get_git_url_if_present(source)) if Path(source).is_dir() else source
