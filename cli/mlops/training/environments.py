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
from typing import Any

from mlops.environments.building import Recipe, build
from mlops.environments.files import included, read_requirements
from mlops.errors import InvalidInputError, UsageError, did_you_mean, one_of
from mlops.training.project import Project

#: What `--env-manager` takes.
MANAGERS = ("auto", "local", "uv", "virtualenv", "conda")

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
        manager: `local`, `uv`, `virtualenv` or `conda`.
        python: Its interpreter; for `conda` the one of this command.
        mlflow: The version of MLflow in it, with `-skinny` where only that is installed, which
            opens no database; empty for `conda`, where it is not known.
        mlflow_manager: What MLflow's own runner has to be told, if it is used.
        not_ours: Why only MLflow's own runner can use it; empty if ours can.
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
    if name not in MANAGERS:
        raise UsageError(
            f"`--env-manager {name}` is unknown.",
            hint=did_you_mean(name, MANAGERS) or f"It is {one_of(MANAGERS)}.",
        )


def resolve_manager(name: str, project: Project) -> str:
    """Return the manager that a name means for a project.

    `auto` is `uv` where that is installed, else `local`. A project that names no environment runs
    in the one of this command, whatever was asked for.
    """
    if project.environment_file is None:
        return "local"
    if name == "auto":
        return "uv" if shutil.which("uv") else "local"
    return name


def choose_environment(
    name: str, project: Project, home: Path, note: Callable[[str], None]
) -> Environment:
    """Return the environment for a project, made if it does not exist yet.

    Args:
        name: One of `MANAGERS`.
        project: Names the environment that it wants.
        home: Folder of the project's state.
        note: Told when making it takes a while, and which Python is taken for one that is not here.

    Raises:
        InvalidInputError: There is no such Python here, or no MLflow among the packages.
        MlopsError: The packages could not be installed.
    """
    manager = resolve_manager(name, project)
    here = Path(sys.executable)
    file = project.environment_file
    if manager == "conda":
        return Environment(manager, here, "", "conda", "conda makes its own environment")
    if manager == "local" or file is None:
        return Environment("local", here, metadata.version("mlflow"))
    python, requirements = read_requirements(file)
    recipe = Recipe(manager, python, requirements, file, included(file))
    return _inspect(manager, build(recipe, home, note), file)


def _inspect(manager: str, python: Path, file: Path) -> Environment:
    """Return what an environment of the project's own holds."""
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
