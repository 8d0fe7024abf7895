"""Estimators that predict from an array, by MLflow flavour.

scikit-learn's, and XGBoost's and LightGBM's in scikit-learn's form, take an array as they are.
LightGBM's own Booster does too. XGBoost's wants a DMatrix with the names it was trained with.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

#: Flavours with an estimator of their own.
_FLAVOURS = ("sklearn", "xgboost", "lightgbm")


def find_estimator(model: Any, flavours: Mapping[str, Any]) -> Any:  # noqa: ANN401 - untyped
    """Return the estimator that MLflow has loaded, or None if `predict` is not all it does.

    Args:
        model: A loaded `mlflow.pyfunc.PyFuncModel`.
        flavours: The `flavors` of its MLmodel file.
    """
    # `predict_proba` and the like are chosen at logging; only pyfunc knows how to call them.
    plain = flavours.get("python_function", {}).get("predict_fn", "predict") == "predict"
    if not plain or not any(name in flavours for name in _FLAVOURS):
        return None
    return model.get_raw_model()


def taking_arrays(estimator: object, names: Sequence[str]) -> Any:  # noqa: ANN401 - untyped
    """Return something whose `predict` takes a float64 array (n, k) without a warning.

    It shares all that is large with `estimator`, which stays as it is. An estimator that really
    needs the names of columns, such as a ColumnTransformer, fails on the array.

    Args:
        estimator: What `find_estimator` has found.
        names: Names of the k input columns.
    """
    if type(estimator).__name__ == "Booster" and type(estimator).__module__.startswith("xgboost"):
        return _XgboostBooster(estimator, names)
    nameless = _without_names(estimator)
    if hasattr(nameless, "steps"):
        nameless.steps = [(name, _without_names(step)) for name, step in nameless.steps]
    return nameless


def _without_names(estimator: Any) -> Any:  # noqa: ANN401 - untyped
    """Spare scikit-learn the warning, at every prediction, that an array has no column names."""
    if "feature_names_in_" not in getattr(estimator, "__dict__", {}):
        return copy.copy(estimator) if hasattr(estimator, "steps") else estimator
    nameless = copy.copy(estimator)
    del nameless.feature_names_in_
    return nameless


class _XgboostBooster:
    """XGBoost's own Booster, called with an array."""

    def __init__(self, booster: Any, names: Sequence[str]) -> None:  # noqa: ANN401 - untyped
        self._booster = booster
        self._names = list(names)

    def predict(self, matrix: Any) -> Any:  # noqa: ANN401 - untyped
        """Predict rows in the order of the signature."""
        import xgboost

        return self._booster.predict(xgboost.DMatrix(matrix, feature_names=self._names))
