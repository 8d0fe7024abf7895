"""scikit-learn and its kin: the estimator's own `predict` on an ordered array."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from mlops.protocols.base import Kind, Payload, Prediction, ProtocolError
from mlops.runtimes.base import Batch, Runtime, UnsuitableError, first_line
from mlops.runtimes.estimators import load_estimator
from mlops.runtimes.folder import ModelFolder
from mlops.runtimes.matrix import Matrix, MatrixBuilder, is_numeric


class NativeRuntime(Runtime):
    """Calls `estimator.predict` on a float64 array (n, k).

    Args:
        estimator: Its `predict` takes an array and gives one.
        builder: Checks rows against the signature and orders them.
        fallback: Answers requests with parameters, which only pyfunc understands,
            and such without rows.
    """

    def __init__(
        self,
        estimator: Any,  # noqa: ANN401 - scikit-learn is untyped
        builder: MatrixBuilder,
        fallback: Runtime,
    ) -> None:
        self._predict = estimator.predict
        self._builder = builder
        self._fallback = fallback

    def prepare(self, payload: Payload, parameters: Mapping[str, Any]) -> Batch:
        """See `Runtime.prepare`."""
        if parameters or not payload.n_rows:
            return self._fallback.prepare(payload, parameters)
        return Matrix(self._builder.build(payload))

    def infer(self, batch: Batch) -> Prediction:
        """See `Runtime.infer`."""
        if not isinstance(batch, Matrix):
            return self._fallback.infer(batch)
        try:
            answer: np.ndarray[Any, Any] = np.asarray(self._predict(batch.values))
        except ValueError as error:
            # scikit-learn's word for rows it cannot take, such as NaN in a linear model.
            raise ProtocolError(Kind.MISMATCH, first_line(error)) from error
        except Exception as error:
            raise ProtocolError(
                Kind.MODEL_FAILED, f"The model raised {type(error).__name__}: {error}"
            ) from error
        return answer


def open_native(model: ModelFolder) -> NativeRuntime:
    """Make the runtime of a model whose columns are all numbers.

    Raises:
        UnsuitableError: They are not, or the flavour has no estimator that takes an array.
    """
    if not is_numeric(model.signature.columns):
        raise UnsuitableError("its columns are not all required numbers")
    estimator = load_estimator(model.path, model.mlmodel.get("flavors", {}), model.signature.names)
    if estimator is None:
        raise UnsuitableError("its flavour has no estimator that takes an array")
    # Checked against the signature already; scikit-learn would say so at every prediction.
    warnings.filterwarnings("ignore", message="X does not have valid feature names")
    return NativeRuntime(estimator, MatrixBuilder(model.signature.columns), model.pyfunc)
