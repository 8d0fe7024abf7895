"""The environment that a project's runs get.

`local` is the interpreter of this command. `uv` and `virtualenv` make an environment from the
project's file once, under `.mlops/environments`, from a Python that is installed
(`mlops.environments`). `conda` is left to MLflow.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, TypeAlias

from mlops.environments.building import Recipe, build
from mlops.environments.files import read_requirements
from mlops.environments.references import referenced
from mlops.errors import InvalidInputError, UsageError, did_you_mean, one_of
from mlops.plugins import Plugins
from mlops.training.project import Project

#: Makes the environment of a project from the file that says what it needs. Is given the file, the
#: folder of the project's state, and a function for notes when making it takes a while.
Manager: TypeAlias = Callable[[Path, Path, Callable[[str], None]], "Environment"]
#: What `--env-manager` takes, beside `auto`.
MANAGERS: Plugins[Manager] = Plugins(
    "environment manager",
    {
        "local": "mlops.training.environments:here",
        "uv": "mlops.training.environments:by_uv",
        "virtualenv": "mlops.training.environments:by_virtualenv",
        "conda": "mlops.training.environments:by_conda",
    },
    group="mlops.environment_managers",
    needs=("__call__",),
)
AUTO = "auto"

#: The oldest Python that our own code, which forks the runs, is written for.
_OLDEST = (3, 11)
# Written for Pythons as old as MLflow 1's.
_LOOK = """
import importlib.util, json, sys
try:
    from importlib.metadata import PackageNotFoundError, version
except ImportError:
    from importlib_metadata import PackageNotFoundError, version
has = bool(importlib.util.find_spec("mlflow"))
found = {"python": sys.version_info[:2], "has": has, "mlflow": ""}
for name in ("mlflow", "mlflow-skinny"):
    try:
        found["mlflow"] = found["mlflow"] or version(name) + name[len("mlflow"):]
    except PackageNotFoundError:
        pass
print(json.dumps(found))
"""


@dataclass(frozen=True, slots=True)
class Environment:
    """Where a project's runs execute.

    Attributes:
        manager: A name of `MANAGERS`.
        python: Its interpreter; for `conda` the one of this command.
        mlflow: The version of MLflow in it, with `-skinny` where only that is installed, which
            opens no database; empty for `conda`, where it is not known.
        mlflow_manager: The value for MLflow's own runner, if it is used.
        not_ours: Why only MLflow's own runner can use it; empty if the warm one can.
    """

    manager: str
    python: Path
    mlflow: str
    mlflow_manager: str = "local"
    not_ours: str = ""


def check_manager(name: str) -> None:
    """Check the name of an environment manager.

    Raises:
        UsageError: It is none; the closest is named.
    """
    if name != AUTO and name not in MANAGERS:
        known = [AUTO, *MANAGERS.names()]
        raise UsageError(
            f"`--env-manager {name}` is unknown.",
            hint=did_you_mean(name, known) or f"It is {one_of(known)}.",
        )


def resolve_manager(name: str, project: Project) -> str:
    """Return the manager that a name means for a project.

    `auto` is `uv` where that is installed, else `local`. A project that names no environment runs
    in the one of this command, whatever was asked for.
    """
    if project.environment_file is None:
        return "local"
    if name == AUTO:
        return "uv" if shutil.which("uv") else "local"
    return name


def choose_environment(
    name: str, project: Project, home: Path, note: Callable[[str], None]
) -> Environment:
    """Return the environment for a project, made if it does not exist yet.

    Args:
        name: One of `MANAGERS`, or `auto`.
        project: Names the environment that it wants.
        home: Folder of the project's state.
        note: Called when making it takes a while, and if another Python is used than asked for.

    Raises:
        InvalidInputError: There is no such Python here, or no MLflow among the packages.
        MlopsError: The packages could not be installed.
    """
    manager = resolve_manager(name, project)
    file = project.environment_file
    make = MANAGERS.load(manager)
    # A project without such a file has the environment of this command.
    return make(file if file is not None else project.folder, home, note)


def here(file: Path, home: Path, note: Callable[[str], None]) -> Environment:
    """Take the interpreter of this command."""
    return Environment("local", Path(sys.executable), metadata.version("mlflow"))


def by_uv(file: Path, home: Path, note: Callable[[str], None]) -> Environment:
    """Have uv make it."""
    return _built("uv", file, home, note)


def by_virtualenv(file: Path, home: Path, note: Callable[[str], None]) -> Environment:
    """Have virtualenv make it, and pip fill it."""
    return _built("virtualenv", file, home, note)


def by_conda(file: Path, home: Path, note: Callable[[str], None]) -> Environment:
    """Leave it to MLflow, which calls conda."""
    reason = "conda makes its own environment"
    return Environment("conda", Path(sys.executable), "", "conda", reason)


def _built(manager: str, file: Path, home: Path, note: Callable[[str], None]) -> Environment:
    python, requirements = read_requirements(file)
    contents = referenced(requirements, file.parent)
    recipe = Recipe(manager, python, requirements, file, contents)
    return inspect(manager, build(recipe, home, note), file)


def inspect(manager: str, python: Path, file: Path) -> Environment:
    """Return what an environment of the project's own holds.

    Args:
        manager: What made it.
        python: Its interpreter.
        file: What it was made from.

    Raises:
        InvalidInputError: MLflow is not in it.
    """
    words = [str(python), "-c", _LOOK]
    said = subprocess.run(words, cwd="/", stdout=subprocess.PIPE, text=True, check=False)
    found: dict[str, Any] = json.loads(said.stdout) if said.returncode == 0 else {"has": False}
    if not found["has"]:
        raise InvalidInputError(
            f"The environment of `{file}` has no `mlflow`, so its runs could not be tracked.",
            hint=f"Add `mlflow` to the dependencies in `{file.name}`.",
        )
    old = tuple(found["python"]) < _OLDEST
    version, ours = ".".join(map(str, found["python"])), ".".join(map(str, _OLDEST))
    reason = f"the environment has Python {version}, and forks need {ours}" if old else ""
    return Environment(manager, python, found["mlflow"], not_ours=reason)
