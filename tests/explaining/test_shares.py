"""Shares are Shapley values: compared with the definition, over all coalitions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_limits

from mlops.explaining import Explainable, Explanation, NotExactError, explain
from mlops.explaining.trees import explain_trees
from mlops.tables.signature import Column, Signature

K, N = 4, 120
NAMES = tuple(f"f{at}" for at in range(K))
_RANDOM = np.random.default_rng(7)
X = _RANDOM.normal(size=(N, K)).round(1)
Y = X[:, 0] * X[:, 1] - 2 * X[:, 2] + 0.1 * _RANDOM.normal(size=N)
LABELS = np.array(["low", "high"])[(Y > 0).astype(int)]
THREE = np.digitize(Y, [-1, 1])
BACKGROUND = X[:12]
FRAME = pd.DataFrame(X, columns=list(NAMES))


def by_definition(f: Callable[[Any], Any], x: Any, background: Any) -> Any:
    """Shapley values by their definition: the mean over all orders, over all of the background."""

    def worth(members: tuple[int, ...]) -> float:
        mixed = background.copy()
        mixed[:, list(members)] = x[list(members)]
        return float(np.mean(f(mixed)))

    shares = np.zeros(K)
    for j in range(K):
        others = [at for at in range(K) if at != j]
        for size in range(K):
            weight = math.factorial(size) * math.factorial(K - size - 1) / math.factorial(K)
            for some in itertools.combinations(others, size):
                shares[j] += weight * (worth((*some, j)) - worth(some))
    return shares


def saved(tmp_path: Path, model: Any, flavour: str = "sklearn") -> Explainable:
    import importlib

    library = importlib.import_module(f"mlflow.{flavour}")
    from mlflow.models import infer_signature

    form = {"serialization_format": "cloudpickle"} if flavour == "sklearn" else {}
    signature = infer_signature(FRAME)
    library.save_model(model, tmp_path / "model", signature=signature, pip_requirements=[], **form)
    return Explainable.load(tmp_path / "model")


def framed(rows: Any) -> Any:
    return pd.DataFrame(rows, columns=list(NAMES))


def columns(rows: Any) -> dict[str, list[float]]:
    return {name: rows[:, at].tolist() for at, name in enumerate(NAMES)}


def models() -> dict[str, tuple[Any, str, Callable[[Any], Callable[[Any], Any]]]]:
    from sklearn.ensemble import (
        ExtraTreesRegressor,
        GradientBoostingClassifier,
        GradientBoostingRegressor,
        HistGradientBoostingClassifier,
        HistGradientBoostingRegressor,
        RandomForestClassifier,
        RandomForestRegressor,
    )
    from sklearn.linear_model import LinearRegression, LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVR
    from sklearn.tree import DecisionTreeRegressor

    def forest(kind: Any) -> Any:
        return kind(n_estimators=8, max_depth=5, random_state=0)

    def histogram(kind: Any, **options: Any) -> Any:
        return kind(max_iter=6, max_depth=4, min_samples_leaf=5, random_state=0, **options)

    def predict(model: Any) -> Any:
        return lambda rows: model.predict(framed(rows))

    def positive(model: Any) -> Any:
        return lambda rows: model.predict_proba(framed(rows))[:, 1]

    def odds(model: Any) -> Any:
        return lambda rows: model.decision_function(framed(rows))

    scaled = make_pipeline(StandardScaler(), LogisticRegression())
    return {
        "linear": (LinearRegression().fit(FRAME, Y), "linear", predict),
        "scaled": (scaled.fit(FRAME, LABELS), "linear", odds),
        "tree": (DecisionTreeRegressor(random_state=0).fit(FRAME, Y), "trees", predict),
        "forest": (forest(RandomForestRegressor).fit(FRAME, Y), "trees", predict),
        "extra": (forest(ExtraTreesRegressor).fit(FRAME, Y), "trees", predict),
        "classes": (forest(RandomForestClassifier).fit(FRAME, LABELS), "trees", positive),
        "boosted": (forest(GradientBoostingRegressor).fit(FRAME, Y), "trees", predict),
        "odds": (forest(GradientBoostingClassifier).fit(FRAME, LABELS), "trees",
                 odds),
        "histogram": (histogram(HistGradientBoostingRegressor).fit(FRAME, Y), "trees",
                      predict),
        "histogram odds": (histogram(HistGradientBoostingClassifier).fit(FRAME, LABELS), "trees",
                           odds),
        "svr": (SVR().fit(FRAME, Y), "permutations", predict),
    }  # fmt: skip


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    # Threads of OpenMP wait for each other where the machine is busy.
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="module")
def fitted() -> dict[str, tuple[Any, str, Callable[[Any], Callable[[Any], Any]]]]:
    return models()


@pytest.mark.parametrize(
    "name",
    [
        "linear",
        "scaled",
        "tree",
        "forest",
        "extra",
        "classes",
        "boosted",
        "odds",
        "histogram",
        "histogram odds",
        "svr",
    ],
)
def test_shares_are_shapley_values(fitted: Any, name: str, tmp_path: Path) -> None:
    model, method, f = fitted[name]
    explainable = saved(tmp_path, model)
    found = explain(explainable, columns(X[50:53]), columns(BACKGROUND))
    assert found.method == method
    expected = np.array([by_definition(f(model), x, BACKGROUND) for x in X[50:53]])
    assert found.outputs == pytest.approx(np.asarray(f(model)(X[50:53])))
    assert found.base == pytest.approx(np.full(3, np.mean(f(model)(BACKGROUND))))
    assert found.gap < 1e-6
    if method != "permutations":
        assert found.errors is None
        assert found.shares == pytest.approx(expected, abs=1e-6)
    # Sampled, they are as near as they say: of 12 shares none is beyond five standard errors.
    sampled = explain(explainable, columns(X[50:53]), columns(BACKGROUND), by_permutations=True)
    assert sampled.gap < 1e-6
    if sampled.output == found.output:
        assert sampled.errors is not None
        assert np.all(np.abs(sampled.shares - expected) <= 5 * sampled.errors + 1e-9)


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
@pytest.mark.parametrize("kind", ["number", "two", "three"])
def test_boosters_explain_themselves(library: str, kind: str, tmp_path: Path) -> None:
    if library == "xgboost":
        import xgboost as package

        options: dict[str, Any] = {"n_estimators": 10, "max_depth": 3}
        regressor, classifier = package.XGBRegressor, package.XGBClassifier
    else:
        import lightgbm as package

        options = {"n_estimators": 10, "min_child_samples": 5, "verbose": -1}
        regressor, classifier = package.LGBMRegressor, package.LGBMClassifier
    if kind == "number":
        model = regressor(**options).fit(FRAME, Y)
    else:
        model = classifier(**options).fit(FRAME, Y > 0 if kind == "two" else THREE)
    found = explain(saved(tmp_path, model, library), columns(X[50:55]), columns(BACKGROUND))
    assert found.method == library
    assert found.gap < 1e-4
    if kind == "number":
        assert found.outputs == pytest.approx(model.predict(FRAME[50:55]), rel=1e-5)
    if kind == "two":
        odds = 1 / (1 + np.exp(-found.outputs))
        assert odds == pytest.approx(model.predict_proba(FRAME[50:55])[:, 1], rel=1e-5)


@pytest.mark.parametrize(
    ("library", "objective", "output"),
    [
        ("xgboost", "binary:logistic", "log-odds of class 1"),
        ("xgboost", "binary:logitraw", "prediction"),
        ("xgboost", "count:poisson", "raw score of the objective `count:poisson`"),
        ("xgboost", "reg:absoluteerror", "prediction"),
        ("lightgbm", "binary", "log-odds of class 1"),
        ("lightgbm", "poisson", "raw score of the objective `poisson`"),
        ("lightgbm", "huber", "prediction"),
    ],
)
def test_a_booster_alone_says_prediction_only_for_what_it_answers(
    library: str, objective: str, output: str, tmp_path: Path
) -> None:
    import lightgbm
    import xgboost

    labels = (Y > 0).astype(float)
    model: Any
    if library == "xgboost":
        matrix = xgboost.DMatrix(FRAME, labels)
        model = xgboost.train({"objective": objective}, matrix, 3)
        answers = model.predict(matrix)
    else:
        options = {"objective": objective, "verbose": -1, "num_threads": 1}
        model = lightgbm.train(options, lightgbm.Dataset(FRAME, labels), 3)
        answers = model.predict(FRAME)
    found = explain(saved(tmp_path, model, library), columns(X[50:55]), columns(BACKGROUND))
    assert (found.method, found.output) == (library, output)
    same = found.outputs == pytest.approx(answers[50:55], rel=1e-5)
    assert same is (output == "prediction")


class _Texts:
    """Answers by a text column; refuses nothing."""

    def predict(self, payload: Any, _: Any) -> Any:
        values = payload.values
        return np.array(
            [
                n * (2.0 if c == "red" else 1.0)
                for n, c in zip(values["n"], values["c"], strict=True)
            ]
        )


def test_texts_and_labels_are_sampled() -> None:
    signature = Signature((Column("n", "double"), Column("c", "string")))
    model = Explainable(signature, _Texts(), None)
    found: Explanation = explain(
        model, {"n": [3.0], "c": ["red"]}, {"n": [1.0, 1.0], "c": ["white", "white"]}
    )
    # Symmetric: 3*1-1=2 and 3*2-1*2=4 for n; 1 and 3 for c.
    assert found.shares[0] == pytest.approx([3.0, 2.0])
    assert (found.method, found.base[0], found.outputs[0]) == ("permutations", 1.0, 6.0)

    class Labels(_Texts):
        def predict(self, payload: Any, _: Any) -> Any:
            return ["much" if each > 4 else "little" for each in super().predict(payload, _)]

    said = explain(
        Explainable(signature, Labels(), None),
        {"n": [3.0], "c": ["red"]},
        {"n": [1.0], "c": ["white"]},
    )
    assert said.output == "whether it gives this answer"
    assert (said.base[0], said.outputs[0]) == (0.0, 1.0)
    assert said.shares.sum() == pytest.approx(1.0)


def test_histograms_that_are_no_sum_of_numeric_splits_are_not_called_exact() -> None:
    from sklearn.ensemble import HistGradientBoostingRegressor

    rng = np.random.default_rng(1)
    rows, target = np.stack([rng.integers(0, 4, 80), rng.normal(size=80)], axis=1), rng.random(80)
    for options in ({"loss": "poisson"}, {"categorical_features": [0]}):
        model = HistGradientBoostingRegressor(max_iter=2, min_samples_leaf=5, **options)
        model.fit(rows, target + 4 * (rows[:, 0] == 2))
        with pytest.raises(NotExactError):
            explain_trees(model, ("a", "b"), rows[:2], rows[:5])
