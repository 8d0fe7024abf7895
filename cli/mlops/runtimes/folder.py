"""A model's folder: what its MLmodel file says, and the model as MLflow loads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from mlops.errors import InvalidInputError
from mlops.tables.signature import Signature

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
        conversions: What has been converted of it, by the name of a file that begins with that of
            the runtime; a runtime that finds its own here does not convert again.
    """

    path: Path
    mlmodel: Mapping[str, Any]
    signature: Signature
    pyfunc: PyfuncRuntime
    conversions: dict[str, bytes] = field(default_factory=dict)


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
