"""scikit-learn and its kin: the estimator's own `predict` on an ordered array."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mlops.protocols.base import Kind, Payload, Prediction, ProtocolError
from mlops.serving.models.base import ServableModel, first_line
from mlops.serving.models.matrix import MatrixBuilder


class NativeModel:
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
        fallback: ServableModel,
    ) -> None:
        self._predict = estimator.predict
        self._builder = builder
        self._fallback = fallback

    def predict(self, payload: Payload, parameters: Mapping[str, Any]) -> Prediction:
        """See `ServableModel.predict`."""
        if parameters or not payload.n_rows:
            return self._fallback.predict(payload, parameters)
        matrix = self._builder.build(payload)
        try:
            answer: np.ndarray[Any, Any] = np.asarray(self._predict(matrix))
        except ValueError as error:
            # scikit-learn's word for rows it cannot take, such as NaN in a linear model.
            raise ProtocolError(Kind.MISMATCH, first_line(error)) from error
        except Exception as error:
            raise ProtocolError(
                Kind.MODEL_FAILED, f"The model raised {type(error).__name__}: {error}"
            ) from error
        return answer
