"""Trials that another machine will run, planned from a command line.

Nothing runs and nothing is written to MLflow here. So only what is known beforehand can be sent
away: one run, or a grid. What depends on results, such as a sampler, pruning or the best trial,
cannot.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mlops.errors import InvalidInputError, UsageError, one_of
from mlops.training.checkout import local_copy
from mlops.training.command import all_values, settle
from mlops.training.parameters import assign
from mlops.training.project import EntryPoint, Project, project_folder, read_project
from mlops.training.runs import read_tags
from mlops.training.search_space import combinations, grid_faults
from mlops.training.sweep.records import SweepOptions

if TYPE_CHECKING:
    from mlops.settings.needs import TrainSettings
    from mlops.training.train import TrainRequest


@dataclass(frozen=True, slots=True)
class Plan:
    """What another machine shall run.

    Attributes:
        project: Name of the project.
        entry_point: Name of its entry point.
        experiment: Name of the experiment.
        axes: Names of the parameters that vary; none for a single run.
        points: The parameters of each trial, without defaults.
        beyond_mlflow: Whether the command has flags, lists or optional parameters, which MLflow
            itself cannot fill in.
    """

    project: str
    entry_point: str
    experiment: str
    axes: tuple[str, ...]
    points: tuple[Mapping[str, str], ...]
    beyond_mlflow: bool = False


def plan_trials(request: TrainRequest, settings: TrainSettings) -> Plan:
    """Determine which trials there are.

    Raises:
        UsageError: An option needs results, or what is on this machine.
        InvalidInputError: A parameter is wrong, or a file of this machine.
        NotFoundError: There is no such project or entry point.
    """
    _check_options(request, settings)
    read_tags(request.tags)
    with local_copy(request.project) as tree:
        project = read_project(project_folder(tree))
        if project.environment == "docker_env":
            raise InvalidInputError(
                f"`{project.file.name}` has a `docker_env`, and a pod cannot start a container.",
                hint="Put the project into an image with its packages, and leave `docker_env` out.",
            )
        point = project.entry_point(request.entry_point)
        assigned = assign(point, request.parameters, request.grid)
        if faults := grid_faults(assigned.axes):
            # Its message names the samplers, which do not apply here.
            raise InvalidInputError("\n".join(faults), hint="A Job takes a grid only.")
        _check_registration(request, several=bool(assigned.axes))
        points = tuple(
            {**assigned.given, **each} for each in combinations(list(assigned.axes.values()))
        )
        for values in points:
            _check_paths(project, point, values)
    experiment = request.experiment or settings.tracking.experiment or project.name
    beyond = any(settle(point, all_values(point, each)) != point.command for each in points)
    return Plan(project.name, point.name, experiment, tuple(assigned.axes), points, beyond)


def _check_options(request: TrainRequest, settings: TrainSettings) -> None:
    """Refuse the options that cannot be kept where the runs execute elsewhere.

    Raises:
        UsageError: There is one.
    """
    backend, sweep = settings.training.backend, request.sweep
    if sweep.sampler in ("random", "tpe"):
        raise UsageError(
            f"`--sweep {sweep.sampler}` chooses points while it runs, and `--backend {backend}` "
            "has to know them before.",
            hint="Make it a grid, for example `-P alpha=log:0.001..10:8`, or use `--backend ray`.",
        )
    rest = replace(sweep, sampler="", jobs=1, resume="", best=False, html="", metric="")
    needs = {
        "--resume": sweep.resume,
        "--best": sweep.best,
        "--minimize or --maximize": sweep.metric and not sweep.best,
        "--html": sweep.html,
        "--trials, --seed or --prune": replace(rest, direction="minimize") != SweepOptions(),
        "--from-run": request.from_run,
        "--require-clean": request.require_clean,
        "--refuse-untracked": request.refuse_untracked,
        "--env-manager": request.env_manager not in ("", "local"),
    }
    if given := [option for option, wanted in needs.items() if wanted]:
        raise UsageError(
            f"`{'`, `'.join(given)}` cannot be kept by `--backend {backend}`, where this command "
            "does not see the runs.",
            hint="Leave it out, or use `--backend local` or `ray`.",
        )


def _check_registration(request: TrainRequest, *, several: bool) -> None:
    if several and (request.register or request.alias or request.model):
        raise UsageError(
            "A sweep that runs elsewhere registers nothing, as its trials are not compared.",
            hint="Leave `--register`, `--alias` and `--model` out.",
        )


def _check_paths(project: Project, point: EntryPoint, given: Mapping[str, str]) -> None:
    values = all_values(point, given)
    if local := sorted(set(_local_files(project.folder, point, values))):
        names = one_of([f"{name}={values[name]}" for name in local])
        raise InvalidInputError(
            f"`{names}` is a file of this machine, which no other sees.",
            hint="Name it by a URI, such as s3://…, or keep it in the project and name it from "
            "there.",
        )


def _local_files(folder: Path, point: EntryPoint, values: Mapping[str, str]) -> Iterator[str]:
    """Name the parameters whose value is here and not in the project, which the image holds."""
    for name, value in values.items():
        declared = point.parameters[name].type if name in point.parameters else "string"
        text = value.removeprefix("file://").removeprefix("file:")
        if not text or (text == value and "://" in value):
            continue
        path = Path(text).expanduser()
        if declared in ("path", "uri"):
            inside = (folder / path).resolve()
            own = not path.is_absolute() and inside.is_relative_to(folder) and inside.exists()
            if not own:
                yield name
        elif path.is_absolute() and (text != value or path.exists()):
            yield name
