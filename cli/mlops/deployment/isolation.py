"""Which models of a deployment run in an environment of their own, and where that is."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlops.environments.building import Recipe, build, find
from mlops.environments.files import read_requirements
from mlops.environments.references import absent, absolute, referenced, within
from mlops.errors import InvalidInputError
from mlops.registry.fetching import plain_folder
from mlops.runtimes.folder import read_mlmodel
from mlops.runtimes.requirements import conflicts, differences
from mlops.settings.needs import StoreSettings
from mlops.spec.deployment import DeploymentSpec
from mlops.spec.model import ModelVersion

_FILES = ("requirements.txt", "python_env.yaml", "conda.yaml")
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
        InvalidInputError: There is no `uv`, or not the Python that a model asks for, or not what
            its requirements name on this machine.
        MlopsError: The packages could not be installed.
    """
    names = [*(arm.name for arm in spec.arms), *(shadow.name for shadow in spec.shadows)]
    pythons = [
        _python_of(settings, spec.isolate, name, model, Path(folder), say) if folder else ""
        for name, model, folder in zip(names, spec.models, folders, strict=True)
    ]
    return tuple(pythons) if any(pythons) else ()


def _python_of(
    settings: StoreSettings,
    mode: str,
    name: str,
    model: ModelVersion,
    folder: Path,
    say: Callable[[str], None],
) -> str:
    """Return the interpreter of the environment of a model; empty for the server's own."""
    if mode == "never":
        return ""
    mlmodel = read_mlmodel(folder)
    reasons = conflicts(differences(folder, mlmodel))
    if mode == "auto" and not reasons:
        return ""
    recipe = recipe_of(folder, mlmodel, plain_folder(model.source))
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
    _check_complete(name, model, recipe, mlmodel)
    why = f" ({reasons[0]})" if reasons else ""
    say(f"Preparing the environment of {name}{why}")
    return str(build(recipe, settings.home, say))


def _check_complete(
    name: str, model: ModelVersion, recipe: Recipe, mlmodel: Mapping[str, Any]
) -> None:
    """Refuse requirements that name what is not here, before an installer says so of a copy."""
    folder = recipe.file.parent
    lacking = absent(_listed(folder, mlmodel)[2], folder)
    if lacking:
        source = plain_folder(model.source)
        of_copy = source is not None and source.resolve() != folder.resolve()
        there = f"`{source}` no longer has the same requirements" if of_copy else "it is not there"
        raise InvalidInputError(
            f"The requirements of `{name}` name `{lacking[0]}` on this machine, and {there}.",
            hint="Save the model with that in it (`code_paths`, or a wheel in its folder), or use "
            "`--isolate never`.",
        )


def recipe_of(folder: Path, mlmodel: Mapping[str, Any], source: Path | None = None) -> Recipe:
    """Return the specification of a model's environment.

    Its Python is that of python_env.yaml, its packages are those of requirements.txt, or of
    conda.yaml where that is all there is; MLflow, which loads it, is added where they lack it.

    Args:
        folder: The model's folder, which may be a copy.
        mlmodel: Its MLmodel.
        source: The folder that it is a copy of; what is beside the model is looked for there.
    """
    python, file, lines = _listed(folder, mlmodel)
    if source is not None and absent(lines, folder) and _ask_the_same(folder, source, mlmodel):
        folder = source
        python, file, lines = _listed(source, mlmodel)
    requirements = [absolute(line, folder) for line in lines]
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


def _listed(folder: Path, mlmodel: Mapping[str, Any]) -> tuple[str, Path, list[str]]:
    """Return the Python that a model asks for, the file that names its packages, and these."""
    python = str(mlmodel.get("flavors", {}).get("python_function", {}).get("python_version", ""))
    listed, file = folder / "requirements.txt", folder / "python_env.yaml"
    if file.is_file():
        python = read_requirements(file)[0] or python
    if listed.is_file():
        lines = [line.strip() for line in listed.read_text(encoding="utf-8").splitlines()]
        return python, listed, [line for line in lines if line and line[0] != "#"]
    if (folder / "conda.yaml").is_file():
        file = folder / "conda.yaml"
        python, lines = read_requirements(file)
        return python, file, lines
    return python, file, []


def _ask_the_same(one: Path, other: Path, mlmodel: Mapping[str, Any]) -> bool:
    """Whether two folders have the same requirements, and of what these name in them the same."""
    named = [within(_listed(folder, mlmodel)[2], folder) for folder in (one, other)]
    return named[0] == named[1] and all(
        _bytes(one / name) == _bytes(other / name) for name in _FILES
    )


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None
