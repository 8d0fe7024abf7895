"""Models asked about the same rows, whose truth is known.

Metrics that training scripts log are comparable only if the scripts held out the same rows and
computed the same thing. Here every model predicts the same file, and the same formulas judge them
(`mlops.registry.measures`). Rows without a target are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops.errors import InvalidInputError, MlopsError, NotFoundError, did_you_mean, one_of
from mlops.protocols.predictions import rows_of
from mlops.registry.class_probabilities import Answered
from mlops.registry.fetching import fetched
from mlops.registry.measures import measure_all
from mlops.registry.trust import check_trusted
from mlops.rewards.base import NO_TERMS, Terms
from mlops.runtimes.classes import read_classes
from mlops.runtimes.pyfunc import as_prediction
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
        notes: What a reader must know to judge this.
        missing: Why some model lacks a metric, by its name.
    """

    data: Path
    target: str
    rows: int
    metrics: tuple[Mapping[str, float], ...]
    notes: tuple[str, ...]
    missing: Mapping[str, str]


def evaluate(
    settings: StoreSettings,
    versions: Sequence[ModelVersion],
    data: Path,
    target: str,
    terms: Terms = NO_TERMS,
) -> Evaluation:
    """Have every model predict the rows of a file.

    Args:
        settings: Where models are cached.
        versions: The models; loading one runs its code.
        data: CSV or Parquet file.
        target: Column with the truth.
        terms: Costs, if they are known, and the rule by which probabilities have one.

    Raises:
        NotFoundError: There is no such file.
        InvalidInputError: It is not a table, lacks the target, or has no row with one; or a model
            does not take its columns, or answers what cannot be compared.
        MlopsError: A model could not be loaded or failed.
    """
    truth, known = _truth(data, target)
    answered = [_predict(settings, each, data, target, known) for each in versions]
    found = measure_all(truth, answered, terms, target)
    return Evaluation(data, target, len(truth), found.metrics, found.notes, found.missing)


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
) -> Answered:
    with fetched([version], settings) as (folder,):
        check_trusted(settings, [version], [folder])
        model = _load(version, folder)
        signature = _signature(model)
        frame = read_frame(data, signature)[known].reset_index(drop=True).drop(columns=target)
        # A model without a signature gets every column, as in training.
        features = frame[[name for name in signature.names if name in frame] or frame.columns]
        try:
            answer = as_prediction(model.predict(features))
        except Exception as error:
            cells = {name: values_of(features[name]) for name in features}
            misfit = check(signature.columns, cells)
            raise InvalidInputError(
                f"`{version.label}` cannot predict these rows: {misfit or _said(error)}",
                hint=misfit.hint if misfit else None,
            ) from error
        classes = read_classes(model)
    rows = rows_of(answer, len(features))
    if rows is None:
        raise InvalidInputError(
            f"`{version.label}` answers {len(features):,} rows as a whole, not each of them."
        )
    return Answered(version.label, rows, classes)


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
