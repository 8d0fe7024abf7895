"""Which folder is the project, and which file holds its settings."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any

from mlops.errors import InvalidInputError
from mlops.settings.yaml_text import parse_yaml

_HEADER = re.compile(r"\s*\[\[?([^\[\]]+)\]")
_ASSIGNED = re.compile(r"\s*([\w.\"' -]+?)\s*=")


def find_project(start: Path) -> Path:
    """Return the project's folder, seen from `start`.

    The nearest folder upwards with `mlops.toml` or a `[tool.mlops]` table; else the nearest with
    an `MLproject`; else `start` itself.
    """
    folders = [start.resolve(), *start.resolve().parents]
    for folder in folders:
        if (folder / "mlops.toml").is_file() or _in_pyproject(folder) is not None:
            return folder
    for folder in folders:
        if (folder / "MLproject").is_file():
            return folder
    return folders[0]


def way_to(project_dir: Path) -> str:
    """Return the folder to change to for commands about a project; empty if they find it from here.

    State is beside the project's file, and a command looks for that from the current folder.
    """
    here = Path.cwd()
    if find_project(here) == project_dir.resolve():
        return ""
    return os.path.relpath(project_dir.resolve(), here.resolve())


def read_project_file(project_dir: Path) -> tuple[Path | None, dict[str, Any]]:
    """Return the settings file of a project and its tables, or (None, {}).

    Raises:
        InvalidInputError: The file is not TOML.
    """
    path = project_dir / "mlops.toml"
    if path.is_file():
        return path, _parse(path)
    table = _in_pyproject(project_dir)
    return (None, {}) if table is None else (project_dir / "pyproject.toml", table)


def line_of(path: Path, section: str, key: str = "") -> int:
    """Return the line of a settings file that has a table or a key of it; tomllib does not say.

    Args:
        path: The file.
        section: Name of the table.
        key: Name of the key; empty for the table itself.

    Returns:
        A number from 1 on, or 0 if the file is written in a way that is not recognized.
    """
    name = f"{section}.{key}" if key else section
    table, of_section = "", 0
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        header, assigned = _HEADER.match(line), _ASSIGNED.match(line)
        if header:
            full = table = _dotted(header[1])
        elif assigned:
            full = f"{table}.{_dotted(assigned[1])}"
        else:
            continue
        full = full.removeprefix("tool.mlops.").removeprefix(".")
        if full == name or full.startswith(f"{name}."):
            return number
        if full == section and not of_section:
            of_section = number
    return of_section


def _dotted(name: str) -> str:
    return re.sub(r"[\s\"']", "", name)


def project_name(project_dir: Path) -> str:
    """Return the project's name: `name` in its `MLproject`, else its folder's name.

    It is the default name of its registered model, experiment and deployment, so characters that
    one of those refuses become `-`.

    Raises:
        InvalidInputError: The `MLproject` is not YAML.
    """
    return as_name(_named_in_mlproject(project_dir / "MLproject") or project_dir.resolve().name)


def as_name(text: str) -> str:
    """Return `text` as a name that MLflow, URLs and Kubernetes labels can carry.

    >>> as_name("Wine quality / red")
    'Wine-quality-red'
    """
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-.") or "project"


def _named_in_mlproject(path: Path) -> str:
    if not path.is_file():
        return ""
    import yaml

    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            f"`{path}` is not valid YAML: {error}", hint="Fix that line and try again."
        ) from error
    return str(content.get("name") or "") if isinstance(content, dict) else ""


def _in_pyproject(folder: Path) -> dict[str, Any] | None:
    path = folder / "pyproject.toml"
    # A cheap look first: most folders upwards have no pyproject, most of those no table of mlops.
    if not path.is_file() or "[tool.mlops" not in path.read_text(encoding="utf-8"):
        return None
    table: dict[str, Any] = _parse(path).get("tool", {}).get("mlops", {})
    return table


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            f"`{path}` is not valid TOML: {error}.", hint="Fix that line and try again."
        ) from error
