"""What does one call of a model cost, by pyfunc and by the runtime that `auto` chooses?

    python benchmarks/runtimes.py [NAME …] [--patient]

Prints processor time of `prepare` and `infer` together, per call with 1 and with 100 rows as a
client sends them, and the proof. Medians of batches; processor time of all threads, since other
programs on the machine cannot change it much. `--patient` lets conversions take minutes, for a
machine that is busy.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

# As in the server: one thread for a small model.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from common import machine

from mlops.protocols.base import Payload, Records
from mlops.runtimes import choosing, onnx_conversion
from mlops.runtimes.base import LoadedModel, Runtime
from mlops.runtimes.load import load_model

_ROWS, _WIDTH, _SECONDS = 2_000, 11, 0.5
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
_Made = tuple[Any, pd.DataFrame, Any]


def _linear() -> _Made:
    from sklearn.linear_model import ElasticNet

    return ElasticNet(0.1), _NUMBERS, _TARGET


def _scaled() -> _Made:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression()), _NUMBERS, _LABELS


def _forest() -> _Made:
    from sklearn.ensemble import RandomForestRegressor

    return RandomForestRegressor(100, n_jobs=1), _NUMBERS, _TARGET


def _histogram() -> _Made:
    from sklearn.ensemble import HistGradientBoostingRegressor

    return HistGradientBoostingRegressor(), _NUMBERS, _TARGET


def _xgboost() -> _Made:
    from xgboost import XGBRegressor

    return XGBRegressor(n_jobs=1), _NUMBERS, _TARGET


def _lightgbm() -> _Made:
    from lightgbm import LGBMRegressor

    return LGBMRegressor(n_jobs=1, verbose=-1), _NUMBERS, _TARGET


def _text() -> _Made:
    from sklearn.compose import make_column_transformer
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    words = make_column_transformer((TfidfVectorizer(), "text"))
    return make_pipeline(words, LogisticRegression()), _TEXTS, _LABELS


def _categories() -> _Made:
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["plan", "city"]),
        (StandardScaler(), ["age", "visits"]),
    )
    return make_pipeline(columns, LogisticRegression()), _CUSTOMERS, _LABELS


_MODELS: dict[str, Callable[[], _Made]] = {
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


def _save(made: _Made, path: Path) -> None:
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


def _call_us(runtime: Runtime, payload: Payload) -> float:
    """Return processor time per call in microseconds, the median of batches."""

    def batch(n: int) -> float:
        started = time.process_time_ns()
        for _ in range(n):
            runtime.infer(runtime.prepare(payload, {}))
        return (time.process_time_ns() - started) / 1000 / n

    n = max(1, int(5_000 / max(batch(2), 0.1)))
    until = time.monotonic() + _SECONDS
    times = [batch(n)]
    while time.monotonic() < until or len(times) < 5:
        times.append(batch(n))
    return statistics.median(times)


def _proof(loaded: LoadedModel) -> str:
    if loaded.proof is None:
        return ""
    return f"{loaded.proof.rows} rows, {loaded.proof.largest_difference:.1g}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", default=[*_MODELS])
    parser.add_argument("--patient", action="store_true")
    arguments = parser.parse_args()
    if arguments.patient:
        onnx_conversion._TIMEOUT_S = choosing._OPEN_S = choosing._PROOF_S = 600.0
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    print(machine())
    print("| model | runtime | pyfunc, 1 row | 1 row | pyfunc, 100 rows | 100 rows | proof |")
    print("|---|---|---|---|---|---|---|")
    for name in arguments.names:
        made = _MODELS[name]()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model"
            _save(made, path)
            loaded, plain = load_model(path), load_model(path, "pyfunc")
        records = made[1].head(100).to_dict("records")
        records *= 100 // len(records)
        cells = []
        for payload in (Records(records[:1]), Records(records)):
            for model in (plain.model, loaded.model):
                assert isinstance(model, Runtime)
                cells.append(f"{_call_us(model, payload):,.1f}")
        print("|", " | ".join([name, loaded.path_taken, *cells, _proof(loaded)]), "|", flush=True)


if __name__ == "__main__":
    main()
