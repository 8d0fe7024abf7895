"""Models asked about the same rows, whose truth is known.

Metrics that training scripts log are comparable only if the scripts held out the same rows and
computed the same thing. Here every model predicts the same file, and the same formulas judge them.

A target and predictions that are numbers give rmse, mae and r2. Predictions that name classes
(text, booleans, whole numbers) give accuracy and f1_macro, the unweighted mean of the F1 score over
all classes. Rows without a target are left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops.errors import InvalidInputError, MlopsError, NotFoundError, did_you_mean, one_of
from mlops.registry.fetching import fetched
from mlops.registry.trust import check_trusted
from mlops.tables.fit import check
from mlops.tables.frames import read_frame, values_of
from mlops.tables.signature import Signature, signature_of

if TYPE_CHECKING:
    from mlflow.pyfunc import PyFuncModel
    from numpy.typing import NDArray

    from mlops.settings.needs import StoreSettings
    from mlops.spec.model import ModelVersion


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Metrics of several models on the same rows.

    Attributes:
        data: The file.
        target: Column with the truth.
        rows: Rows that have one.
        metrics: Of each model, in their order.
    """

    data: Path
    target: str
    rows: int
    metrics: tuple[Mapping[str, float], ...]


def evaluate(
    settings: StoreSettings, versions: Sequence[ModelVersion], data: Path, target: str
) -> Evaluation:
    """Have every model predict the rows of a file.

    Args:
        settings: Where models are cached.
        versions: The models; loading one runs its code.
        data: CSV or Parquet file.
        target: Column with the truth.

    Raises:
        NotFoundError: There is no such file.
        InvalidInputError: It is not a table, lacks the target, or has no row with one; or a model
            does not take its columns.
        MlopsError: A model could not be loaded or failed.
    """
    truth, known = _truth(data, target)
    metrics = [measure(truth, _predict(settings, v, data, target, known)) for v in versions]
    return Evaluation(data, target, len(truth), tuple(metrics))


def measure(truth: NDArray[Any], predicted: NDArray[Any]) -> dict[str, float]:
    """Return every metric that fits; what both models have can be compared.

    Args:
        truth: (n,) true values.
        predicted: (n,) predictions.
    """
    import numpy as np
    from sklearn import metrics

    found: dict[str, float] = {}
    if predicted.dtype.kind == "f" and not np.isfinite(predicted).all():
        # A prediction that is not a number is infinitely wrong; sklearn would refuse it.
        return dict.fromkeys(("rmse", "mae", "r2"), math.nan)
    if truth.dtype.kind in "iuf" and predicted.dtype.kind in "iuf":
        found["rmse"] = float(metrics.root_mean_squared_error(truth, predicted))
        found["mae"] = float(metrics.mean_absolute_error(truth, predicted))
        if len(truth) > 1:
            found["r2"] = float(metrics.r2_score(truth, predicted))
    if predicted.dtype.kind != "f":
        one, other = _classes(truth), _classes(predicted)
        found["accuracy"] = float(metrics.accuracy_score(one, other))
        found["f1_macro"] = float(metrics.f1_score(one, other, average="macro", zero_division=0))
    return found


def _truth(data: Path, target: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the (m,) known true values, and which of the (n,) rows have one."""
    if not data.is_file():
        raise NotFoundError(f"There is no file `{data}`.", hint="Give one with `--data`.")
    try:
        frame = read_frame(data)
    except InvalidInputError as error:
        raise InvalidInputError(f"`{data}`: {error.message}") from error
    names = [str(name) for name in frame.columns]
    if target not in names:
        raise InvalidInputError(
            f"`{data}` has no column `{target}`; its columns are {one_of(names[:20])}.",
            hint=did_you_mean(target, names) or "Name the truth with `--target`.",
        )
    known = frame[target].notna()
    if not known.any():
        raise InvalidInputError(f"`{data}` has no row with a `{target}`.")
    return frame[target][known].to_numpy(), known.to_numpy()


def _predict(
    settings: StoreSettings, version: ModelVersion, data: Path, target: str, known: NDArray[Any]
) -> NDArray[Any]:
    import numpy as np

    with fetched([version], settings) as (folder,):
        check_trusted(settings, [version], [folder])
        model = _load(version, folder)
        signature = _signature(model)
        frame = read_frame(data, signature)[known].reset_index(drop=True).drop(columns=target)
        # A model without a signature gets every column, as in training.
        features = frame[[name for name in signature.names if name in frame] or frame.columns]
        try:
            answer = np.asarray(model.predict(features))
        except Exception as error:
            cells = {name: values_of(features[name]) for name in features}
            misfit = check(signature.columns, cells)
            raise InvalidInputError(
                f"`{version.label}` cannot predict these rows: {misfit or _said(error)}",
                hint=misfit.hint if misfit else None,
            ) from error
    if answer.size != len(features):
        raise InvalidInputError(
            f"`{version.label}` answers {len(features)} rows with an array of shape "
            f"{answer.shape}; one value per row can be compared."
        )
    return answer.reshape(-1)


def _load(version: ModelVersion, folder: Path) -> PyFuncModel:
    import mlflow

    try:
        return mlflow.pyfunc.load_model(str(folder))
    except Exception as error:
        raise MlopsError(
            f"`{version.label}` could not be loaded: {error}",
            hint=f"`mlops models show {version.label}` lists what it was trained with.",
        ) from error


def _signature(model: PyFuncModel) -> Signature:
    signature = model.metadata.signature
    return signature_of(signature.to_dict()) if signature else Signature()


def _said(error: Exception) -> str:
    """Return the message of an error in one line."""
    # MLflow shows the rows first, and gives the reason in the end.
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].removeprefix("Error: ") if lines else type(error).__name__


def _classes(values: NDArray[Any]) -> list[str]:
    """Write classes as text, so that 1 and 1.0 are the same one."""
    return [
        str(int(v)) if isinstance(v, int | float) and float(v).is_integer() else str(v)
        for v in values.tolist()
    ]
