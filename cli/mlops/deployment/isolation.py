"""Which models of a deployment run in an environment of their own, and where that is."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlops.environments.building import Recipe, build, find
from mlops.environments.files import read_requirements
from mlops.environments.references import absolute, referenced
from mlops.errors import InvalidInputError
from mlops.runtimes.folder import read_mlmodel
from mlops.runtimes.requirements import conflicts, differences
from mlops.settings.needs import StoreSettings
from mlops.spec.deployment import DeploymentSpec

_HAS_MLFLOW = re.compile(r"mlflow(-skinny)?\s*([=<>!~\[;@ ].*)?", re.IGNORECASE)


def isolate(
    settings: StoreSettings,
    spec: DeploymentSpec,
    folders: Sequence[str],
    say: Callable[[str], None],
) -> tuple[str, ...]:
    """Return the interpreter of every arm and shadow; an environment is made where there is none.

    Args:
        settings: The project's settings.
        spec: What is to be served.
        folders: Local model folder of each arm, then of each shadow; empty for an endpoint.
        say: Called with what is being done.

    Returns:
        One each, empty for the server's own; or nothing if all are.

    Raises:
        InvalidInputError: There is no `uv`, or not the Python that a model asks for.
        MlopsError: The packages could not be installed.
    """
    names = [*(arm.name for arm in spec.arms), *(shadow.name for shadow in spec.shadows)]
    pythons = [
        _python_of(settings, spec.isolate, name, Path(folder), say) if folder else ""
        for name, folder in zip(names, folders, strict=True)
    ]
    return tuple(pythons) if any(pythons) else ()


def _python_of(
    settings: StoreSettings, mode: str, name: str, folder: Path, say: Callable[[str], None]
) -> str:
    """Return the interpreter of the environment of a model; empty for the server's own."""
    if mode == "never":
        return ""
    mlmodel = read_mlmodel(folder)
    reasons = conflicts(differences(folder, mlmodel))
    if mode == "auto" and not reasons:
        return ""
    recipe = recipe_of(folder, mlmodel)
    made = find(recipe, settings.home)
    if made is not None:
        return str(made)
    if shutil.which("uv") is None:
        if mode == "auto":
            # It is served with the packages here, and the differences are among its notes.
            return ""
        raise InvalidInputError(
            f"`{name}` is to have an environment of its own, and `uv`, which makes it, is not on "
            "the path.",
            hint="`pip install uv`, or `--isolate never`.",
        )
    why = f" ({reasons[0]})" if reasons else ""
    say(f"Preparing the environment of {name}{why}")
    return str(build(recipe, settings.home, say))


def recipe_of(folder: Path, mlmodel: Mapping[str, Any]) -> Recipe:
    """Return the specification of a model's environment.

    Its Python is that of python_env.yaml, its packages are those of requirements.txt, or of
    conda.yaml where that is all there is; MLflow, which loads it, is added where they lack it.
    """
    python = str(mlmodel.get("flavors", {}).get("python_function", {}).get("python_version", ""))
    listed, file = folder / "requirements.txt", folder / "python_env.yaml"
    if file.is_file():
        python = read_requirements(file)[0] or python
    if listed.is_file():
        file = listed
        lines = [line.strip() for line in listed.read_text(encoding="utf-8").splitlines()]
        requirements = [absolute(line, folder) for line in lines if line and line[0] != "#"]
    elif (folder / "conda.yaml").is_file():
        file = folder / "conda.yaml"
        python, requirements = read_requirements(file)
    else:
        requirements = []
    if not any(map(_HAS_MLFLOW.fullmatch, requirements)):
        requirements.append("mlflow")
    return Recipe(
        "uv",
        python,
        requirements,
        file,
        contents=referenced(requirements, folder),
        otherwise="use `--isolate never`",
    )
