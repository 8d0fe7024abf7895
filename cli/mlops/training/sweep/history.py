"""A sweep in MLflow: one parent run, and one child run per trial.

Everything that is needed to continue is there: the spec as `sweep.json` of the parent, number and
point as tags of each child, metrics and status as MLflow has them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mlops.errors import InvalidInputError, NotFoundError
from mlops.training.search_space import Axis
from mlops.training.sweep.records import SETTLED, State, SweepSpec, TrialRecord, name_of
from mlops.training.sweep.samplers import Steps

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

#: Of a parent run: its sampler. Its presence makes a run a sweep.
SWEEP_TAG = "mlops.sweep"
#: Of a parent run: the run of its best trial.
BEST_TAG = "mlops.sweep.best_run_id"
#: Of a child run: the trial's number, its point, and why it ended as it did.
NUMBER_TAG = "mlops.sweep.trial"
POINT_TAG = "mlops.sweep.point"
NOTE_TAG = "mlops.sweep.note"
PRUNED_TAG = "mlops.sweep.pruned"
PARENT_TAG = "mlflow.parentRunId"
NAME_TAG = "mlflow.runName"

_SPEC_FILE = "sweep.json"
_PAGE = 500


def write_spec(client: MlflowClient, run_id: str, spec: SweepSpec) -> None:
    """Keep the spec with its parent run."""
    client.log_dict(run_id, asdict(spec), _SPEC_FILE)


def read_spec(run: Run) -> SweepSpec:
    """Return the spec of a parent run.

    Raises:
        InvalidInputError: It is of another version, or was not written to its end.
    """
    from mlflow.artifacts import load_text
    from mlflow.exceptions import MlflowException

    try:
        raw: dict[str, Any] = json.loads(load_text(f"{run.info.artifact_uri}/{_SPEC_FILE}"))
        axes = {
            name: Axis(**{**axis, "values": tuple(axis["values"])})
            for name, axis in raw.pop("axes").items()
        }
        return SweepSpec(axes=axes, **raw)
    except (MlflowException, OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInputError(
            f"The run `{run.info.run_id}` is a sweep whose `{_SPEC_FILE}` cannot be read: {error}",
            hint="Begin a new sweep.",
        ) from error


def find_sweep(client: MlflowClient, experiment: str, wanted: str) -> Run:
    """Return the parent run of a sweep.

    Args:
        client: Where to look.
        experiment: Id of the experiment that `last` is looked for in.
        wanted: Its run id, or `last` for the newest.

    Raises:
        NotFoundError: There is none.
        InvalidInputError: The run is not a sweep.
    """
    if wanted == "last":
        found = client.search_runs(
            [experiment],
            f"tag.`{SWEEP_TAG}` != ''",
            max_results=1,
            order_by=["attributes.start_time DESC"],
        )
        if not found:
            raise NotFoundError(
                "There is no sweep to resume.", hint="`mlops train -P alpha=0.1,0.5` is one."
            )
        return found[0]
    run = client.get_run(wanted)
    if SWEEP_TAG not in run.data.tags:
        parent = run.data.tags.get(PARENT_TAG)
        raise InvalidInputError(
            f"The run `{wanted}` is not a sweep.",
            hint=f"It is a trial of `{parent}`." if parent else "Give the parent run's id.",
        )
    return run


def trials_of(client: MlflowClient, parent: Run, spec: SweepSpec) -> list[TrialRecord]:
    """Return the trials of a sweep, each once, by number; a result wins over what was stopped."""
    by_number: dict[int, TrialRecord] = {}
    for run in _children(client, parent):
        trial = record_of(run, spec)
        before = by_number.get(trial.number)
        if before is None or before.state not in SETTLED:
            by_number[trial.number] = trial
    return [by_number[number] for number in sorted(by_number)]


def record_of(run: Run, spec: SweepSpec) -> TrialRecord:
    """Return a child run as a trial."""
    tags, metrics = run.data.tags, dict(run.data.metrics)
    point = json.loads(tags.get(POINT_TAG, "{}"))
    value = metrics.get(spec.metric)
    state, note = _state(run.info.status, tags), tags.get(NOTE_TAG, "")
    if state == "complete" and spec.metric and (value is None or math.isnan(value)):
        state, note = "failed", f"it logged no `{spec.metric}`"
    ended = run.info.end_time
    return TrialRecord(
        number=int(tags[NUMBER_TAG]),
        name=name_of(point),
        point=point,
        run_id=run.info.run_id,
        state=state,
        value=value,
        metrics=metrics,
        duration_s=(ended - run.info.start_time) / 1000 if ended else None,
        note=note,
    )


def steps_of(client: MlflowClient, run_id: str, metric: str) -> Steps:
    """Return the history of a metric, one value per step, in the order of the steps."""
    history = client.get_metric_history(run_id, metric) if metric else []
    by_step = {m.step: m.value for m in sorted(history, key=lambda m: m.timestamp)}
    return [(step, by_step[step]) for step in sorted(by_step) if math.isfinite(by_step[step])]


def _children(client: MlflowClient, parent: Run) -> Iterator[Run]:
    """Yield the child runs that are trials, the oldest first."""
    token = None
    while True:
        page = client.search_runs(
            [parent.info.experiment_id],
            f"tag.`{PARENT_TAG}` = '{parent.info.run_id}'",
            max_results=_PAGE,
            order_by=["attributes.start_time ASC"],
            page_token=token,
        )
        yield from (run for run in page if run.data.tags.get(NUMBER_TAG, "").isdigit())
        token = page.token
        if not token:
            return


def _state(status: str, tags: dict[str, str]) -> State:
    if PRUNED_TAG in tags:
        return "pruned"
    states: dict[str, State] = {"FINISHED": "complete", "FAILED": "failed", "KILLED": "interrupted"}
    return states.get(status, "running")
