"""What an environment file, python_env.yaml or conda.yaml, asks for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mlops.environments.references import absolute
from mlops.settings.yaml_text import parse_yaml


def packages_of(file: Path) -> tuple[str, list[str]]:
    """Return the Python and the packages that a python_env.yaml or conda.yaml asks for, for pip.

    Without MLflow, which mlops installs in the version that it needs.
    """
    python, requirements = read_requirements(file)
    own = re.compile(r"(mlflow(-skinny|-tracing)?|pip)\s*([=<>!~\[;].*)?", re.IGNORECASE)
    return python, [each for each in requirements if not own.fullmatch(each.strip())]


def read_requirements(file: Path) -> tuple[str, list[str]]:
    """Return the Python, empty if any, and the requirements that an environment file asks for."""
    # All as text: an unquoted `python: 3.10` would be the number 3.1.
    content = parse_yaml(file.read_text(encoding="utf-8"), texts_only=True)
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
    return python, [absolute(item, file.parent) for item in requirements]
