"""XGBoost and LightGBM: the contributions that the libraries calculate themselves."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from mlops.explaining.base import SINGLE_TOLERANCE, Explanation, NotExactError, check_additive

_Array = np.ndarray[Any, Any]

#: Objectives whose raw score is the answer; an empty one is a function of the user's.
_PLAIN = {
    "xgboost": (
        "reg:squarederror", "reg:squaredlogerror", "reg:absoluteerror", "reg:pseudohubererror",
        "reg:quantileerror", "binary:logitraw", "rank:pairwise", "rank:ndcg", "rank:map",
    ),
    "lightgbm": (
        "", "regression", "regression_l1", "huber", "fair", "quantile", "mape", "lambdarank",
        "rank_xendcg",
    ),
}  # fmt: skip
#: Objectives whose raw score is the log-odds of the second class.
_LOGISTIC = {
    "xgboost": ("binary:logistic", "binary:logitraw"),
    "lightgbm": ("binary sigmoid:1", "cross_entropy"),
}


def explain_booster(estimator: Any, names: tuple[str, ...], rows: _Array) -> Explanation:  # noqa: ANN401 - untyped
    """Explain the raw score: of a classifier the log-odds, else what the objective's link takes.

    Args:
        estimator: A Booster, or a model of the libraries' scikit-learn form.
        names: Of the features, (k,).
        rows: (n, k).

    Raises:
        NotExactError: It is another model.
    """
    library = type(estimator).__module__.partition(".")[0]
    if library == "xgboost":
        shares, scores, classes, objective = _xgboost(estimator, names, rows)
    elif library == "lightgbm":
        shares, scores, classes, objective = _lightgbm(estimator, rows)
    else:
        raise NotExactError(f"a `{type(estimator).__name__}` is no booster")
    k = len(names)
    if scores.ndim == 2:
        best = scores.argmax(axis=1)
        at = np.arange(len(rows))
        shares, scores = shares[at, best], scores[at, best]
        output = "raw score of the class that is answered"
    else:
        output = _output(library, objective, classes)
    shares = shares.astype(np.float64)
    return check_additive(
        library, output, names, shares[:, k], shares[:, :k], scores.astype(np.float64),
        tolerance=SINGLE_TOLERANCE if library == "xgboost" else 1e-6,
    )  # fmt: skip


def _xgboost(
    estimator: Any,  # noqa: ANN401 - untyped
    names: tuple[str, ...],
    rows: _Array,
) -> tuple[_Array, _Array, Any, str]:
    import xgboost

    booster = estimator if hasattr(estimator, "save_raw") else estimator.get_booster()
    known = booster.feature_names
    matrix = xgboost.DMatrix(rows, feature_names=list(names) if known else None)
    limit = getattr(estimator, "best_iteration", None) if estimator is not booster else None
    some = {"iteration_range": (0, limit + 1)} if limit is not None else {}
    try:
        shares = booster.predict(matrix, pred_contribs=True, **some)
        scores = booster.predict(matrix, output_margin=True, **some)
    except (ValueError, xgboost.core.XGBoostError) as error:
        raise NotExactError(f"XGBoost does not explain it: {error}") from error
    objective: str = json.loads(booster.save_config())["learner"]["objective"]["name"]
    return shares, scores, _classes(estimator, scores), objective


def _lightgbm(estimator: Any, rows: _Array) -> tuple[_Array, _Array, Any, str]:  # noqa: ANN401 - untyped
    booster = getattr(estimator, "booster_", estimator)
    shares = np.asarray(booster.predict(rows, pred_contrib=True))
    scores = np.asarray(booster.predict(rows, raw_score=True))
    if scores.ndim == 2:
        shares = shares.reshape(len(rows), scores.shape[1], -1)
    header = booster.model_to_string(num_iteration=1).splitlines()
    lines = (line for line in header if line.startswith("objective="))
    objective = next(lines, "").partition("=")[2]
    return shares, scores, _classes(estimator, scores), objective


def _classes(estimator: Any, scores: _Array) -> Any:  # noqa: ANN401 - untyped
    classes = getattr(estimator, "classes_", None)
    return classes if scores.ndim == 1 and classes is not None and len(classes) == 2 else None


def _output(library: str, objective: str, classes: Any) -> str:  # noqa: ANN401 - untyped
    """Say what the raw score is; a Booster alone has no classes and answers a probability."""
    if objective in _PLAIN[library] and classes is None:
        return "prediction"
    if objective in _LOGISTIC[library]:
        return f"log-odds of class {1 if classes is None else classes[1]}"
    return f"raw score of the objective `{objective or 'custom'}`"
