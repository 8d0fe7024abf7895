"""A sweep from its options to its winner; a new one, or one that continues."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mlops.registry import mlflow_errors, open_registry
from mlops.registry.logged_models import models_of
from mlops.registry.trust import remember_trained
from mlops.training.execution import Job, describe_models, open_experiment
from mlops.training.progress import Progress
from mlops.training.project import Project
from mlops.training.registration import Registered, describable, from_here, register_run
from mlops.training.runner import OnLine, Runner, Work, open_runner
from mlops.training.runs import run_tags
from mlops.training.sweep.history import find_sweep, read_spec, steps_of, trials_of
from mlops.training.sweep.page import check_place, write_page
from mlops.training.sweep.parent import Parent, begin_parent, reopen_parent
from mlops.training.sweep.records import (
    SETTLED,
    SweepResult,
    SweepSpec,
    TrialRecord,
    best_of,
)
from mlops.training.sweep.samplers import Sampler, check_chooser, chooser_of
from mlops.training.sweep.sweep_spec import SweepOrder, extended, settle_spec
from mlops.training.sweep.trial_loop import Drive, ToDo

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from mlops.settings.needs import TrainSettings


@dataclass(frozen=True, slots=True)
class _Begun:
    """A sweep whose parent run is RUNNING.

    Attributes:
        spec: What it is.
        job: What its trials run.
        parent: Its run.
        known: Trials of an earlier process, by number.
        runner: Runs trials; None if there is nothing left to run.
        lines: Gets what they write.
        client: Where the runs are.
        tags: Of every trial's run.
    """

    spec: SweepSpec
    job: Job
    parent: Parent
    known: Mapping[int, TrialRecord]
    runner: Runner | None
    lines: _Relay
    client: MlflowClient
    tags: Mapping[str, str]

    @property
    def kept(self) -> int:
        """How many trials have a result already."""
        return sum(trial.state in SETTLED for trial in self.known.values())


class _Relay:
    """Passes lines on to a receiver set later; the runner has to exist before it."""

    def __init__(self) -> None:
        self.to: OnLine | None = None

    def __call__(self, run_id: str, text: str) -> None:
        if self.to is not None:
            self.to(run_id, text)


def sweep(order: SweepOrder, settings: TrainSettings, progress: Progress) -> SweepResult:
    """Run a sweep, or continue with one.

    Raises:
        UsageError: The options contradict each other.
        InvalidInputError: The axes are not a grid, or no completed trial has the metric.
        NotFoundError: There is no sweep to resume.
        ConflictError: Another command runs it.
        KeyboardInterrupt: A signal asked to stop; the sweep can be resumed.
    """
    started = time.monotonic()
    if order.options.html:
        check_place(Path(order.options.html))
    with ExitStack() as stack:
        begin = _go_on if order.options.resume else _begin
        begun = begin(order, settings, progress, stack)
        trials = _run_trials(begun, settings, order.options.jobs, progress)
        begun.parent.fate = "FINISHED" if _any_result(trials) else "FAILED"
    best = best_of(begun.spec, trials)
    registered = _register(order, begun.client, settings, best, progress)
    took = time.monotonic() - started
    result = _result(order, begun, trials, best, registered, took, settings.project_dir)
    if result.html is not None:
        write_page(result, begun.spec, result.html)
    return result


def _begin(
    order: SweepOrder, settings: TrainSettings, progress: Progress, stack: ExitStack
) -> _Begun:
    spec, job, lines = settle_spec(order), order.job, _Relay()
    check_chooser(spec)
    # First of all, as a fork is only safe while there is nothing to share but imports.
    work = Work(job.project, job.entry_point, job.env_manager)
    runner = stack.enter_context(open_runner(work, settings, lines, progress.note))
    client, experiment, tags = _open(job, settings, progress)
    parent = stack.enter_context(begin_parent(client, settings, experiment, spec, tags))
    return _Begun(spec, job, parent, {}, runner, lines, client, tags)


def _go_on(
    order: SweepOrder, settings: TrainSettings, progress: Progress, stack: ExitStack
) -> _Begun:
    client, experiment, tags = _open(order.job, settings, progress)
    with mlflow_errors(settings):
        run = find_sweep(client, experiment, order.options.resume)
        spec = extended(read_spec(run), order.options)
        known = {trial.number: trial for trial in trials_of(client, run, spec)}
    check_chooser(spec)
    _say_code_differs(run.data.tags, tags, progress)
    job = replace(
        order.job, entry_point=spec.entry_point, given=spec.given, env_manager=spec.env_manager
    )
    parent = stack.enter_context(reopen_parent(client, settings, run, spec))
    lines, runner = _Relay(), None
    if next(_todo(spec, known), None) is not None:
        work = Work(job.project, job.entry_point, job.env_manager)
        runner = stack.enter_context(open_runner(work, settings, lines, progress.note))
    return _Begun(spec, job, parent, known, runner, lines, client, tags)


def _open(
    job: Job, settings: TrainSettings, progress: Progress
) -> tuple[MlflowClient, str, dict[str, str]]:
    """Return the client, the experiment's id and the tags of every run."""
    progress.phase("opening MLflow")
    client = open_registry(settings)
    with mlflow_errors(settings):
        experiment = open_experiment(client, settings, job.experiment, progress)
        tags = {
            **run_tags(job.source, job.entry_point, job.env_manager),
            **job.provenance.tags,
            **job.tags,
        }
    return client, experiment, tags


def _result(
    order: SweepOrder,
    begun: _Begun,
    trials: tuple[TrialRecord, ...],
    best: TrialRecord | None,
    registered: Registered,
    duration_s: float,
    project_dir: Path,
) -> SweepResult:
    spec, run_id = begun.spec, begun.parent.run_id
    return SweepResult(
        run_id=run_id,
        experiment=order.job.experiment,
        status=begun.parent.fate,
        sampler=spec.sampler,
        seed=None if spec.sampler == "grid" else spec.seed,
        metric=spec.metric,
        direction=spec.direction,
        given=dict(spec.given),
        axes={name: str(axis) for name, axis in spec.axes.items()},
        trials=trials,
        kept=begun.kept,
        best=best,
        model=registered.model,
        alias=order.registration.alias if registered.model else "",
        moved_from=registered.moved_from,
        duration_s=duration_s,
        html=Path(order.options.html) if order.options.html else None,
        environment=order.environment,
        next_commands=from_here(registered.next_commands or _next(run_id, spec, best), project_dir),
    )


def _run_trials(
    begun: _Begun, settings: TrainSettings, jobs: int, progress: Progress
) -> tuple[TrialRecord, ...]:
    spec, known = begun.spec, begun.known
    if begun.runner is None:
        return tuple(known[number] for number in sorted(known))
    rest = f"{spec.trials - begun.kept} of {spec.trials}" if begun.kept else str(spec.trials)
    progress.phase(f"sweep {begun.parent.run_id}, {rest} trials")
    chooser = chooser_of(spec)
    _teach(chooser, begun.client, settings, spec, known)
    drive = Drive(
        spec, begun.job, begun.parent, chooser, begun.client, settings, begun.tags, progress, known
    )
    begun.lines.to = drive.on_line
    try:
        drive.run(begun.runner, _todo(spec, known), jobs)
    except KeyboardInterrupt:
        place = _folder(begun.job.project)
        progress.note(f"interrupted; to go on: mlops train{place} --resume {begun.parent.run_id}")
        raise
    return drive.trials


def _todo(spec: SweepSpec, known: Mapping[int, TrialRecord]) -> ToDo:
    """Yield the trials without a result: those that were stopped with the point they had."""
    for number in range(1, spec.trials + 1):
        trial = known.get(number)
        if trial is None:
            yield number, None
        elif trial.state not in SETTLED:
            yield number, trial.point


def _teach(
    chooser: Sampler,
    client: MlflowClient,
    settings: TrainSettings,
    spec: SweepSpec,
    known: Mapping[int, TrialRecord],
) -> None:
    for trial in known.values():
        if trial.state in SETTLED:
            with mlflow_errors(settings):
                steps = steps_of(client, trial.run_id, spec.metric) if spec.prune else ()
            chooser.tell(trial, steps)


def _any_result(trials: tuple[TrialRecord, ...]) -> bool:
    return any(trial.state in ("complete", "pruned") for trial in trials)


def _register(
    order: SweepOrder,
    client: MlflowClient,
    settings: TrainSettings,
    best: TrialRecord | None,
    progress: Progress,
) -> Registered:
    if not order.options.best or best is None:
        return Registered()
    progress.phase("registering")
    with mlflow_errors(settings):
        wanted, run = order.registration, client.get_run(best.run_id)
        models = models_of(client, best.run_id)
        describe_models(client, run, describable(models, wanted.model), order.job, progress)
        registered = register_run(client, models, best.run_id, wanted, order.job.source)
    remember_trained(settings, registered.model)
    return registered


def _next(run_id: str, spec: SweepSpec, best: TrialRecord | None) -> tuple[str, ...]:
    if best is not None:
        return (f"mlops train --resume {run_id} --best",)
    return () if spec.metric else (f"mlops train --resume {run_id} --minimize METRIC --best",)


def _say_code_differs(
    before: Mapping[str, str], now: Mapping[str, str], progress: Progress
) -> None:
    key = "mlflow.source.git.commit"
    if before.get(key, "") != now.get(key, ""):
        progress.note(
            f"the sweep began at commit {before.get(key) or '(none)'}, "
            f"the working tree is at {now.get(key) or '(none)'}"
        )


def _folder(project: Project) -> str:
    return "" if project.folder == Path.cwd() else f" {project.folder}"
