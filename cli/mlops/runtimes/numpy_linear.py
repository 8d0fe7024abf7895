"""Linear models, and pipelines of scalers and one: their few sums and products in plain NumPy.

scikit-learn spends tens of microseconds on checks before a product of a hundred nanoseconds. The
same operations in the same order give the same digits; what is not an ordinary row (a missing or
infinite cell) is left to scikit-learn itself, which refuses it or not.

Symbols: x is a row of k cells, W the coefficients (k,) or (k, c), b the intercept.
"""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from mlops.protocols.base import Prediction
from mlops.runtimes.base import Batch, Runtime, UnsuitableError
from mlops.runtimes.estimators import find_estimator
from mlops.runtimes.folder import ModelFolder
from mlops.runtimes.matrix import Matrix, MatrixBuilder
from mlops.runtimes.matrix_runtime import MatrixRuntime
from mlops.runtimes.native import NativeRuntime, numeric_estimator, open_native
from mlops.runtimes.numpy_columns import open_columns
from mlops.runtimes.scaling import Step, unpipe

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

_Array = np.ndarray[Any, Any]

#: Their `predict` is x W + b.
_REGRESSORS = frozenset({
    "ARDRegression", "BayesianRidge", "ElasticNet", "ElasticNetCV", "HuberRegressor", "Lars",
    "LarsCV", "Lasso", "LassoCV", "LassoLars", "LassoLarsCV", "LassoLarsIC", "LinearRegression",
    "LinearSVR", "OrthogonalMatchingPursuit", "OrthogonalMatchingPursuitCV", "Ridge", "RidgeCV",
    "SGDRegressor", "TheilSenRegressor",
})  # fmt: skip
#: Their `predict` is the class of the largest x W + b; of two classes, the second where it is > 0.
_CLASSIFIERS = frozenset({
    "LinearSVC", "LogisticRegression", "LogisticRegressionCV", "Perceptron", "RidgeClassifier",
    "RidgeClassifierCV", "SGDClassifier",
})  # fmt: skip


class LinearRuntime(MatrixRuntime):
    """Predicts x W + b, or the class that follows from it.

    Args:
        steps: Change the rows before.
        weights: W.
        intercept: b, (1,) or (c,).
        classes: Labels (c,) of a classifier, None of a regressor.
        builder: Checks rows against the signature and orders them.
        exact: Answers rows whose x W + b is not finite.
        fallback: Answers requests with parameters, and such without rows.
    """

    def __init__(
        self,
        steps: tuple[Step, ...],
        weights: _Array,
        intercept: _Array,
        classes: _Array | None,
        builder: MatrixBuilder,
        exact: NativeRuntime,
        fallback: Runtime,
    ) -> None:
        super().__init__(builder, fallback)
        self._exact = exact
        self._steps = steps
        self._weights = weights
        self._intercept = intercept
        self._classes = classes

    def allow_joining(self) -> None:
        """Do nothing: a product with other rows beside it may have another last digit."""

    def infer(self, batch: Batch) -> Prediction:
        """See `Runtime.infer`."""
        if type(batch) is not Matrix:
            return self._fallback.infer(batch)
        rows = batch.values
        for step in self._steps:
            rows = step(rows)
        scores: _Array = rows.dot(self._weights)
        scores += self._intercept
        is_finite = isfinite(scores.item()) if scores.size == 1 else np.isfinite(scores).all()
        if not is_finite:
            return self._exact.infer(batch)
        classes = self._classes
        if classes is None:
            return scores
        picked: _Array = scores > 0 if scores.ndim == 1 else scores.argmax(axis=1)
        labels: _Array = classes.take(picked)
        return labels


def open_numpy(model: ModelFolder) -> Runtime:
    """Make the runtime of a linear model, also behind scalers or a column transformer.

    Raises:
        UnsuitableError: It is another model.
    """
    pipeline = find_estimator(model.pyfunc.raw, model.mlmodel.get("flavors", {}))
    parts = [step for _, step in getattr(pipeline, "steps", ())]
    if parts and type(parts[0]).__name__ == "ColumnTransformer":
        return open_columns(model, pipeline, linear_parts(parts[-1]))
    estimator = numeric_estimator(model)
    steps, last = unpipe(estimator)
    weights, intercept, classes = linear_parts(last)
    return LinearRuntime(
        steps,
        weights,
        intercept,
        classes,
        MatrixBuilder(model.signature.columns),
        open_native(model),
        model.pyfunc,
    )


def linear_parts(model: BaseEstimator) -> tuple[_Array, _Array, _Array | None]:
    """Return W, b and the classes of a linear model of scikit-learn.

    Raises:
        UnsuitableError: It is another model.
    """
    name = type(model).__name__
    if not type(model).__module__.startswith("sklearn."):
        raise UnsuitableError(f"a `{name}` is not one of scikit-learn")
    if name not in _REGRESSORS | _CLASSIFIERS:
        raise UnsuitableError(f"a `{name}` is not a linear model")
    weights = np.asarray(model.coef_)
    classes = np.asarray(model.classes_) if name in _CLASSIFIERS else None
    intercept = np.atleast_1d(np.asarray(model.intercept_, dtype=float))
    if weights.ndim == 1:
        return weights, intercept, classes
    if classes is None:
        return weights.T, intercept, None
    if classes.ndim != 1:
        raise UnsuitableError("it has several outputs")
    # Of two classes scikit-learn has one row of coefficients.
    return (weights[0] if len(weights) == 1 else weights.T), intercept, classes
