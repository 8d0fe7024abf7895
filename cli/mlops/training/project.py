"""An MLproject and what mlops.toml adds to it, read and checked.

The format is MLflow's: https://mlflow.org/docs/latest/ml/projects/ . MLflow itself reads it without
any check, so an error shows up as a traceback in the middle of a run; here every fault of the files
is named at once, with its line, before anything runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mlops.errors import InvalidInputError, NotFoundError, did_you_mean
from mlops.settings.project import as_name
from mlops.training.command import placeholders
from mlops.training.declarations import (
    declared_names,
    default_fault,
    read_declarations,
    refine,
)
from mlops.training.parameter_types import KINDS, Parameter
from mlops.training.positions import Fault, LocatedFile, read_yaml

EnvironmentKind = Literal["python_env", "conda_env", "docker_env", "none"]

_ENVIRONMENTS: tuple[EnvironmentKind, ...] = ("python_env", "conda_env", "docker_env")
_KEYS = ("name", "entry_points", *_ENVIRONMENTS, "databricks_spark_job")
_ENTRY_KEYS = ("parameters", "command")
_PARAMETER_KEYS = ("type", "default")
_SCRIPTS = {".py": "python", ".sh": "bash", ".R": "Rscript"}


@dataclass(frozen=True, slots=True)
class EntryPoint:
    """One thing that a project can run.

    Attributes:
        name: Its name.
        parameters: Its declared parameters, in the file's order.
        any_parameter: Whether undeclared ones are passed on: for a bare script, which declares
            none.
        command: What runs, with `{name}` where a parameter's value goes.
    """

    name: str
    parameters: Mapping[str, Parameter]
    any_parameter: bool = False
    command: str = ""


@dataclass(frozen=True, slots=True)
class Project:
    """An MLproject in a local folder.

    Attributes:
        name: `name` in the file, else the folder's name.
        folder: Where the file is.
        file: The file itself.
        entry_points: By name.
        environment: Which kind of environment it asks for.
        environment_file: The file that describes it, for `python_env` and `conda_env`.
    """

    name: str
    folder: Path
    file: Path
    entry_points: Mapping[str, EntryPoint] = field(default_factory=dict)
    environment: EnvironmentKind = "none"
    environment_file: Path | None = None

    def entry_point(self, name: str) -> EntryPoint:
        """Return the entry point `name`, which may also be a script in the folder.

        Raises:
            NotFoundError: There is neither; the closest entry point is named.
        """
        if name in self.entry_points:
            return self.entry_points[name]
        program = _SCRIPTS.get(Path(name).suffix)
        if program and (self.folder / name).is_file():
            return EntryPoint(name, {}, any_parameter=True, command=f"{program} {name}")
        known = ", ".join(f"`{known}`" for known in self.entry_points) or "none"
        raise NotFoundError(
            f"`{self.file}` has no entry point `{name}`.",
            hint=did_you_mean(name, self.entry_points) or f"It has: {known}.",
        )


def project_folder(folder: Path) -> Path:
    """Return the nearest folder upwards that has an MLproject; `folder` itself if none has."""
    for place in (folder, *folder.parents):
        if place.is_dir() and _mlproject(place) is not None:
            return place
    return folder


def _mlproject(folder: Path) -> Path | None:
    return next(
        (f for f in folder.iterdir() if f.name.lower() == "mlproject" and f.is_file()), None
    )


def read_project(folder: Path) -> Project:
    """Read and check the MLproject of a folder.

    Raises:
        NotFoundError: The folder has none.
        InvalidInputError: It is wrong; every fault is named.
    """
    project, faults = inspect_project(folder)
    errors = [str(fault) for fault in faults if fault.severity == "error"]
    if errors:
        raise InvalidInputError(
            "\n".join(errors),
            hint="`mlops project validate` checks it. "
            "The format: https://mlflow.org/docs/latest/ml/projects/",
        )
    return project


def inspect_project(folder: Path) -> tuple[Project, list[Fault]]:
    """Read a project as far as possible, and report its faults.

    Raises:
        NotFoundError: The folder has no MLproject.
        InvalidInputError: A file is not YAML or not TOML.
    """
    file = _mlproject(folder)
    if file is None:
        raise NotFoundError(
            f"`{folder}` has no `MLproject` file.",
            hint="`mlops init --template minimal` makes one to start from.",
        )
    marked, declared = read_yaml(file), read_declarations(folder)
    reader = _Reader(marked, declared)
    project = reader.project()
    by_place = {(str(f.file), f.line, f.message): f for f in reader.faults}
    return project, sorted(by_place.values(), key=lambda f: (f.file != file, f.line))


class _Reader:
    """Reads one MLproject; a wrong part is reported and treated as missing.

    Attributes:
        faults: What is wrong or odd.
    """

    def __init__(self, marked: LocatedFile, declared: LocatedFile | None) -> None:
        self._marked = marked
        self._declared = declared
        self.faults: list[Fault] = []

    def project(self) -> Project:
        marked, file = self._marked, self._marked.file
        content = marked.content
        if not isinstance(content, dict):
            self._fault("must be a mapping with `name` and `entry_points`")
            return Project("", file.parent, file)
        self.faults += [marked.unknown("key", _KEYS, str(k)) for k in content if k not in _KEYS]
        self.faults += [
            marked.fault(f"`{keys[-1]}` is given here for the second time", *keys)
            for keys in marked.repeated
        ]
        points = content.get("entry_points") or {}
        if not isinstance(points, dict):
            self._fault("`entry_points` must be a mapping of names to commands", "entry_points")
            points = {}
        kind, path = self._environment(content)
        entry_points = {str(n): self._entry_point(str(n), raw) for n, raw in points.items()}
        known = {name: p for point in entry_points.values() for name, p in point.parameters.items()}
        self.faults += declared_names(self._declared, known)
        return Project(
            name=as_name(str(content.get("name") or file.parent.resolve().name)),
            folder=file.parent,
            file=file,
            entry_points=entry_points,
            environment=kind,
            environment_file=path,
        )

    def _environment(self, content: Mapping[str, Any]) -> tuple[EnvironmentKind, Path | None]:
        folder = self._marked.file.parent
        given = [kind for kind in _ENVIRONMENTS if content.get(kind)]
        if len(given) > 1:
            names = " and ".join(f"`{kind}`" for kind in given)
            self._fault(f"only one of {names} may be given here", given[1])
        if not given:
            # MLflow looks for these by name if the file names none.
            for kind, usual in (("python_env", "python_env.yaml"), ("conda_env", "conda.yaml")):
                if (folder / usual).is_file():
                    return kind, folder / usual  # type: ignore[return-value] # literal of the loop
            return "none", None
        if given[0] == "docker_env":
            return "docker_env", None
        path = folder / str(content[given[0]])
        if not path.is_file():
            self._fault(f"`{given[0]}` names `{content[given[0]]}`, which does not exist", given[0])
        return given[0], path

    def _entry_point(self, name: str, raw: object) -> EntryPoint:
        keys = ("entry_points", name)
        if not isinstance(raw, dict) or not isinstance(raw.get("command"), str):
            others = [str(k) for k in raw if k not in _ENTRY_KEYS] if isinstance(raw, dict) else []
            near = next((k for k in others if did_you_mean(k, ["command"])), "")
            hint = did_you_mean(near, ["command"])
            self._fault(
                f"entry point `{name}` needs a `command`, written as text", *keys, near, hint=hint
            )
            return EntryPoint(name, {})
        for key in raw:
            if key not in _ENTRY_KEYS:
                hint = did_you_mean(str(key), _ENTRY_KEYS)
                self._odd(f"entry point `{name}` has a key `{key}`, which means nothing", *keys,
                          str(key), hint=hint)  # fmt: skip
        declared = raw.get("parameters") or {}
        if not isinstance(declared, dict):
            what = f"`parameters` of entry point `{name}` must be a mapping"
            self._fault(what, *keys, "parameters")
            declared = {}
        parameters = {str(n): self._parameter(name, str(n), p) for n, p in declared.items()}
        self._check_command(name, raw["command"], parameters)
        return EntryPoint(name, parameters, command=raw["command"])

    def _check_command(self, name: str, command: str, parameters: Mapping[str, Parameter]) -> None:
        keys = ("entry_points", name, "command")
        try:
            used = placeholders(command)
        except ValueError as error:
            hint = "A brace that is not a parameter is written twice: `{{` or `}}`."
            self._fault(f"the command of `{name}` has braces that do not match: {error}", *keys,
                        hint=hint)  # fmt: skip
            return
        for each in used:
            if each not in parameters:
                closest = did_you_mean(each, parameters)
                self._fault(
                    f"the command of `{name}` uses `{{{each}}}`, which is not a parameter of it",
                    *keys,
                    hint=closest or "A brace that is not a parameter is written twice.",
                )
        for each in parameters:
            if each not in used:
                self._odd(
                    f"the command of `{name}` does not use its parameter `{each}`",
                    *keys[:2], "parameters", each,
                )  # fmt: skip

    def _parameter(self, point: str, name: str, raw: object) -> Parameter:
        keys = ("entry_points", point, "parameters", name)
        parameter = self._as_written(name, raw, keys)
        refined = refine(parameter, self._declared, self.faults)
        if refined.type not in KINDS:
            hint = did_you_mean(refined.type, KINDS)
            self._odd(f"parameter `{name}` is of type `{refined.type}`, which is not checked",
                      *keys, "type", hint=hint)  # fmt: skip
        if fault := default_fault(refined):
            self._fault(fault, *keys, "default")
        return refined

    def _as_written(self, name: str, raw: object, keys: tuple[str, ...]) -> Parameter:
        if isinstance(raw, str):
            return Parameter(name, raw)
        if not isinstance(raw, dict):
            what = f"parameter `{name}` must be a type, or a mapping with `type` and `default`"
            self._fault(what, *keys)
            return Parameter(name)
        for key in raw:
            if key not in _PARAMETER_KEYS:
                hint = did_you_mean(str(key), _PARAMETER_KEYS)
                if not hint:
                    hint = f"Types and bounds go to `[parameters.{name}]` of mlops.toml."
                self._odd(f"parameter `{name}` has a key `{key}`, which means nothing", *keys,
                          str(key), hint=hint)  # fmt: skip
        default = raw.get("default")
        if default is not None and not isinstance(default, str | int | float | bool):
            what = f"the default of parameter `{name}` must be a single value"
            self._fault(what, *keys, "default")
            default = None
        return Parameter(name, str(raw.get("type", "string")), default)

    def _fault(self, message: str, *keys: str, hint: str | None = "") -> None:
        self.faults.append(self._marked.fault(message, *keys, hint=hint))

    def _odd(self, message: str, *keys: str, hint: str | None = "") -> None:
        self.faults.append(self._marked.warning(message, *keys, hint=hint))
