"""A model's folder: what its MLmodel file says, and the model as MLflow loads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from mlops.errors import InvalidInputError
from mlops.tables.signature import Signature, read_signature

if TYPE_CHECKING:
    from mlops.runtimes.pyfunc import PyfuncRuntime


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A model that MLflow has loaded, for runtimes to be made of.

    Attributes:
        path: Its folder.
        mlmodel: Its MLmodel file, parsed.
        signature: What the model says it takes and gives.
        pyfunc: The runtime that all others are compared with.
    """

    path: Path
    mlmodel: Mapping[str, Any]
    signature: Signature
    pyfunc: PyfuncRuntime


def read_mlmodel(path: Path) -> dict[str, Any]:
    """Read the MLmodel file of a folder.

    Raises:
        InvalidInputError: There is none, or it is damaged.
    """
    file = path / "MLmodel"
    if not file.is_file():
        raise InvalidInputError(f"`{path}` is not an MLflow model: it has no `MLmodel` file.")
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"`{file}` cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise InvalidInputError(f"`{file}` is not an MLflow model's.")
    return document


def open_folder(path: Path, mlmodel: Mapping[str, Any], notes: Sequence[str]) -> ModelFolder:
    """Load a model through MLflow. Runs the model's code; may take seconds.

    Args:
        path: Its folder.
        mlmodel: Its MLmodel file, parsed.
        notes: How the packages here differ from those of its training, for the error.

    Raises:
        InvalidInputError: It cannot be loaded here.
    """
    import mlflow.pyfunc

    from mlops.runtimes.pyfunc import PyfuncRuntime

    signature = read_signature(mlmodel)
    try:
        pyfunc = PyfuncRuntime(mlflow.pyfunc.load_model(str(path)), signature)
    except Exception as error:
        raise InvalidInputError(
            f"The model in `{path}` cannot be loaded here: {type(error).__name__}: {error}",
            hint="; ".join(notes) or "Serve it with the packages it was trained with.",
        ) from error
    return ModelFolder(path, mlmodel, signature, pyfunc)
