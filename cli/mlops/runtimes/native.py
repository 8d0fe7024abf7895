"""scikit-learn and its kin: the estimator's own `predict` on an ordered array."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from mlops.protocols.base import Prediction
from mlops.runtimes.base import Batch, Runtime, UnsuitableError
from mlops.runtimes.estimators import find_estimator, taking_arrays
from mlops.runtimes.failures import failure_of
from mlops.runtimes.folder import ModelFolder
from mlops.runtimes.matrix import Matrix, MatrixBuilder, is_numeric
from mlops.runtimes.matrix_runtime import MatrixRuntime

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

_Array = np.ndarray[Any, Any]


class NativeRuntime(MatrixRuntime):
    """Calls the `predict` of an estimator.

    Args:
        estimator: Its `predict` takes an array and gives one.
        builder: Checks rows against the signature and orders them.
        fallback: Answers requests with parameters, and such without rows.
    """

    def __init__(self, estimator: BaseEstimator, builder: MatrixBuilder, fallback: Runtime) -> None:
        super().__init__(builder, fallback)
        self._predict = estimator.predict

    def infer(self, batch: Batch) -> Prediction:
        """See `Runtime.infer`."""
        if not isinstance(batch, Matrix):
            return self._fallback.infer(batch)
        try:
            answer: _Array = np.asarray(self._predict(batch.values))
        except Exception as error:
            raise failure_of(error, *self._named(batch.values)) from error
        return answer


def open_native(model: ModelFolder) -> NativeRuntime:
    """Make the runtime of a model whose columns are all numbers.

    Raises:
        UnsuitableError: They are not, or the flavour has no estimator that takes an array.
    """
    names = model.signature.names
    estimator = taking_arrays(numeric_estimator(model), names)
    # Checked against the signature already; scikit-learn would say so at every prediction.
    warnings.filterwarnings("ignore", message="X does not have valid feature names")
    builder = MatrixBuilder(model.signature.columns)
    return NativeRuntime(estimator, builder, model.pyfunc)


def numeric_estimator(model: ModelFolder) -> BaseEstimator:
    """Return the estimator of a model whose columns are all numbers.

    Raises:
        UnsuitableError: They are not, or the flavour has none.
    """
    if not is_numeric(model.signature.columns):
        raise UnsuitableError("its columns are not all required numbers")
    estimator = find_estimator(model.pyfunc.raw, model.mlmodel.get("flavors", {}))
    if estimator is None:
        raise UnsuitableError("it is not a scikit-learn, XGBoost or LightGBM model's `predict`")
    return estimator
