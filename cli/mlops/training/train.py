"""`mlops train`: one run of an MLproject, from its parameters to a registered model."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlops.errors import UsageError
from mlops.registry import mlflow_errors
from mlops.registry.aliases import check_alias, move_alias
from mlops.registry.logged import logged_models
from mlops.registry.refs import look_up_model, version_numbers
from mlops.registry.versions import check_model_name, register
from mlops.spec.model import ModelVersion
from mlops.training.checkout import local_copy
from mlops.training.environment import Difference, differences
from mlops.training.environments import check_manager, resolve_manager
from mlops.training.execution import Done, Job, execute
from mlops.training.interrupts import signals_interrupt
from mlops.training.parameters import all_values, assign
from mlops.training.progress import Progress, Silent
from mlops.training.project import read_project
from mlops.training.provenance import HOW, collect, describe
from mlops.training.registration import choose_model, next_commands
from mlops.training.runs import Fate

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from mlops.settings import Settings


@dataclass(frozen=True, slots=True)
class TrainRequest:
    """What to train.

    Attributes:
        project: Folder of an MLproject, a git URI or a zip.
        parameters: Words of the form name=value.
        entry_point: Which entry point of the project, or a script in it.
        experiment: MLflow experiment; empty means the setting, else the project's name.
        env_manager: `auto`, `local`, `uv`, `virtualenv` or `conda`; empty means the setting.
        register: Registered model to make a version of; empty means the project's name.
        no_register: Leave the model unregistered.
        model: Which of the run's models to register, where it logged several.
        alias: Alias to put on the new version; empty means none.
        require_clean: Refuse code that no commit describes.
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
        params: What the run was given and what its script logged.
        metrics: The last value of each metric.
        model: The registered version, if one was made.
        alias: The alias that it carries now, if one was asked for.
        moved_from: The version that had the alias before, 0 if none.
        duration_s: Wall time of the whole command in seconds.
        log: File with everything the script wrote.
        environment: Packages that differ from what the project asks for.
        code: The commit that ran, and whether files differed from it.
        profile: Why the run's models have no reference profile; empty if they have.
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
    profile: str
    next_commands: tuple[str, ...]


def train(
    request: TrainRequest, settings: Settings, progress: Progress | None = None
) -> TrainResult:
    """Run a project, give the run its final status, and register the model it logged.

    Args:
        request: What to train.
        settings: Where MLflow is.
        progress: Told of phases and of the script's output.

    Raises:
        UsageError: The registration options contradict each other.
        InvalidInputError: MLproject or parameters are wrong, or the code is to be clean and is
            not; nothing was run.
        NotFoundError: There is no such project or entry point.
        MlopsError: The script failed or was killed; the run says so, and its last lines are in
            the message.
        KeyboardInterrupt: Ctrl-C or SIGTERM; the run is KILLED and no process is left.
    """
    started = time.monotonic()
    progress = progress or Silent()
    _check_options(request)
    with local_copy(request.project) as folder, signals_interrupt():
        job, gaps = _prepare(request, settings, folder, progress)
        done = execute(job, settings, progress)
        progress.phase("registering")
        with mlflow_errors(settings):
            profile = _describe(done, job, progress)
            model = _register(request, job, done)
            moved_from = _set_alias(done.client, model, request.alias)
            following = _next(done.client, settings, model, request.alias)
    return TrainResult(
        run_id=done.run.info.run_id,
        experiment=job.experiment,
        status="FINISHED",
        params=dict(done.run.data.params),
        metrics=dict(done.run.data.metrics),
        model=model,
        alias=request.alias if model else "",
        moved_from=moved_from,
        duration_s=time.monotonic() - started,
        log=done.log,
        environment=gaps,
        code=CodeFacts(job.provenance.code.commit, job.provenance.code.dirty),
        profile=profile,
        next_commands=following,
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


def _prepare(
    request: TrainRequest, settings: Settings, folder: Path, progress: Progress
) -> tuple[Job, tuple[Difference, ...]]:
    project = read_project(folder)
    entry_point = project.entry_point(request.entry_point)
    given = assign(entry_point, request.parameters).given
    wanted = request.env_manager or settings.training.env_manager
    check_manager(wanted)
    manager = resolve_manager(wanted, project)
    gaps = differences(project.environment_file) if manager == "local" else ()
    for gap in gaps:
        progress.note(f"environment: {gap}")
    values = all_values(entry_point, given)
    provenance = collect(
        settings,
        folder,
        entry_point,
        values,
        env_manager=manager,
        clean=request.require_clean,
    )
    job = Job(
        project=project,
        source=str(folder) if Path(request.project).expanduser().is_dir() else request.project,
        entry_point=entry_point.name,
        given=given,
        values=values,
        env_manager=manager,
        experiment=request.experiment or settings.tracking.experiment or project.name,
        provenance=provenance,
    )
    return job, gaps


def _next(
    client: MlflowClient, settings: Settings, model: ModelVersion | None, alias: str
) -> tuple[str, ...]:
    registered = look_up_model(client, model.name) if model is not None else None
    if model is None or registered is None:
        return ()
    aliases = {name: int(number) for name, number in registered.aliases.items()}
    numbers = version_numbers(client, model.name)
    return next_commands(model, numbers, aliases, alias, settings.project_name)


def _describe(done: Done, job: Job, progress: Progress) -> str:
    """Give every model of the run its profile; say why not if there is none."""
    reason = ""
    for model in logged_models(done.client, done.run.info.run_id):
        files, folder = job.provenance.data, job.project.folder
        reason = describe(done.client, done.run, model, files, folder)
        if reason:
            progress.note(f"no reference profile: {reason}. To have one, {HOW}")
    return reason


def _set_alias(client: MlflowClient, model: ModelVersion | None, alias: str) -> int:
    """Return the version that had the alias before."""
    if model is None or not alias:
        return 0
    return move_alias(client, model.name, model.version, alias).before


def _register(request: TrainRequest, job: Job, done: Done) -> ModelVersion | None:
    if request.no_register:
        return None
    needed = bool(request.register or request.alias)
    model = choose_model(done.client, done.run.info.run_id, request.model, needed=needed)
    if model is None:
        return None
    return register(done.client, model, request.register or job.project.name, job.source)
