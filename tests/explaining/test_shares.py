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

from mlops.explaining import (
    Explainable,
    Explanation,
    NotExactError,
    are_comparable,
    explain,
    explain_all,
)
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


def saved(
    tmp_path: Path, model: Any, flavour: str = "sklearn", frame: pd.DataFrame = FRAME
) -> Explainable:
    import importlib

    library = importlib.import_module(f"mlflow.{flavour}")
    from mlflow.models import infer_signature

    form = {"serialization_format": "cloudpickle"} if flavour == "sklearn" else {}
    signature = infer_signature(frame)
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


def of_three(kind: str) -> Any:
    from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    small = {"n_estimators": 6, "max_depth": 3, "random_state": 0}
    if kind == "xgboost":
        import xgboost

        return xgboost.XGBClassifier(n_estimators=4, max_depth=3, n_jobs=1)
    if kind == "lightgbm":
        import lightgbm

        return lightgbm.LGBMClassifier(n_estimators=4, n_jobs=1, verbose=-1)
    if kind == "linear":
        return LogisticRegression()
    return (RandomForestClassifier if kind == "forest" else GradientBoostingClassifier)(**small)


def scores_of(kind: str, model: Any) -> Any:
    if kind == "xgboost":
        return model.predict(FRAME, output_margin=True)
    if kind == "lightgbm":
        return model.predict(FRAME, raw_score=True)
    return model.predict_proba(FRAME) if kind == "forest" else model.decision_function(FRAME)


@pytest.mark.parametrize("sampled", [False, True])
@pytest.mark.parametrize("kind", ["linear", "forest", "boosted", "xgboost", "lightgbm"])
def test_arms_are_explained_by_the_class_that_one_of_them_answers(
    kind: str, sampled: bool, tmp_path: Path
) -> None:
    flavour = kind if kind in ("xgboost", "lightgbm") else "sklearn"
    fits = [of_three(kind).fit(FRAME, labels) for labels in (THREE, (THREE + 1) % 3)]
    arms = []
    for at, model in enumerate(fits):
        (tmp_path / str(at)).mkdir()
        arms.append(saved(tmp_path / str(at), model, flavour))
    answers = [model.predict(FRAME) for model in fits]
    apart = np.flatnonzero(answers[0] != answers[1])[:2]
    assert len(apart) == 2
    found = explain_all(arms, columns(X[apart]), columns(BACKGROUND), 1, by_permutations=sampled)
    assert are_comparable(found)
    assert found[0].classes == found[1].classes == tuple(answers[1][apart].tolist())
    for model, said in zip(fits, found, strict=True):
        scores = model.predict_proba(FRAME) if sampled else scores_of(kind, model)
        expected = scores[apart, answers[1][apart]]
        assert said.outputs == pytest.approx(expected, rel=1e-4)
        assert said.gap < 1e-4


def test_an_arm_with_other_classes_is_explained_by_its_own(tmp_path: Path) -> None:
    arms = []
    for name, labels in (("other", LABELS), ("three", THREE)):
        (tmp_path / name).mkdir()
        arms.append(saved(tmp_path / name, of_three("linear").fit(FRAME, labels)))
    found = explain_all(arms, columns(X[:1]), columns(BACKGROUND), 1)
    assert (are_comparable(found), found[0].classes) == (False, ("low",))


@pytest.mark.parametrize("kind", ["linear", "boosted"])
def test_the_first_of_two_classes_can_be_asked_for(kind: str, tmp_path: Path) -> None:
    model = saved(tmp_path, of_three(kind).fit(FRAME, LABELS))
    rows, background = columns(X[:2]), columns(BACKGROUND)
    second = explain(model, rows, background)
    first = explain(model, rows, background, classes=["high", "low"])
    assert (second.output, first.classes) == ("log-odds of class low", ("high", "low"))
    sign = np.array([-1.0, 1.0])
    assert first.shares == pytest.approx(sign[:, None] * second.shares)
    assert first.outputs == pytest.approx(sign * second.outputs)
    assert first.base == pytest.approx(sign * second.base)


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
    assert said.output == "whether the answer stays `much`"
    assert (said.base[0], said.outputs[0]) == (0.0, 1.0)
    assert said.shares.sum() == pytest.approx(1.0)


def test_rows_and_background_may_write_times_differently(tmp_path: Path) -> None:
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    trained = pd.DataFrame({"pickup": pd.date_range("2026-05-01", periods=24, freq="h")})
    hours = FunctionTransformer(_hours)
    model = make_pipeline(hours, LinearRegression()).fit(trained, range(24))
    rows = {"pickup": ["2026-05-01 20:00:00", "2026-05-01T22:00:00+02:00"]}
    background = {"pickup": ["2026-05-01T04:00:00", "2026-05-01T06:00:00.000Z"]}
    found = explain(saved(tmp_path, model, frame=trained), rows, background)
    assert found.shares == pytest.approx(np.full((2, 1), 15.0))


def _hours(frame: pd.DataFrame) -> Any:
    return frame[["pickup"]].apply(lambda column: column.dt.hour).to_numpy()


def test_histograms_that_are_no_sum_of_numeric_splits_are_not_called_exact() -> None:
    from sklearn.ensemble import HistGradientBoostingRegressor

    rng = np.random.default_rng(1)
    rows, target = np.stack([rng.integers(0, 4, 80), rng.normal(size=80)], axis=1), rng.random(80)
    for options in ({"loss": "poisson"}, {"categorical_features": [0]}):
        model = HistGradientBoostingRegressor(max_iter=2, min_samples_leaf=5, **options)
        model.fit(rows, target + 4 * (rows[:, 0] == 2))
        with pytest.raises(NotExactError):
            explain_trees(model, ("a", "b"), rows[:2], rows[:5])
