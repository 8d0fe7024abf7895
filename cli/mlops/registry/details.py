"""What the files of a model say about it: signature, flavours, requirements, size."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlops.errors import InvalidInputError, NotFoundError
from mlops.registry.faults import store_errors
from mlops.registry.fetching import local_path
from mlops.settings.secrets import without_credentials

if TYPE_CHECKING:
    from mlflow.types import ColSpec, TensorSpec
    from mlflow.types.schema import Schema


@dataclass(frozen=True, slots=True)
class Column:
    """One input or output of a signature.

    Attributes:
        name: Its name, empty for an unnamed tensor.
        type: For example `double`, or `float64[-1, 3]` for a tensor; -1 is any length.
        required: Whether a request must have it.
    """

    name: str
    type: str
    required: bool


@dataclass(frozen=True, slots=True)
class Details:
    """What a model's folder declares.

    Attributes:
        inputs: Columns it takes, empty without a signature.
        outputs: Columns it gives.
        flavours: For example `sklearn` and `python_function`.
        requirements: What it was trained with, as pip takes it.
        python: Python version it was trained with, empty if unknown.
        mlflow: MLflow version that saved it, empty if unknown.
        size_bytes: Size of the folder when it was saved, None if unknown.
        created: When it was saved, None if unknown.
        serialization: How its parts were serialised, for example `cloudpickle` or `skops`; empty
            if the flavour has a format of its own.
    """

    inputs: tuple[Column, ...]
    outputs: tuple[Column, ...]
    flavours: tuple[str, ...]
    requirements: tuple[str, ...]
    python: str
    mlflow: str
    size_bytes: int | None
    created: dt.datetime | None
    serialization: str = ""


def read_details(source: str) -> Details:
    """Read a model's MLmodel and requirements.txt, not the model itself.

    Args:
        source: Artifact URI or path of its folder.

    Raises:
        NotFoundError: The folder or its MLmodel is gone.
        InvalidInputError: The MLmodel is damaged.
        RemoteError: The artifact store cannot be reached.
    """
    import yaml
    from mlflow.models import Model

    text = read_model_file(source, "MLmodel")
    if text is None:
        raise NotFoundError(
            f"`{source}` has no `MLmodel` file.",
            hint="Its files were moved or deleted, or the store is a folder of another machine.",
        )
    try:
        model = Model.from_dict(yaml.safe_load(text))
    except (yaml.YAMLError, TypeError, KeyError) as error:
        raise InvalidInputError(f"`{source}/MLmodel` is damaged: {error}") from error
    function = (model.flavors or {}).get("python_function", {})
    return Details(
        inputs=_columns(model.get_input_schema()),
        outputs=_columns(model.get_output_schema()),
        flavours=tuple(sorted(model.flavors or {})),
        requirements=tuple(_requirements(read_model_file(source, "requirements.txt") or "")),
        python=str(function.get("python_version", "")),
        mlflow=str(model.mlflow_version or ""),
        size_bytes=model.model_size_bytes,
        created=_time(model.utc_time_created),
        serialization=_serialization(model.flavors or {}),
    )


def read_model_file(source: str, name: str) -> str | None:
    """Return the text of a file in a model's folder, None if there is no such file.

    Raises:
        InvalidInputError: It is not UTF-8.
        RemoteError: The artifact store cannot be reached.
    """
    folder = local_path(source)
    try:
        if folder is not None:
            path = folder / name
            return path.read_text(encoding="utf-8") if path.is_file() else None
        import mlflow

        with store_errors(source):
            return str(mlflow.artifacts.load_text(f"{source}/{name}"))
    except UnicodeDecodeError as error:
        raise InvalidInputError(
            f"`{without_credentials(source)}/{name}` is damaged: {error}."
        ) from error
    except NotFoundError:
        return None


def _columns(schema: Schema | None) -> tuple[Column, ...]:
    return tuple(_column(item) for item in schema.inputs) if schema is not None else ()


def _column(item: ColSpec | TensorSpec) -> Column:
    shape = getattr(item, "shape", None)
    kind = getattr(item.type, "name", None) or str(item.type)
    return Column(
        name=str(item.name or ""),
        type=f"{kind}{list(shape)}" if shape is not None else kind,
        required=bool(item.required),
    )


def _requirements(text: str) -> Iterable[str]:
    lines = (line.strip() for line in text.splitlines())
    return (line for line in lines if line and not line.startswith("#"))


def _serialization(flavours: Mapping[str, Mapping[str, object]]) -> str:
    for name, flavour in flavours.items():
        if name == "python_function":
            if flavour.get("python_model"):
                # A Python function of the user's own; MLflow writes it with cloudpickle.
                return "cloudpickle"
        elif flavour.get("serialization_format"):
            return str(flavour["serialization_format"])
    return ""


def _time(text: str | None) -> dt.datetime | None:
    """Read MLmodel's own time, which is UTC without saying so."""
    try:
        return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC) if text else None
    except ValueError:
        return None
