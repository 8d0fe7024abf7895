"""The environment that a project's runs get.

`local` is the interpreter of this command. `uv` and `virtualenv` make an environment from the
project's file once, under `.mlops/environments`, from a Python that is installed
(`mlops.training.interpreters`). `conda` is left to MLflow.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from mlops.errors import InvalidInputError, MlopsError, UsageError, did_you_mean, one_of
from mlops.training.interpreters import find_python
from mlops.training.project import Project

#: What `--env-manager` takes.
MANAGERS = ("auto", "local", "uv", "virtualenv", "conda")

_LAST_LINES = 15
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
    python, requirements = _wants(file)
    wanted = python or f"{sys.version_info.major}.{sys.version_info.minor}"
    digest = hashlib.sha256(repr((manager, wanted, requirements, _included(file))).encode())
    folder = home / "environments" / f"{manager}-{digest.hexdigest()[:16]}"
    if not (folder / ".complete").is_file():
        interpreter = find_python(wanted, file, note)
        note(f"making the environment of `{file.name}` with {manager}; this is done once")
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        make = _make_with_uv if manager == "uv" else _make_with_venv
        make(folder, interpreter, requirements, file)
        (folder / ".complete").touch()
    return _inspect(manager, folder / "bin" / "python", file)


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


def _make_with_uv(folder: Path, python: str, requirements: Sequence[str], file: Path) -> None:
    uv = shutil.which("uv")
    if uv is None:
        raise InvalidInputError(
            "`--env-manager uv` needs `uv`, which is not on the path.",
            hint="`pip install uv`, or `--env-manager local` to use what is installed here.",
        )
    _call([uv, "venv", "--quiet", "--no-python-downloads", "--python", python, str(folder)], file)
    target = str(folder / "bin" / "python")
    _install([uv, "pip", "install", "--quiet", "--python", target], folder, requirements, file)


def _make_with_venv(folder: Path, python: str, requirements: Sequence[str], file: Path) -> None:
    _call([python, "-m", "venv", str(folder)], file)
    target = str(folder / "bin" / "python")
    _install([target, "-m", "pip", "install", "--quiet"], folder, requirements, file)


def _install(
    installer: Sequence[str], folder: Path, requirements: Sequence[str], file: Path
) -> None:
    if not requirements:
        return
    listed = folder / "requirements.txt"
    listed.write_text("\n".join(requirements) + "\n", encoding="utf-8")
    # `-r other.txt` in the list is meant from the project's folder.
    _call([*installer, "-r", str(listed)], file)


def _call(words: Sequence[str], file: Path) -> None:
    done = subprocess.run(
        words,
        cwd=file.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        last = "\n".join(f"  | {line}" for line in done.stdout.splitlines()[-_LAST_LINES:])
        raise MlopsError(
            f"The environment of `{file}` could not be made.\n{last}",
            hint="Fix that file, or use `--env-manager local`.",
        )


def packages_of(file: Path) -> tuple[str, list[str]]:
    """Return the Python and the packages that a python_env.yaml or conda.yaml asks for, for pip.

    Without MLflow, which this program brings in the version that it needs.
    """
    python, requirements = _wants(file)
    own = re.compile(r"(mlflow(-skinny|-tracing)?|pip)\s*([=<>!~\[;].*)?", re.IGNORECASE)
    return python, [each for each in requirements if not own.fullmatch(each.strip())]


def _wants(file: Path) -> tuple[str, list[str]]:
    """Return the Python and the requirements that a python_env.yaml or conda.yaml asks for."""
    import yaml

    # All as text: an unquoted `python: 3.10` would be the number 3.1.
    content = yaml.load(file.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)  # noqa: S506
    content = content if isinstance(content, dict) else {}
    items: list[Any] = [*(content.get("build_dependencies") or [])]
    items += content.get("dependencies") or []
    python, requirements = str(content.get("python") or ""), list[str]()
    for item in items:
        if isinstance(item, dict):
            requirements += [str(inner) for inner in item.get("pip") or []]
        elif match := re.fullmatch(r"python(?![\w-])\s*(.*)", str(item)):
            python = match[1]
        elif "channels" in content or "conda" in file.name:
            requirements.append(
                re.sub(r"(?<![=<>!~])=(?!=)", "==", str(item).partition("::")[2] or str(item))
            )
        else:
            requirements.append(str(item))
    return python, [_absolute(item, file.parent) for item in requirements]


def _absolute(requirement: str, folder: Path) -> str:
    """Return a requirement whose file, if it names one, is absolute."""
    match = re.match(r"(-r|--requirement|-c|--constraint|-e|--editable)\s+(\S+)", requirement)
    if match is None or "://" in match[2]:
        return requirement
    return f"{match[1]} {(folder / match[2]).resolve()}"


def _included(file: Path) -> list[bytes]:
    """Contents of the requirement files that an environment file refers to."""
    return [path.read_bytes() for path in _references(file) if path.is_file()]


def _references(file: Path) -> Iterator[Path]:
    for requirement in _wants(file)[1]:
        words = requirement.split()
        if len(words) == 2 and words[0] in ("-r", "--requirement", "-c", "--constraint"):
            yield Path(words[1])
