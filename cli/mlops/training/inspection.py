"""`mlops project validate` and `mlops project show`: a project is inspected, nothing is run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlops.environments.files import packages_of
from mlops.errors import did_you_mean
from mlops.training.checkout import local_copy
from mlops.training.command import all_values, in_full, script_of
from mlops.training.declarations import words_of
from mlops.training.environment import Difference, differences
from mlops.training.parameter_types import Parameter
from mlops.training.parameters import assign
from mlops.training.positions import Fault, read_yaml
from mlops.training.project import (
    EntryPoint,
    EnvironmentKind,
    Project,
    inspect_project,
    read_project,
)

_SUFFIXES = (".py", ".sh", ".R")


@dataclass(frozen=True, slots=True)
class Validation:
    """The faults of a project.

    Attributes:
        project: Its name.
        file: Its MLproject.
        valid: Whether it can run: there may be warnings, but no error.
        entry_points: Names of its entry points.
        faults: In the order of the files.
    """

    project: str
    file: Path
    valid: bool
    entry_points: tuple[str, ...]
    faults: tuple[Fault, ...]


@dataclass(frozen=True, slots=True)
class ParameterView:
    """One parameter.

    Attributes:
        name: Its name.
        type: Its type.
        accepts: What it accepts, in words.
        required: Whether a value must be given.
        default: Its default as text, None without one.
        minimum: Least value.
        maximum: Greatest value.
        choices: All values of a choice.
    """

    name: str
    type: str
    accepts: str
    required: bool
    default: str | None
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EntryPointView:
    """One entry point.

    Attributes:
        name: Its name.
        parameters: In the order of the file.
        command: As it would run with the parameters that are known; the others stay in braces.
        train: The command that runs it, ready to be completed.
    """

    name: str
    parameters: tuple[ParameterView, ...]
    command: str
    train: str


@dataclass(frozen=True, slots=True)
class ProjectView:
    """A project.

    Attributes:
        name: Its name.
        folder: Where it is.
        environment: Kind of environment it asks for.
        environment_file: The file that describes it, None without one.
        differences: What differs here.
        entry_points: In the order of the file.
    """

    name: str
    folder: Path
    environment: EnvironmentKind
    environment_file: Path | None
    differences: tuple[Difference, ...]
    entry_points: tuple[EntryPointView, ...]


def validate_project(uri: str) -> Validation:
    """Check a project's MLproject, and the `[parameters]` of its mlops.toml.

    Args:
        uri: A folder, a git URI or a zip.

    Raises:
        NotFoundError: There is no such project.
        InvalidInputError: One of the files is not YAML or not TOML at all.
    """
    with local_copy(uri) as folder:
        project, faults = inspect_project(folder)
        faults += missing_scripts(project, faults)
    return Validation(
        project=project.name,
        file=project.file,
        valid=all(fault.severity != "error" for fault in faults),
        entry_points=tuple(project.entry_points),
        faults=tuple(faults),
    )


def missing_scripts(project: Project, faults: Sequence[Fault]) -> list[Fault]:
    """Name the scripts that commands start and that are not there, where a command is plain.

    Only validation asks: other entry points of the project run anyway.

    Args:
        project: The project.
        faults: What is known already; an entry point with a fault is not checked further.
    """
    marked = read_yaml(project.file)
    known = {fault.line for fault in faults if fault.severity == "error"}
    found = []
    for point in project.entry_points.values():
        keys = ("entry_points", point.name, "command")
        script = script_of(point.command)
        if script and marked.line(*keys) not in known and not (project.folder / script).is_file():
            found.append(
                marked.fault(f"the command of `{point.name}` starts `{script}`, which is not there",
                             *keys, hint=did_you_mean(script, _scripts(project.folder)))
            )  # fmt: skip
    return found


def _scripts(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.suffix in _SUFFIXES]


def project_requirements(uri: str) -> list[str]:
    """Return the packages that a project asks for, as lines of a requirements file for pip.

    Args:
        uri: A folder, a git URI or a zip.

    Raises:
        NotFoundError: There is no such project.
        InvalidInputError: The project is wrong.
    """
    with local_copy(uri) as folder:
        file = read_project(folder).environment_file
        return packages_of(file)[1] if file else []


def show_project(uri: str, entry_point: str = "", words: Sequence[str] = ()) -> ProjectView:
    """Return what a project can run, and how it would.

    Args:
        uri: A folder, a git URI or a zip.
        entry_point: The only one to show; empty for all.
        words: As `-P` takes them, to be put into the commands; needs an entry point, or means
            `main`.

    Raises:
        NotFoundError: There is no such project or entry point.
        InvalidInputError: The project or the parameters are wrong.
    """
    with local_copy(uri) as folder:
        project = read_project(folder)
        chosen = entry_point or ("main" if words else "")
        points = [project.entry_point(chosen)] if chosen else [*project.entry_points.values()]
        return ProjectView(
            name=project.name,
            folder=folder,
            environment=project.environment,
            environment_file=project.environment_file,
            differences=differences(project.environment_file),
            entry_points=tuple(_view(point, words) for point in points),
        )


def _view(point: EntryPoint, words: Sequence[str]) -> EntryPointView:
    given: Mapping[str, str] = assign(point, words).given if words else {}
    needed = [f"-P {p.name}=…" for p in point.parameters.values() if p.required]
    entry = [] if point.name == "main" else [f"-e {point.name}"]
    return EntryPointView(
        name=point.name,
        parameters=tuple(map(_parameter, point.parameters.values())),
        command=in_full(point, all_values(point, given)),
        train=" ".join(["mlops train", *entry, *needed]),
    )


def _parameter(parameter: Parameter) -> ParameterView:
    return ParameterView(
        name=parameter.name,
        type=parameter.type,
        accepts=words_of(parameter),
        required=parameter.required,
        default=parameter.default_text,
        minimum=parameter.minimum,
        maximum=parameter.maximum,
        choices=parameter.choices,
    )
