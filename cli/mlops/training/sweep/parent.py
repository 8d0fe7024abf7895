"""The parent run of a sweep: created or resumed, and closed with its result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mlops.errors import ConflictError
from mlops.registry.faults import mlflow_errors
from mlops.training.processes import owner_tags
from mlops.training.runs import Fate
from mlops.training.sweep.history import BEST_TAG, NAME_TAG, SWEEP_TAG, write_spec
from mlops.training.sweep.records import SweepSpec, TrialRecord

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

    from mlops.settings.needs import StoreSettings

_MAX_VALUE = 5000


class Parent:
    """A sweep's own run, which is RUNNING while it is entered; a context manager.

    Args:
        client: Where it is.
        settings: For the words of errors.
        run: The run.
        spec: The sweep.

    Attributes:
        fate: Its final status; KILLED unless it is known to have ended otherwise.
    """

    def __init__(
        self, client: MlflowClient, settings: StoreSettings, run: Run, spec: SweepSpec
    ) -> None:
        self._client = client
        self._settings = settings
        self._spec = spec
        self.run = run
        self.run_id: str = run.info.run_id
        self.fate: Fate = "KILLED"

    def __enter__(self) -> Parent:
        return self

    def __exit__(self, *_: object) -> None:
        with mlflow_errors(self._settings):
            self._client.set_terminated(self.run_id, self.fate)

    def has_best(self, trial: TrialRecord, done: int) -> None:
        """Record the best trial so far.

        Args:
            trial: It has a value.
            done: How many trials have ended; the step of the metric.
        """
        assert trial.value is not None
        with mlflow_errors(self._settings):
            name = f"best_{self._spec.metric}"
            self._client.log_metric(self.run_id, name, trial.value, step=done)
            self._client.set_tag(self.run_id, BEST_TAG, trial.run_id)


def begin_parent(
    client: MlflowClient,
    settings: StoreSettings,
    experiment: str,
    spec: SweepSpec,
    tags: Mapping[str, str],
) -> Parent:
    """Create the parent run of a new sweep, with all that is needed to continue with it."""
    with mlflow_errors(settings):
        name = f"{spec.sampler} sweep: {', '.join(spec.axes)}"
        run = client.create_run(
            experiment, tags={**tags, SWEEP_TAG: spec.sampler, NAME_TAG: name[:_MAX_VALUE]}
        )
        parent = Parent(client, settings, run, spec)
        try:
            write_spec(client, parent.run_id, spec)
            for key, value in _params(spec).items():
                client.log_param(parent.run_id, key, value[:_MAX_VALUE])
        except BaseException:
            client.set_terminated(parent.run_id, "FAILED")
            raise
    return parent


def reopen_parent(
    client: MlflowClient, settings: StoreSettings, run: Run, spec: SweepSpec
) -> Parent:
    """Resume the parent run of a sweep that was stopped, or is done.

    Raises:
        ConflictError: Another command is at it.
    """
    if run.info.status == "RUNNING":
        raise ConflictError(
            f"The sweep `{run.info.run_id}` is running.",
            hint="Wait for it, or stop its `mlops train` first. If that was on another machine and "
            f"is dead: `mlflow runs update --run-id {run.info.run_id} --status KILLED`.",
        )
    with mlflow_errors(settings):
        client.update_run(run.info.run_id, status="RUNNING")
        for key, value in owner_tags().items():
            client.set_tag(run.info.run_id, key, value)
        write_spec(client, run.info.run_id, spec)
    return Parent(client, settings, run, spec)


def _params(spec: SweepSpec) -> dict[str, str]:
    about = {
        "sweep.sampler": spec.sampler,
        "sweep.trials": str(spec.trials),
        "sweep.metric": f"{spec.direction} {spec.metric}" if spec.metric else "",
        "sweep.seed": str(spec.seed) if spec.sampler != "grid" else "",
    }
    values = {**spec.given, **{name: str(axis) for name, axis in spec.axes.items()}}
    return {**values, **{name: value for name, value in about.items() if value}}
