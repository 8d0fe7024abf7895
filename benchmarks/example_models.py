"""Models that the benchmarks of runtimes and of servers have in common."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

_ROWS, _WIDTH = 2_000, 11
_RANDOM = np.random.default_rng(1)
_NUMBERS = pd.DataFrame(
    _RANDOM.normal(5, 3, (_ROWS, _WIDTH)).round(2), columns=[f"feature {i}" for i in range(_WIDTH)]
)
_TARGET = _NUMBERS.to_numpy() @ _RANDOM.normal(size=_WIDTH) + _RANDOM.normal(size=_ROWS)
_LABELS = np.where(np.median(_TARGET) < _TARGET, "good", "bad")
_WORDS = np.array(
    [
        "wine",
        "taste",
        "good",
        "bad",
        "fine",
        "awful",
        "poor",
        "great",
        "sweet",
        "dry",
        "old",
        "young",
        "oak",
        "fruit",
    ]
)
_TEXTS = pd.DataFrame({"text": [" ".join(_RANDOM.choice(_WORDS, 20)) for _ in range(_ROWS)]})
_CUSTOMERS = pd.DataFrame({
    "plan": _RANDOM.choice(["basic", "plus", "pro"], _ROWS),
    "city": _RANDOM.choice(["Ulm", "Köln", "Rom", "Oslo"], _ROWS),
    "age": _NUMBERS["feature 0"] * 3 + 30, "visits": _NUMBERS["feature 1"],
})  # fmt: skip
Made = tuple[Any, pd.DataFrame, Any]


def _linear() -> Made:
    from sklearn.linear_model import ElasticNet

    return ElasticNet(0.1), _NUMBERS, _TARGET


def _scaled() -> Made:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression()), _NUMBERS, _LABELS


def _forest() -> Made:
    from sklearn.ensemble import RandomForestRegressor

    return RandomForestRegressor(100, n_jobs=1), _NUMBERS, _TARGET


def _histogram() -> Made:
    from sklearn.ensemble import HistGradientBoostingRegressor

    return HistGradientBoostingRegressor(), _NUMBERS, _TARGET


def _xgboost() -> Made:
    from xgboost import XGBRegressor

    return XGBRegressor(n_jobs=1), _NUMBERS, _TARGET


def _lightgbm() -> Made:
    from lightgbm import LGBMRegressor

    return LGBMRegressor(n_jobs=1, verbose=-1), _NUMBERS, _TARGET


def _text() -> Made:
    from sklearn.compose import make_column_transformer
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    words = make_column_transformer((TfidfVectorizer(), "text"))
    return make_pipeline(words, LogisticRegression()), _TEXTS, _LABELS


def _categories() -> Made:
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["plan", "city"]),
        (StandardScaler(), ["age", "visits"]),
    )
    return make_pipeline(columns, LogisticRegression()), _CUSTOMERS, _LABELS


#: Models by name: the estimator (None for a custom pyfunc), its rows, what it learns.
MODELS: dict[str, Callable[[], Made]] = {
    "linear": _linear,
    "scaler + logistic": _scaled,
    "random forest of 100": _forest,
    "histogram gradient boosting": _histogram,
    "XGBoost": _xgboost,
    "LightGBM": _lightgbm,
    "TF-IDF + logistic": _text,
    "categories + logistic": _categories,
    "custom pyfunc": lambda: (None, _NUMBERS, _TARGET),
    "custom pyfunc, 600 columns": lambda: (
        None,
        pd.DataFrame(_RANDOM.normal(size=(50, 600)), columns=[f"f{i}" for i in range(600)]),
        np.zeros(50),
    ),
}


def save(made: Made, path: Path) -> None:
    """Train a model, and save it with a signature and an input example."""
    import mlflow.pyfunc
    from mlflow.models import infer_signature

    class Sum(mlflow.pyfunc.PythonModel):  # type: ignore[misc]  # MLflow is untyped
        def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            return model_input.to_numpy().sum(axis=1)

    model, frame, target = made
    common = {
        "signature": infer_signature(frame, np.asarray(target)), "input_example": frame.head(2),
        "pip_requirements": ["scikit-learn"],
    }  # fmt: skip
    if model is None:
        mlflow.pyfunc.save_model(str(path), python_model=Sum(), **common)
        return
    flavour = type(model).__module__.partition(".")[0]
    if flavour == "sklearn":
        common["serialization_format"] = "cloudpickle"
    model.fit(frame, target)
    importlib.import_module(f"mlflow.{flavour}").save_model(model, str(path), **common)
