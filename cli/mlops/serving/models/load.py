"""Load a model folder, warm it, and choose the fastest way of calling it that is right."""

from __future__ import annotations

import json
import statistics
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from mlops.errors import InvalidInputError
from mlops.protocols.base import Payload, Prediction, ProtocolError, Rows
from mlops.serving.models.base import LoadedModel, ServableModel
from mlops.serving.models.classes import read_classes
from mlops.serving.models.matrix import MatrixBuilder, is_numeric
from mlops.serving.models.requirements import differences
from mlops.tables.signature import Signature, read_signature

if TYPE_CHECKING:
    from mlops.serving.models.pyfunc import PyfuncModel

_WARM_UP_CALLS = 20


def load_model(path: Path) -> LoadedModel:
    """Load the MLflow model in `path`. Runs the model's code; may take seconds.

    Raises:
        InvalidInputError: There is no model, it cannot be loaded here, or it refuses its own
            input example.
    """
    mlmodel = _read_mlmodel(path)
    signature = read_signature(mlmodel)
    notes = differences(path, mlmodel)
    pyfunc = _load_pyfunc(path, signature, notes)
    example = _read_example(path, mlmodel)
    model: ServableModel = pyfunc
    if example is not None:
        try:
            expected = pyfunc.predict(Rows(example[1], example[0]), {})
        except ProtocolError as error:
            raise InvalidInputError(
                f"The model in `{path}` refuses its own input example: {error.message}",
                hint="Log it with an `input_example` that fits its signature.",
            ) from error
        native = _load_native(path, mlmodel, signature, pyfunc)
        if native is not None and _agrees(native, Rows(example[1], example[0]), expected):
            model = native
    return LoadedModel(
        model=model,
        signature=signature,
        path_taken="pyfunc" if model is pyfunc else "native",
        example=example,
        row_ms=_warm_up(model, example),
        notes=tuple(notes),
        classes=read_classes(pyfunc.raw),
    )


def _read_mlmodel(path: Path) -> dict[str, Any]:
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


def _load_pyfunc(path: Path, signature: Signature, notes: list[str]) -> PyfuncModel:
    import mlflow.pyfunc

    from mlops.serving.models.pyfunc import PyfuncModel

    try:
        return PyfuncModel(mlflow.pyfunc.load_model(str(path)), signature)
    except Exception as error:
        raise InvalidInputError(
            f"The model in `{path}` cannot be loaded here: {type(error).__name__}: {error}",
            hint="; ".join(notes) or "Serve it with the packages it was trained with.",
        ) from error


def _load_native(
    path: Path, mlmodel: Mapping[str, Any], signature: Signature, pyfunc: ServableModel
) -> ServableModel | None:
    if not is_numeric(signature.columns):
        return None
    from mlops.serving.models.estimators import load_estimator
    from mlops.serving.models.native import NativeModel

    estimator = load_estimator(path, mlmodel.get("flavors", {}), signature.names)
    if estimator is None:
        return None
    # Checked against the signature already; scikit-learn would say so at every prediction.
    warnings.filterwarnings("ignore", message="X does not have valid feature names")
    return NativeModel(estimator, MatrixBuilder(signature.columns), pyfunc)


def _agrees(model: ServableModel, payload: Payload, expected: Prediction) -> bool:
    import numpy as np

    if not isinstance(expected, np.ndarray):
        return False
    try:
        answer = model.predict(payload, {})
    except ProtocolError:
        return False
    if not isinstance(answer, np.ndarray) or answer.dtype != expected.dtype:
        return False
    return np.array_equal(answer, expected)


def _read_example(
    path: Path, mlmodel: Mapping[str, Any]
) -> tuple[tuple[str, ...] | None, list[list[Any]]] | None:
    """Read the model's input example, if it is a table that JSON can carry."""
    info = mlmodel.get("saved_input_example_info") or {}
    file = path / str(info.get("artifact_path", ""))
    if info.get("type") != "dataframe" or not file.is_file():
        return None
    document = json.loads(file.read_text(encoding="utf-8"))
    rows = document.get("data") or []
    return (tuple(document["columns"]) if document.get("columns") else None, rows) if rows else None


def _warm_up(
    model: ServableModel, example: tuple[tuple[str, ...] | None, list[list[Any]]] | None
) -> float:
    """Call the model until its first-call costs are paid; return the median in milliseconds."""
    if example is None:
        return float("nan")
    one = Rows(example[1][:1], example[0])
    times = []
    for _ in range(_WARM_UP_CALLS):
        started = time.perf_counter()
        model.predict(one, {})
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times)
