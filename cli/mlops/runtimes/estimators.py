"""Estimators that predict from an array, by MLflow flavour.

scikit-learn's, and XGBoost's and LightGBM's in scikit-learn's form, take an array as they are.
LightGBM's own Booster does too. XGBoost's wants a DMatrix with the names it was trained with.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

#: Flavours with an estimator of their own, to the MLflow module that loads it.
_LOADERS = {
    "sklearn": "mlflow.sklearn",
    "xgboost": "mlflow.xgboost",
    "lightgbm": "mlflow.lightgbm",
}


def load_estimator(path: Path, flavours: Mapping[str, Any], names: Sequence[str]) -> Any:  # noqa: ANN401 - these libraries are untyped
    """Load something whose `predict` takes a float64 array (n, k), or None if there is no such.

    Args:
        path: The model's folder.
        flavours: The `flavors` of its MLmodel file.
        names: Names of the k input columns.
    """
    flavour = next((name for name in _LOADERS if name in flavours), None)
    # `predict_proba` and the like are chosen at logging; only pyfunc knows how to call them.
    plain = flavours.get("python_function", {}).get("predict_fn", "predict") == "predict"
    if flavour is None or not plain:
        return None
    estimator = importlib.import_module(_LOADERS[flavour]).load_model(str(path))
    _forget_names(estimator)
    if flavour == "xgboost" and type(estimator).__name__ == "Booster":
        return _XgboostBooster(estimator, names)
    return estimator


def _forget_names(estimator: Any) -> None:  # noqa: ANN401 - untyped
    """Spare scikit-learn the warning, at every prediction, that an array has no column names.

    The signature's names were checked already. An estimator that really needs them, such as a
    ColumnTransformer, fails on the array and is left to pyfunc.
    """
    for step in [estimator, *(part for _, part in getattr(estimator, "steps", ()))]:
        if "feature_names_in_" in getattr(step, "__dict__", {}):
            del step.feature_names_in_


class _XgboostBooster:
    """XGBoost's own Booster, called with an array."""

    def __init__(self, booster: Any, names: Sequence[str]) -> None:  # noqa: ANN401 - untyped
        self._booster = booster
        self._names = list(names)

    def predict(self, matrix: Any) -> Any:  # noqa: ANN401 - untyped
        """Predict rows in the order of the signature."""
        import xgboost

        return self._booster.predict(xgboost.DMatrix(matrix, feature_names=self._names))
