"""The environment that a project's runs get.

`local` is the interpreter of this command. `uv` and `virtualenv` make an environment from the
project's file once, under `.mlops/environments`, from a Python that is there: nothing is compiled
and no interpreter downloaded. `conda` is left to MLflow.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops.errors import InvalidInputError, MlopsError, UsageError, did_you_mean, one_of
from mlops.training.project import Project

#: What `--env-manager` takes.
MANAGERS = ("auto", "local", "uv", "virtualenv", "conda")

_LAST_LINES = 15


@dataclass(frozen=True, slots=True)
class Environment:
    """Where a project's runs execute.

    Attributes:
        manager: `local`, `uv`, `virtualenv` or `conda`.
        python: Its interpreter; for `conda` the one of this command.
        mlflow_manager: What MLflow's own runner has to be told, if it is used.
        not_ours: Why only MLflow's own runner can use it; empty if ours can.
    """

    manager: str
    python: Path
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
    """Return the manager that a name means for a project: `auto` becomes `uv` or `local`."""
    if name != "auto":
        return name
    wanted = project.environment_file is not None
    return "uv" if wanted and shutil.which("uv") else "local"


def choose_environment(
    name: str, project: Project, home: Path, note: Callable[[str], None]
) -> Environment:
    """Return the environment for a project, made if it does not exist yet.

    Args:
        name: One of `MANAGERS`.
        project: Names the environment that it wants.
        home: Folder of the project's state.
        note: Told when making it takes a while.

    Raises:
        InvalidInputError: There is no such Python here, or no MLflow among the packages.
        MlopsError: The packages could not be installed.
    """
    manager = resolve_manager(name, project)
    here = Path(sys.executable)
    if manager == "conda":
        return Environment(manager, here, "conda", "conda makes its own environment")
    if manager == "local" or project.environment_file is None:
        if manager != "local":
            note(f"the project names no environment for {manager}: the one of this command is used")
        return Environment("local", here)
    file = project.environment_file
    python, requirements = _wants(file)
    version = python or f"{sys.version_info.major}.{sys.version_info.minor}"
    digest = hashlib.sha256(repr((manager, version, requirements, _included(file))).encode())
    folder = home / "environments" / f"{manager}-{digest.hexdigest()[:16]}"
    if not (folder / ".complete").is_file():
        note(f"making the environment of `{file.name}` with {manager}; this is done once")
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        make = _make_with_uv if manager == "uv" else _make_with_venv
        make(folder, version, requirements, file)
        (folder / ".complete").touch()
    own = folder / "bin" / "python"
    _need_mlflow(own, file)
    return Environment(manager, own)


def _need_mlflow(python: Path, file: Path) -> None:
    look = "import importlib.util, sys; sys.exit(importlib.util.find_spec('mlflow') is None)"
    if subprocess.run([str(python), "-c", look], cwd="/", check=False).returncode:
        raise InvalidInputError(
            f"The environment of `{file}` has no `mlflow`, so its runs could not be tracked.",
            hint=f"Add `mlflow` to the dependencies in `{file.name}`.",
        )


def _make_with_uv(folder: Path, version: str, requirements: Sequence[str], file: Path) -> None:
    uv = shutil.which("uv")
    if uv is None:
        raise InvalidInputError(
            "`--env-manager uv` needs `uv`, which is not on the path.",
            hint="`pip install uv`, or `--env-manager local` to use what is installed here.",
        )
    offered = subprocess.run(
        [uv, "python", "find", "--no-python-downloads", "--system", version],
        capture_output=True,
        text=True,
        check=False,
    )
    python = offered.stdout.strip() or _python(version)
    if not python:
        raise _no_python(version, file)
    _call([uv, "venv", "--quiet", "--no-python-downloads", "--python", python, str(folder)], file)
    target = str(folder / "bin" / "python")
    _install([uv, "pip", "install", "--quiet", "--python", target], folder, requirements, file)


def _make_with_venv(folder: Path, version: str, requirements: Sequence[str], file: Path) -> None:
    python = _python(version)
    if not python:
        raise _no_python(version, file)
    _call([python, "-m", "venv", str(folder)], file)
    target = str(folder / "bin" / "python")
    _install([target, "-m", "pip", "install", "--quiet"], folder, requirements, file)


def _python(version: str) -> str:
    """Return an interpreter of a version, or of its minor version, that is installed here."""
    short = ".".join(version.split(".")[:2])
    candidates = [sys.executable, shutil.which(f"python{short}"), shutil.which("python3")]
    for python in filter(None, candidates):
        says = subprocess.run(
            [python, "-c", "import platform; print(platform.python_version())"],
            capture_output=True,
            text=True,
            check=False,
        ).stdout.strip()
        if f"{says}.".startswith(f"{version}."):
            return python
    return ""


def _no_python(version: str, file: Path) -> InvalidInputError:
    return InvalidInputError(
        f"`{file}` wants Python {version}, and there is none here. None is downloaded or compiled.",
        hint=f"Install it (`uv python install {version}`), ask for another in `{file.name}`, or use"
        " `--env-manager local`.",
    )


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
            hint="Mend that file, or use `--env-manager local`.",
        )


def _wants(file: Path) -> tuple[str, list[str]]:
    """Return the Python and the requirements that a python_env.yaml or conda.yaml asks for."""
    import yaml

    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    content = content if isinstance(content, dict) else {}
    items: list[Any] = [*(content.get("build_dependencies") or [])]
    items += content.get("dependencies") or []
    python, requirements = str(content.get("python") or ""), list[str]()
    for item in items:
        if isinstance(item, dict):
            requirements += [str(inner) for inner in item.get("pip") or []]
        elif match := re.fullmatch(r"python\s*[=<>]*\s*([0-9.]+).*", str(item)):
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
