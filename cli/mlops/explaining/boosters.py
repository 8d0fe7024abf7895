"""XGBoost and LightGBM: the contributions that the libraries calculate themselves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from mlops.explaining.base import (
    SINGLE_TOLERANCE,
    Explanation,
    NotExactError,
    check_additive,
    of_classes,
    pick_classes,
    plain_label,
)

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


def explain_booster(
    estimator: Any,  # noqa: ANN401 - untyped
    names: tuple[str, ...],
    rows: _Array,
    classes: Sequence[Any] | None = None,
) -> Explanation:
    """Explain the raw score: of a classifier the log-odds, else what the objective's link takes.

    Args:
        estimator: A Booster, or a model of the libraries' scikit-learn form.
        names: Of the features, (k,).
        rows: (n, k).
        classes: Of each row the class to explain; None for the second of two, else the answer's.

    Raises:
        NotExactError: It is another model.
        OtherClassesError: It does not know one of the classes.
    """
    library = type(estimator).__module__.partition(".")[0]
    if library == "xgboost":
        shares, scores, objective = _xgboost(estimator, names, rows)
    elif library == "lightgbm":
        shares, scores, objective = _lightgbm(estimator, rows)
    else:
        raise NotExactError(f"a `{type(estimator).__name__}` is no booster")
    k = len(names)
    known, what = _known(library, objective, estimator, scores), ""
    labels: list[Any] = []
    if scores.ndim == 2:
        picked = pick_classes(known, scores.argmax(axis=1), classes)
        at = np.arange(len(rows))
        shares, scores, what = shares[at, picked], scores[at, picked], "raw score"
    elif len(known):
        picked = pick_classes(known, np.ones(len(rows), dtype=np.int64), classes)
        sign = np.where(picked == 1, 1.0, -1.0)
        shares, scores, what = sign[:, None] * shares, sign * scores, "log-odds"
    if len(known):
        labels = [plain_label(known[each]) for each in picked]
    output = of_classes(what, labels) if labels else _output(library, objective)
    shares = shares.astype(np.float64)
    return check_additive(
        library, output, names, shares[:, k], shares[:, :k], scores.astype(np.float64),
        tolerance=SINGLE_TOLERANCE if library == "xgboost" else 1e-6, classes=labels or None,
    )  # fmt: skip


def _xgboost(
    estimator: Any,  # noqa: ANN401 - untyped
    names: tuple[str, ...],
    rows: _Array,
) -> tuple[_Array, _Array, str]:
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
    return shares, scores, objective


def _lightgbm(estimator: Any, rows: _Array) -> tuple[_Array, _Array, str]:  # noqa: ANN401 - untyped
    booster = getattr(estimator, "booster_", estimator)
    shares = np.asarray(booster.predict(rows, pred_contrib=True))
    scores = np.asarray(booster.predict(rows, raw_score=True))
    if scores.ndim == 2:
        shares = shares.reshape(len(rows), scores.shape[1], -1)
    header = booster.model_to_string(num_iteration=1).splitlines()
    lines = (line for line in header if line.startswith("objective="))
    objective = next(lines, "").partition("=")[2]
    return shares, scores, objective


def _known(library: str, objective: str, estimator: Any, scores: _Array) -> Sequence[Any]:  # noqa: ANN401 - untyped
    """Return the classes, by position; none where the raw score is of none."""
    classes = getattr(estimator, "classes_", None)
    if scores.ndim == 2:
        return range(scores.shape[1]) if classes is None else classes
    if objective not in _LOGISTIC[library]:
        return ()
    if classes is None:
        # A Booster alone answers a probability; its logit of one is a prediction.
        return () if objective in _PLAIN[library] else (0, 1)
    return classes if len(classes) == 2 else ()


def _output(library: str, objective: str) -> str:
    """Say what a raw score is that is not of a class."""
    if objective in _PLAIN[library]:
        return "prediction"
    return f"raw score of the objective `{objective or 'custom'}`"
