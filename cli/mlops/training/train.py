"""`mlops train`: a run of an MLproject, or a sweep of them, from parameters to a model."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mlops.errors import UsageError
from mlops.registry import mlflow_errors
from mlops.registry.aliases import check_alias
from mlops.registry.logged_models import models_of
from mlops.registry.trust import remember_trained
from mlops.registry.versions import check_model_name
from mlops.spec.model import ModelVersion
from mlops.spec.short_repr import short_repr
from mlops.training.checkout import local_copy
from mlops.training.command import all_values
from mlops.training.environment import Difference, differences
from mlops.training.environments import check_manager, resolve_manager
from mlops.training.execution import Job, describe_models, execute
from mlops.training.interrupts import signals_interrupt
from mlops.training.origin import ORIGIN_TAG, Origin, code_of, read_origin
from mlops.training.parameters import Assignment, assign
from mlops.training.progress import Progress, Silent
from mlops.training.project import project_folder, read_project
from mlops.training.provenance import collect
from mlops.training.registration import (
    Registered,
    Registration,
    describable,
    from_here,
    register_run,
)
from mlops.training.runs import Fate, read_tags
from mlops.training.script_warnings import example_warnings
from mlops.training.search_space import Axis
from mlops.training.sweep.records import SweepOptions, SweepResult
from mlops.training.sweep.sweep_spec import SweepOrder
from mlops.training.sweep.sweeping import sweep

if TYPE_CHECKING:
    from mlops.settings.needs import TrainSettings


@dataclass(frozen=True, slots=True)
class TrainRequest:
    """What to train.

    Attributes:
        project: Folder of an MLproject or in one, a git URI or a zip.
        parameters: Words of the form name=value, or @ and a YAML or JSON file.
        entry_point: Which entry point of the project, or a script in it.
        experiment: MLflow experiment; empty means the setting, else the project's name.
        env_manager: `auto`, `local`, `uv`, `virtualenv` or `conda`; empty means the setting.
        register: Registered model to make a version of; empty means the project's name.
        no_register: Leave the model unregistered.
        model: Which of the run's models to register, where it logged several.
        alias: Alias to put on the new version; empty means none.
        require_clean: Refuse tracked files that differ from the commit.
        refuse_untracked: Refuse these, and files that git does not track.
        grid: Words of the form name=value,value.
        from_run: A run whose code and parameters are taken where nothing else is given; empty for
            none.
        sweep: How several runs are made.
        tags: Words of the form name=value, for every run.
    """

    project: str = "."
    parameters: tuple[str, ...] = ()
    entry_point: str = "main"
    experiment: str = ""
    env_manager: str = ""
    register: str = ""
    no_register: bool = False
    model: str = ""
    alias: str = ""
    require_clean: bool = False
    refuse_untracked: bool = False
    grid: tuple[str, ...] = ()
    from_run: str = ""
    sweep: SweepOptions = field(default_factory=SweepOptions)
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CodeFacts:
    """Which code ran.

    Attributes:
        commit: The commit, empty if there is none.
        dirty: Whether files differed from it.
    """

    commit: str
    dirty: bool


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What came of it.

    Attributes:
        run_id: The MLflow run.
        experiment: Name of its experiment.
        status: FINISHED, or there would be no result.
        params: Given parameters and those that its script logged.
        metrics: The last value of each metric.
        model: The registered version, if one was made.
        alias: The alias that it carries now, if one was asked for.
        moved_from: The version that had the alias before, 0 if none.
        duration_s: Wall time of the whole command in seconds.
        log: File with everything the script wrote.
        environment: Packages that differ from what the project asks for.
        code: The commit that ran, and whether files differed from it.
        profile: Whether the run's models have a reference profile.
        no_profile: Why they have none; empty if they have, or if it is not known which of several
            runs below would be registered.
        unregistered: Why no version was registered; empty if one was.
        next_commands: What to do with the model, ready to be copied.
    """

    run_id: str
    experiment: str
    status: Fate
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    model: ModelVersion | None
    alias: str
    moved_from: int
    duration_s: float
    log: Path
    environment: tuple[Difference, ...]
    code: CodeFacts
    profile: bool
    no_profile: str
    unregistered: str
    next_commands: tuple[str, ...]

    def __repr__(self) -> str:
        return short_repr(
            self,
            run_id=self.run_id,
            model=self.model.label if self.model else None,
            alias=self.alias,
            metrics=dict(self.metrics),
            duration_s=round(self.duration_s, 1),
        )


def train(
    request: TrainRequest, settings: TrainSettings, progress: Progress | None = None
) -> TrainResult:
    """Run a project once: `train_or_sweep` for a request that is not a sweep.

    Raises:
        UsageError: It is a sweep.
    """
    result = train_or_sweep(request, settings, progress, may_sweep=False)
    assert isinstance(result, TrainResult)
    return result


def train_or_sweep(
    request: TrainRequest,
    settings: TrainSettings,
    progress: Progress | None = None,
    *,
    may_sweep: bool = True,
) -> TrainResult | SweepResult:
    """Run a project, give each run its final status, and register the model it logged.

    Args:
        request: What to train.
        settings: Where MLflow is.
        progress: Called with phases and the script's output.
        may_sweep: Whether several values of a parameter are welcome.

    Raises:
        UsageError: The options contradict each other.
        InvalidInputError: MLproject or parameters are wrong, or the code is to be clean and is
            not; nothing was run.
        NotFoundError: There is no such project or entry point.
        MlopsError: The script failed or was killed; the run says so, and its last lines are in
            the message.
        KeyboardInterrupt: Ctrl-C or SIGTERM; runs are KILLED and no process is left.
    """
    started = time.monotonic()
    progress = progress or Silent()
    _check_options(request)
    read_tags(request.tags)
    origin = read_origin(settings, request.from_run) if request.from_run else None
    source = origin.project(request.project) if origin else request.project
    with (
        local_copy(source) as tree,
        signals_interrupt(),
        code_of(tree, origin, progress) as folder,
    ):
        named = str(project_folder(tree)) if Path(source).expanduser().is_dir() else source
        job, axes, gaps = _prepare(request, settings, folder, named, origin, progress)
        registration = Registration(
            name=request.register or job.project.name,
            model=request.model,
            alias=request.alias,
            needed=bool(request.register or request.alias or request.sweep.best),
            project=settings.project_name,
        )
        if axes or request.sweep.asked_for:
            if not may_sweep:
                raise UsageError(f"`{next(iter(axes), 'sweep')}` has several values.")
            _check_sweep(request)
            order = SweepOrder(job, axes, request.sweep, registration, gaps)
            return sweep(order, settings, progress)
        _check_single(request)
        done = execute(job, settings, progress)
        for warning in example_warnings(done.log):
            progress.note(warning)
        progress.phase("registering")
        with mlflow_errors(settings):
            client, run_id = done.client, done.run.info.run_id
            models = models_of(client, run_id)
            described = describable(models, request.model)
            no_profile = describe_models(client, done.run, described, job, progress)
            registered = (
                Registered(why_none="`--no-register`")
                if request.no_register
                else register_run(client, models, run_id, registration, job.source)
            )
    remember_trained(settings, registered.model)
    return TrainResult(
        run_id=done.run.info.run_id,
        experiment=job.experiment,
        status="FINISHED",
        params=dict(done.run.data.params),
        metrics=dict(done.run.data.metrics),
        model=registered.model,
        alias=request.alias if registered.model else "",
        moved_from=registered.moved_from,
        duration_s=time.monotonic() - started,
        log=done.log,
        environment=gaps,
        code=CodeFacts(job.provenance.code.commit, job.provenance.code.dirty),
        profile=bool(described) and not no_profile,
        no_profile=no_profile,
        unregistered=registered.why_none,
        next_commands=from_here(registered.next_commands, settings.project_dir),
    )


def _check_options(request: TrainRequest) -> None:
    if request.no_register and (request.register or request.alias or request.model):
        raise UsageError(
            "`--no-register` leaves nothing for `--register`, `--model` or `--alias` to name.",
            hint="Leave one of them out.",
        )
    if request.alias:
        check_alias(request.alias)
    if request.register:
        check_model_name(request.register)


def _check_sweep(request: TrainRequest) -> None:
    if not request.sweep.best and (request.register or request.alias or request.model):
        raise UsageError(
            "A sweep registers nothing by itself.",
            hint="Add `--best`, with `--minimize METRIC` or `--maximize METRIC`, to register the "
            "winner.",
        )
    if request.sweep.resume and (request.parameters or request.grid or request.from_run):
        raise UsageError(
            "A sweep that goes on has its parameters already.",
            hint="Leave them out, or begin a new sweep without `--resume`.",
        )
    if request.sweep.best and request.no_register:
        raise UsageError("`--best` registers and `--no-register` does not.")


def _check_single(request: TrainRequest) -> None:
    if replace(request.sweep, jobs=1, seed=None) != SweepOptions():
        raise UsageError(
            "Those options are for a sweep, and no parameter has several values.",
            hint="For example `-P alpha=0.1,0.5`, `--grid name=a,b`, or `-P alpha=log:0.001..10 "
            "--sweep random`.",
        )


def _prepare(
    request: TrainRequest,
    settings: TrainSettings,
    folder: Path,
    source: str,
    origin: Origin | None,
    progress: Progress,
) -> tuple[Job, Mapping[str, Axis], tuple[Difference, ...]]:
    folder = project_folder(folder)
    project = read_project(folder)
    before = origin.entry_point if origin and request.entry_point == "main" else ""
    entry_point = project.entry_point(before or request.entry_point)
    assigned = Assignment({})
    if not request.sweep.resume:
        usual = origin.parameters(entry_point) if origin else None
        assigned = assign(entry_point, request.parameters, request.grid, usual)
        for note in assigned.notes:
            progress.note(note)
    wanted = request.env_manager or settings.training.env_manager
    check_manager(wanted)
    manager = resolve_manager(wanted, project)
    if wanted not in ("auto", manager) and project.environment == "none":
        progress.note(f"the project names no environment for {wanted}; it runs in this one")
    gaps = differences(project.environment_file) if manager == "local" else ()
    for gap in gaps:
        progress.note(f"environment: {gap}")
    values = all_values(entry_point, assigned.given)
    provenance = collect(
        settings,
        folder,
        entry_point,
        values,
        # The packages here are not those of a cluster's nodes.
        env_manager=manager if settings.training.backend == "local" else "",
        clean=request.require_clean or request.refuse_untracked,
        untracked=request.refuse_untracked,
    )
    job = Job(
        project=project,
        source=source,
        entry_point=entry_point.name,
        given=assigned.given,
        values=values,
        env_manager=manager,
        experiment=request.experiment or settings.tracking.experiment or project.name,
        provenance=provenance,
        tags=read_tags(request.tags) | ({ORIGIN_TAG: origin.run_id} if origin else {}),
        hidden=frozenset((*settings.journal.hash, *settings.journal.drop)),
    )
    return job, assigned.axes, gaps
