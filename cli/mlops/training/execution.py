"""One run of a checked job: created, executed, and given its final status."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mlops.errors import MlopsError
from mlops.registry import experiment_id, mlflow_errors, open_registry
from mlops.registry.client import other_artifact_location
from mlops.registry.details import read_details
from mlops.registry.logged_models import Logged
from mlops.training.progress import Progress
from mlops.training.project import Project
from mlops.training.provenance import Provenance, keep
from mlops.training.runner import SIGNALLED, Trial, Work, open_runner
from mlops.training.runs import OwnedRun, close_abandoned, fate_of, run_tags
from mlops.training.script_hints import hint_for
from mlops.training.script_warnings import optional_note

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

    from mlops.settings.needs import TrainSettings

_LAST_LINES = 20


@dataclass(frozen=True, slots=True)
class Job:
    """What to run, checked.

    Attributes:
        project: The project in its local folder.
        source: How the user named it.
        entry_point: Name of one of its entry points, or a script.
        given: Parameters from the command line.
        values: All parameters, with the defaults.
        env_manager: As `mlflow run` has it.
        experiment: Name of the experiment.
        provenance: Where it comes from.
        tags: What else its runs are tagged with.
        hidden: Features whose values are to be kept nowhere.
    """

    project: Project
    source: str
    entry_point: str
    given: Mapping[str, str]
    values: Mapping[str, str]
    env_manager: str
    experiment: str
    provenance: Provenance
    tags: Mapping[str, str] = field(default_factory=dict)
    hidden: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Done:
    """A run that finished.

    Attributes:
        client: Where it is.
        run: The run with its final parameters and metrics.
        log: File with everything the script wrote.
    """

    client: MlflowClient
    run: Run
    log: Path


def execute(job: Job, settings: TrainSettings, progress: Progress) -> Done:
    """Run a job to its end.

    Raises:
        MlopsError: The script failed or was killed.
        KeyboardInterrupt: A signal asked to stop; the run is KILLED and no process is left.
    """
    tail: deque[str] = deque(maxlen=_LAST_LINES)

    def on_line(_run_id: str, text: str) -> None:
        tail.append(text)
        progress.line(text)

    work = Work(job.project, job.entry_point, job.env_manager)
    # First of all, as a fork is only safe while there is nothing to share but imports.
    with open_runner(work, settings, on_line, progress.note) as runner:
        progress.phase("opening MLflow")
        client = open_registry(settings)
        with mlflow_errors(settings):
            experiment = open_experiment(client, settings, job.experiment, progress)
            tags = {
                **run_tags(job.source, job.entry_point, job.env_manager),
                **job.provenance.tags,
                **job.tags,
            }
        owned = OwnedRun(client, settings, experiment, tags, job.values)
        try:
            with owned as run_id:
                with mlflow_errors(settings):
                    keep(client, run_id, job.provenance)
                progress.phase(f"training, run {run_id}")
                (outcome,) = runner.run([Trial(run_id, experiment, job.given)])
                owned.fate = fate_of(outcome.code)
        except KeyboardInterrupt:
            progress.note(f"interrupted: run {owned.run_id or '(none yet)'} is KILLED")
            raise
    if owned.status != "FINISHED":
        raise _failure(owned, outcome.code, outcome.log, tail, job.env_manager)
    with mlflow_errors(settings):
        return Done(client, client.get_run(owned.run_id), outcome.log)


def describe_models(
    client: MlflowClient, run: Run, models: Sequence[Logged], job: Job, progress: Progress
) -> str:
    """Give models of a run their reference profiles; return why not if there is none.

    The user is told, once, and how to name a table where none is. A model without named columns
    can have no profile, so of that nothing is said. Of columns that may lack a value and can have
    no null the user is told, too.
    """
    from mlops.training.provenance import reference

    for note in dict.fromkeys(optional_note(read_details(model.source)) for model in models):
        if note:
            progress.note(note)
    reasons = [_described(client, run, model, job) for model in models]
    for reason in dict.fromkeys(reasons):
        if reason and reason != reference.NO_COLUMNS:
            how = reference.how_to_name(reason)
            progress.note(f"no reference profile ({reference.PURPOSE}): {reason}{how}")
    return next(filter(None, reversed(reasons)), "")


def _described(client: MlflowClient, run: Run, model: Logged, job: Job) -> str:
    """Give a model its profile, from what the run or the step that logged it names."""
    from mlops.training.provenance import reference
    from mlops.training.provenance.data import data_files

    folder, files = job.project.folder, job.provenance.data
    if model.run_id != run.info.run_id:
        run = client.get_run(model.run_id)
        step = job.project.entry_points.get(run.data.tags.get("mlflow.project.entryPoint", ""))
        if step is not None:
            files = (*data_files(step, run.data.params, folder), *files)
    return reference.describe(client, run, model, files, folder, job.hidden)


def open_experiment(
    client: MlflowClient, settings: TrainSettings, name: str, progress: Progress
) -> str:
    """Return an experiment's id, creating it if need be, and close runs whose process is gone."""
    experiment = experiment_id(client, settings, name)
    for run_id in close_abandoned(client, experiment):
        progress.note(f"run {run_id}: its `mlops train` ended without reporting, now KILLED")
    if place := other_artifact_location(client, settings, experiment):
        progress.note(
            f"experiment {name} keeps its artifacts in {place}, not under "
            f"{settings.artifact_root}: its location was fixed when it was created; "
            "`--experiment` with a new name makes one there"
        )
    return experiment


def _failure(
    owned: OwnedRun, code: int, log: Path, tail: Iterable[str], env_manager: str
) -> MlopsError:
    if code == 0:
        what = "The script marked its run FAILED"
    elif owned.status == "KILLED":
        what = f"The script was killed by {_signal(code)}"
    else:
        by = f" (killed by {_signal(code)})" if code > SIGNALLED else ""
        what = f"The script failed with exit code {code}{by}"
    lines = "\n".join(f"  | {line}" for line in tail)
    known = hint_for(tail, env_manager)
    hint = f"{known}. All of its output: {log}" if known else f"All of its output: {log}"
    if code == SIGNALLED + signal.SIGKILL:
        hint += ". An unexpected kill often means that memory ran out."
    return MlopsError(f"{what}; run {owned.run_id} is {owned.status}.\n{lines}".rstrip(), hint=hint)


def _signal(code: int) -> str:
    """Name the signal that an exit code above 128 is about.

    >>> _signal(139), _signal(255)
    ('SIGSEGV', 'signal 127')
    """
    number = code - SIGNALLED
    known = {each.value: each.name for each in signal.Signals}
    return known.get(number, f"signal {number}")
