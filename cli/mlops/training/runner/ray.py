"""Trials as tasks of a Ray cluster, one that is there or one on this machine.

The project's folder and the files that its parameters name travel with each trial, and so do the
variables that say where MLflow and its store are; packages do not: what the script imports must be
installed on the nodes. Output comes back when a trial ends. A trial whose node is lost starts over
elsewhere, in the same run.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mlops.cluster.ray import connect_ray, import_ray
from mlops.errors import InvalidInputError
from mlops.registry.client import script_environment
from mlops.settings.secrets import without_credentials
from mlops.training.command import for_mlflow
from mlops.training.runner import remote
from mlops.training.runner.base import SIGNALLED, OnLine, Runner, Trial, Work
from mlops.training.runner.bundle import local_inputs, pack
from mlops.training.runner.shared_store import check_shared

if TYPE_CHECKING:
    from mlops.settings.needs import TrainSettings

#: Times a trial is begun before a lost node is blamed on the script.
ATTEMPTS = 4
_POLL_S = 0.2
_FORGET_S = 10.0
# What a script needs to find MLflow and its store; the rest of the environment stays here.
_SENT = ("MLFLOW_", "AWS_", "GOOGLE_", "AZURE_")


def check_store(settings: TrainSettings, address: str) -> None:
    """Refuse a store that the nodes of a cluster cannot reach, before anything runs.

    Args:
        settings: Name the store.
        address: Of the cluster; empty for one that is started on this machine.

    Raises:
        InvalidInputError: Runs or artifacts are kept in files of this machine.
    """
    if address:
        check_shared(settings, f"`{without_credentials(address)}` is a cluster, whose nodes")


class RayRunner(Runner):
    """Gives every trial to Ray.

    Args:
        work: What to run.
        settings: Where MLflow is, and the cluster.
        logs: Folder of the trials' output.
        note: Called when a node is lost.
        on_line: Gets every line of the output, when its trial has ended.
    """

    def __init__(
        self,
        work: Work,
        settings: TrainSettings,
        logs: Path,
        note: Callable[[str], None],
        on_line: OnLine | None = None,
    ) -> None:
        super().__init__(on_line)
        self._work, self._settings, self._logs, self._note = work, settings, logs, note
        self._address = settings.training.ray_address
        self._tasks: dict[str, Any] = {}
        self._attempts: dict[str, int] = {}
        self._cancelled: set[str] = set()
        self._bundles: dict[tuple[tuple[str, Path], ...], tuple[Any, Mapping[str, str]]] = {}
        self._task: Any = None

    def __enter__(self) -> RayRunner:
        check_store(self._settings, self._address)
        ray = import_ray()
        connect_ray(ray, self._address)
        if self._work.project.environment != "none":
            self._note("environment: that of the cluster's nodes; the project's own is not made")
        ray.cloudpickle.register_pickle_by_value(remote)
        cpus = self._settings.training.ray_cpus
        self._task = ray.remote(num_cpus=cpus, max_retries=0)(remote.run_bundle)
        return self

    def __exit__(self, *_: object) -> None:
        ray = import_ray()
        for run_id in list(self._tasks):
            self._stop(run_id)
        if self._tasks:
            # Scripts get time to end; without the cluster they would be killed.
            ray.wait(list(self._tasks.values()), num_returns=len(self._tasks), timeout=_FORGET_S)
        ray.cloudpickle.unregister_pickle_by_value(remote)
        ray.shutdown()

    def _begin(self, trial: Trial) -> Path:
        self._check_artifacts(trial)
        log = self._logs / f"train-{trial.run_id}.log"
        log.touch()
        self._attempts[trial.run_id] = 0
        self._submit(trial)
        return log

    def _check_artifacts(self, trial: Trial) -> None:
        """Ask the server where artifacts go; it may be a folder that only it can see."""
        if not self._address:
            return
        import mlflow

        experiment = mlflow.MlflowClient().get_experiment(trial.experiment_id)
        scheme = urlsplit(experiment.artifact_location).scheme
        if scheme in ("", "file"):
            raise InvalidInputError(
                f"The experiment `{experiment.name}` keeps artifacts in "
                f"`{experiment.artifact_location}`, which the nodes of a cluster do not see.",
                hint="Start the MLflow server with `--artifacts-destination`, or use another "
                "experiment.",
            )

    def _submit(self, trial: Trial) -> None:
        ray = import_ray()
        self._attempts[trial.run_id] += 1
        point = self._work.project.entry_point(self._work.entry_point)
        inputs = local_inputs(point, trial.parameters)
        key = tuple(inputs.items())
        if key not in self._bundles:
            bundle = pack(self._work.project.folder, inputs)
            # Sent to each node once, however many trials share it.
            self._bundles[key] = ray.put(bundle.content), bundle.names
        content, names = self._bundles[key]
        command = _command(self._work, {**trial.parameters, **names})
        environment = _environment(self._settings, trial)
        self._tasks[trial.run_id] = self._task.remote(content, command, environment)

    def _poll(self) -> tuple[str, int] | None:
        ray = import_ray()
        ready, _ = ray.wait(list(self._tasks.values()), num_returns=1, timeout=_POLL_S)
        for run_id, task in list(self._tasks.items()):
            if task in ready:
                del self._tasks[run_id]
                code = self._result(run_id, task)
                if code is not None:
                    return run_id, code
        return None

    def _result(self, run_id: str, task: object) -> int | None:
        """Return the exit code, or None if the trial has begun again."""
        ray = import_ray()
        try:
            code, output = ray.get(task)
        except ray.exceptions.RayError as error:
            if run_id in self._cancelled:
                return SIGNALLED + signal.SIGTERM
            lost = self._is_lost(error)
            if lost and self._attempts[run_id] < ATTEMPTS:
                what = type(error).__name__
                self._note(f"run {run_id}: its node was lost ({what}), so it begins again")
                self._submit(self._running[run_id].trial)
                return None
            code = SIGNALLED + signal.SIGKILL if lost else 1
            output = f"{error}\n".encode()
        self._write(run_id, output)
        return int(code)

    def _is_lost(self, error: Exception) -> bool:
        """Whether a task failed because of where it ran, and not because of the script."""
        faults = import_ray().exceptions
        return not isinstance(error, faults.RayTaskError | faults.TaskCancelledError)

    def _write(self, run_id: str, output: bytes) -> None:
        (self._logs / f"train-{run_id}.log").write_bytes(output)
        for line in output.decode(errors="replace").splitlines():
            self._on_line(run_id, line)

    def _stop(self, run_id: str) -> None:
        self._cancelled.add(run_id)
        if run_id in self._tasks:
            import_ray().cancel(self._tasks[run_id])


def _command(work: Work, parameters: Mapping[str, str]) -> str:
    from mlflow.projects import _project_spec

    project = _project_spec.load_project(str(work.project.folder))
    point = project.get_entry_point(work.entry_point)
    settled, values = for_mlflow(work.project.entry_point(work.entry_point), parameters)
    point.command = settled or point.command
    # Without a folder to download to, MLflow leaves paths as they are.
    command: str = point.compute_command(values, None)
    return command


def _environment(settings: TrainSettings, trial: Trial) -> dict[str, str]:
    ours = script_environment(settings)
    sent = {name: value for name, value in ours.items() if name.startswith(_SENT)}
    own = {"MLFLOW_RUN_ID": trial.run_id, "MLFLOW_EXPERIMENT_ID": trial.experiment_id}
    return {**sent, **trial.environment, **own}
