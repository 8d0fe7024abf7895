"""An MLproject, read and checked.

The format is MLflow's: https://mlflow.org/docs/latest/ml/projects/ . MLflow itself reads it without
any check, so a slip shows up as a traceback in the middle of a run; here every fault of the file is
named at once, before anything runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mlops.errors import InvalidInputError, NotFoundError, did_you_mean
from mlops.settings.project import as_name

EnvironmentKind = Literal["python_env", "conda_env", "docker_env", "none"]

_ENVIRONMENTS: tuple[EnvironmentKind, ...] = ("python_env", "conda_env", "docker_env")
_KEYS = ("name", "entry_points", *_ENVIRONMENTS, "databricks_spark_job")
_SCRIPTS = (".py", ".sh", ".R")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of an entry point.

    Attributes:
        name: Its name.
        type: `float`, `int`, `bool`, `string`, `path`, `uri`, or another word, which MLflow and
            we leave unchecked.
        default: Its value if none is given; None makes it required.
    """

    name: str
    type: str = "string"
    default: str | int | float | bool | None = None


@dataclass(frozen=True, slots=True)
class EntryPoint:
    """One thing that a project can run.

    Attributes:
        name: Its name.
        parameters: Its declared parameters, in the file's order.
        any_parameter: Whether undeclared ones are passed on: for a bare script, which declares
            none.
    """

    name: str
    parameters: Mapping[str, Parameter]
    any_parameter: bool = False


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
        if name.endswith(_SCRIPTS) and (self.folder / name).is_file():
            return EntryPoint(name, {}, any_parameter=True)
        known = ", ".join(f"`{known}`" for known in self.entry_points) or "none"
        raise NotFoundError(
            f"`{self.file}` has no entry point `{name}`.",
            hint=did_you_mean(name, self.entry_points) or f"It has: {known}.",
        )


def read_project(folder: Path) -> Project:
    """Read and check the MLproject of a folder.

    Raises:
        NotFoundError: The folder has none.
        InvalidInputError: It is wrong; every fault is named.
    """
    import yaml

    file = next((f for f in folder.iterdir() if f.name.lower() == "mlproject"), None)
    if file is None:
        raise NotFoundError(
            f"`{folder}` has no `MLproject` file.",
            hint="`mlops init --template minimal` makes one to start from.",
        )
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"`{file}` is not valid YAML: {error}") from error
    faults: list[str] = []
    project = _project(file, content, faults)
    if faults:
        raise InvalidInputError(
            "\n".join(f"{file}: {fault}" for fault in faults),
            hint="The format: https://mlflow.org/docs/latest/ml/projects/",
        )
    return project


def _project(file: Path, content: Any, faults: list[str]) -> Project:  # noqa: ANN401 - raw YAML
    if not isinstance(content, dict):
        faults.append("must be a mapping with `name` and `entry_points`")
        return Project("", file.parent, file)
    faults += [
        f"unknown key `{key}`. {did_you_mean(str(key), _KEYS) or ''}".rstrip()
        for key in content
        if key not in _KEYS
    ]
    points = content.get("entry_points") or {}
    if not isinstance(points, dict):
        faults.append("`entry_points` must be a mapping of names to commands")
        points = {}
    kind, path = _environment(file, content, faults)
    return Project(
        name=as_name(str(content.get("name") or file.parent.resolve().name)),
        folder=file.parent,
        file=file,
        entry_points={str(n): _entry_point(str(n), raw, faults) for n, raw in points.items()},
        environment=kind,
        environment_file=path,
    )


def _environment(
    file: Path, content: Mapping[str, Any], faults: list[str]
) -> tuple[EnvironmentKind, Path | None]:
    given = [kind for kind in _ENVIRONMENTS if content.get(kind)]
    if len(given) > 1:
        faults.append(f"only one of {' and '.join(f'`{kind}`' for kind in given)} may stand here")
    if not given:
        # MLflow looks for these by name if the file names none.
        for kind, usual in (("python_env", "python_env.yaml"), ("conda_env", "conda.yaml")):
            if (file.parent / usual).is_file():
                return kind, file.parent / usual  # type: ignore[return-value] # literal of the loop
        return "none", None
    if given[0] == "docker_env":
        return "docker_env", None
    path = file.parent / str(content[given[0]])
    if not path.is_file():
        faults.append(f"`{given[0]}` names `{content[given[0]]}`, which does not exist")
    return given[0], path


def _entry_point(name: str, raw: Any, faults: list[str]) -> EntryPoint:  # noqa: ANN401 - raw YAML
    if not isinstance(raw, dict) or not isinstance(raw.get("command"), str):
        faults.append(f"entry point `{name}` needs a `command`, written as text")
        return EntryPoint(name, {})
    declared = raw.get("parameters") or {}
    if not isinstance(declared, dict):
        faults.append(f"`parameters` of entry point `{name}` must be a mapping")
        declared = {}
    return EntryPoint(name, {str(n): _parameter(str(n), p, faults) for n, p in declared.items()})


def _parameter(name: str, raw: Any, faults: list[str]) -> Parameter:  # noqa: ANN401 - raw YAML
    if isinstance(raw, str):
        return Parameter(name, raw)
    if not isinstance(raw, dict):
        faults.append(f"parameter `{name}` must be a type, or a mapping with `type` and `default`")
        return Parameter(name)
    default = raw.get("default")
    if default is not None and not isinstance(default, str | int | float | bool):
        faults.append(f"the default of parameter `{name}` must be a single value")
        default = None
    return Parameter(name, str(raw.get("type", "string")), default)
