"""The loop of a sweep: start, watch, stop, record; until there is nothing left to do."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from mlops.errors import InvalidInputError, did_you_mean, one_of
from mlops.registry.faults import mlflow_errors
from mlops.training.command import all_values
from mlops.training.execution import Job
from mlops.training.progress import Progress
from mlops.training.provenance import keep
from mlops.training.runner import SIGNALLED, Outcome, Runner, Trial
from mlops.training.runs import OwnedRun, fate_of
from mlops.training.sweep.history import (
    NAME_TAG,
    NOTE_TAG,
    NUMBER_TAG,
    PARENT_TAG,
    POINT_TAG,
    PRUNED_TAG,
    record_of,
    steps_of,
)
from mlops.training.sweep.parent import Parent
from mlops.training.sweep.records import (
    SETTLED,
    Board,
    SweepSpec,
    TrialRecord,
    best_of,
    name_of,
)
from mlops.training.sweep.samplers import Sampler

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

    from mlops.settings.needs import StoreSettings

#: Seconds between two looks at the metrics of running trials.
_WATCH_S = 1.0
#: Seconds that a trial has to end after SIGTERM.
_GRACE_S = 5.0
_LAST_LINES = 20
_MAX_NOTE = 500

#: What is still to be run: a trial's number, and its point if it ran before.
ToDo = Iterator[tuple[int, Mapping[str, str] | None]]


class Drive:
    """Runs the trials of one sweep.

    Args:
        spec: The sweep.
        job: What its trials run.
        parent: Its run.
        chooser: Chooses points.
        client: Where the runs are.
        settings: For the words of errors.
        tags: Of every trial's run.
        progress: Called with every change.
        known: Trials of an earlier process, by number.
    """

    def __init__(
        self,
        spec: SweepSpec,
        job: Job,
        parent: Parent,
        chooser: Sampler,
        client: MlflowClient,
        settings: StoreSettings,
        tags: Mapping[str, str],
        progress: Progress,
        known: Mapping[int, TrialRecord],
    ) -> None:
        self._spec, self._job, self._parent = spec, job, parent
        self._chooser, self._client, self._settings = chooser, client, settings
        self._tags, self._progress = tags, progress
        self._records = dict(known)
        self._open: dict[str, tuple[OwnedRun, TrialRecord]] = {}
        self._tails: dict[str, deque[str]] = {}
        self._pruned: dict[str, str] = {}
        self._entry = job.project.entry_point(job.entry_point)

    @property
    def trials(self) -> tuple[TrialRecord, ...]:
        """Every trial so far, by number."""
        return tuple(self._records[number] for number in sorted(self._records))

    def on_line(self, run_id: str, text: str) -> None:
        """Take a line of a trial's output."""
        if run_id in self._open:
            self._tails[run_id].append(text)
            self._progress.line(f"{self._open[run_id][1].name}: {text}")

    def run(self, runner: Runner, todo: ToDo, jobs: int) -> None:
        """Run what is to be done, so many at a time.

        Raises:
            InvalidInputError: The first trial that completed has not logged the metric.
        """
        try:
            self._run(runner, todo, jobs)
        except BaseException:
            self._stop(runner)
            raise

    def _run(self, runner: Runner, todo: ToDo, jobs: int) -> None:
        self._fill(runner, todo, jobs)
        while self._open:
            outcome = runner.wait(_WATCH_S if self._spec.prune else None)
            if outcome is None:
                if self._spec.prune:
                    self._watch(runner)
                continue
            try:
                # The next trial computes while this one is recorded.
                if self._is_under_way and not self._chooser.learns:
                    self._fill(runner, todo, jobs)
            finally:
                self._end(outcome)
            self._fill(runner, todo, jobs)

    def _fill(self, runner: Runner, todo: ToDo, jobs: int) -> None:
        """Begin trials while there is room."""
        while len(runner.running) < jobs and (following := next(todo, None)) is not None:
            self._begin(runner, *following)

    @property
    def _is_under_way(self) -> bool:
        """Whether a trial has completed as it should; before that the next one has to wait."""
        return any(trial.state == "complete" for trial in self._records.values())

    def _stop(self, runner: Runner) -> None:
        """End what runs, and mark it; a run is marked only when nothing writes to it any more."""
        for run_id in self._open:
            runner.cancel(run_id)
        while self._open and runner.wait(_GRACE_S) is not None:
            pass
        for run_id in list(self._open):
            owned, record = self._open.pop(run_id)
            owned.__exit__(None, None, None)
            self._records[record.number] = replace(record, state="interrupted")

    def _begin(self, runner: Runner, number: int, point: Mapping[str, str] | None) -> None:
        point = self._chooser.begin(number, point)
        given = {**self._job.given, **point}
        tags = {
            **self._tags,
            PARENT_TAG: self._parent.run_id,
            NUMBER_TAG: str(number),
            POINT_TAG: json.dumps(point),
            NAME_TAG: name_of(point),
        }
        owned = OwnedRun(
            self._client,
            self._settings,
            self._parent.run.info.experiment_id,
            tags,
            all_values(self._entry, given),
        )
        run_id = owned.__enter__()
        record = TrialRecord(number, name_of(point), dict(point), run_id, "running")
        self._open[run_id], self._tails[run_id] = (owned, record), deque(maxlen=_LAST_LINES)
        self._records[number] = record
        with mlflow_errors(self._settings):
            keep(self._client, run_id, self._job.provenance)
        runner.start(Trial(run_id, self._parent.run.info.experiment_id, given))
        self._show(None)

    def _watch(self, runner: Runner) -> None:
        for run_id, (_, record) in self._open.items():
            if run_id in self._pruned:
                continue
            with mlflow_errors(self._settings):
                steps = steps_of(self._client, run_id, self._spec.metric)
            if self._chooser.hopeless(record.number, steps):
                step, value = steps[-1]
                self._pruned[run_id] = f"{self._spec.metric} was {value:.6g} at step {step}"
                runner.cancel(run_id)

    def _end(self, outcome: Outcome) -> None:
        run_id = outcome.trial.run_id
        owned, _ = self._open.pop(run_id)
        tail = self._tails.pop(run_id)
        pruned = self._pruned.pop(run_id, "") if outcome.ending == "cancelled" else ""
        owned.fate = "KILLED" if pruned else fate_of(outcome.code)
        note = pruned or _note(outcome, tail)
        with mlflow_errors(self._settings):
            if pruned:
                self._client.set_tag(run_id, PRUNED_TAG, "true")
            if note:
                self._client.set_tag(run_id, NOTE_TAG, note)
            owned.__exit__(None, None, None)
            run = self._client.get_run(run_id)
            steps = steps_of(self._client, run_id, self._spec.metric) if self._spec.prune else ()
        record = record_of(run, self._spec)
        if record.state == "failed" and not record.note:
            record = replace(record, note="the script marked its run FAILED")
        self._records[record.number] = record
        self._check_metric(run)
        self._chooser.tell(record, steps)
        if best_of(self._spec, self.trials) is record:
            self._parent.has_best(record, sum(t.state in SETTLED for t in self._records.values()))
        self._show(record)

    def _check_metric(self, run: Run) -> None:
        """Stop before a typing error costs a night."""
        metric, logged = self._spec.metric, run.data.metrics
        if not metric or metric in logged or run.info.status != "FINISHED":
            return
        if not any(trial.state == "complete" for trial in self._records.values()):
            raise InvalidInputError(
                f"The run `{run.info.run_id}` finished and logged no metric `{metric}`.",
                hint=did_you_mean(metric, logged) or f"It logged {one_of(sorted(logged))}.",
            )

    def _show(self, changed: TrialRecord | None) -> None:
        self._progress.board(Board(self._spec, self.trials, changed))


def _note(outcome: Outcome, tail: deque[str]) -> str:
    """Say why a trial ended as it did; empty for success."""
    if outcome.code == 0:
        return ""
    what = (
        f"killed by signal {outcome.code - SIGNALLED}"
        if outcome.code > SIGNALLED
        else f"exit code {outcome.code}"
    )
    last = next((line.strip() for line in reversed(tail) if line.strip()), "")
    return f"{what}: {last}"[:_MAX_NOTE] if last else what
