"""Answers against the truth: probabilities in every form, checked against scikit-learn."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from sklearn import metrics
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from mlops.errors import InvalidInputError
from mlops.protocols.predictions import rows_of
from mlops.registry.class_probabilities import Answered
from mlops.registry.gate import CompareRequest, run_gate
from mlops.registry.measures import measure_all
from mlops.rewards.base import Terms
from mlops.runtimes.pyfunc import as_prediction
from mlops.settings import load_settings

_NAMES = ("bad", "fair", "good")


def _some(classes: int, seed: int = 0) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return (n,) positions of true classes and (n, k) probabilities."""
    random = np.random.default_rng(seed)
    truth = random.integers(classes, size=200)
    scores = random.normal(size=(200, classes)) + 1.5 * np.eye(classes)[truth]
    return truth, np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)


def _answered(answer: object, classes: tuple[Any, ...] = (), label: str = "m/1") -> Answered:
    rows = rows_of(as_prediction(answer), 200)
    assert rows is not None
    return Answered(label, rows, classes)


def _brier(truth: np.ndarray[Any, Any], probabilities: np.ndarray[Any, Any]) -> float:
    # Of more than two classes, scikit-learn has it since 1.7.
    one_hot = np.eye(probabilities.shape[1])[truth]
    return float(np.mean(((probabilities - one_hot) ** 2).sum(axis=1)))


def _expected(truth: np.ndarray[Any, Any], probabilities: np.ndarray[Any, Any]) -> dict[str, float]:
    likely = probabilities.argmax(axis=1)
    two = probabilities.shape[1] == 2
    return {
        "log_loss": metrics.log_loss(truth, probabilities),
        "brier": metrics.brier_score_loss(truth, probabilities[:, 1])
        if two
        else _brier(truth, probabilities),
        "auc": metrics.roc_auc_score(truth, probabilities[:, 1])
        if two
        else metrics.roc_auc_score(truth, probabilities, multi_class="ovr"),
        "accuracy": metrics.accuracy_score(truth, likely),
        "f1_macro": metrics.f1_score(truth, likely, average="macro"),
    }


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("form", ["array", "float32", "table", "lists"])
def test_probabilities_are_measured_as_scikit_learn_does(classes: int, form: str) -> None:
    truth, probabilities = _some(classes)
    names = np.array(_NAMES[:classes])
    answer: Any = {
        "array": probabilities,
        "float32": probabilities.astype(np.float32),
        "table": pd.DataFrame(probabilities, columns=names),
        "lists": probabilities.tolist(),
    }[form]
    expected = pytest.approx(_expected(truth, probabilities), rel=1e-5)
    told = () if form == "table" else _NAMES[:classes]
    found = measure_all(names[truth], [_answered(answer, told)])
    assert dict(found.metrics[0]) == expected
    assert not found.notes
    # Without names of classes they are 0, 1, …, and so is the truth; with gaps it is 0.0, 1.0, ….
    if form != "table":
        assert dict(measure_all(truth.astype(float), [_answered(answer)]).metrics[0]) == expected


@pytest.mark.parametrize(
    ("told", "names"), [((), (0, 1)), ((), (False, True)), (("no", "yes"), ("no", "yes"))]
)
def test_one_probability_is_that_of_the_second_class(
    told: tuple[Any, ...], names: tuple[Any, ...]
) -> None:
    truth, probabilities = _some(2)
    for answer in (probabilities[:, 1], probabilities[:, 1:], pd.Series(probabilities[:, 1])):
        found = measure_all(np.array(names)[truth], [_answered(answer, told)]).metrics[0]
        expected = _expected(truth, probabilities)
        assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_numbers_are_no_probabilities_where_the_truth_is_no_class() -> None:
    truth, probabilities = _some(2)
    found = measure_all(truth + 0.5, [_answered(probabilities[:, 1])]).metrics[0]
    assert set(found) == {"rmse", "mae", "r2"}
    found = measure_all(truth, [_answered(probabilities[:, 1] * 3)]).metrics[0]
    assert set(found) == {"rmse", "mae", "r2"}
    text = np.array(["no", "yes"])[np.sort(truth)]
    with pytest.raises(InvalidInputError, match="cannot be compared with `late`: `no`, `yes`"):
        measure_all(text, [_answered(probabilities[:, 1])], target="late")


def test_a_probability_is_no_number_to_hold_against_class_numbers() -> None:
    truth, probabilities = _some(2)
    (found,) = measure_all(truth + 1, [_answered(probabilities[:, 1], (1, 2))]).metrics
    assert dict(found) == pytest.approx(_expected(truth, probabilities))
    # Of 0 and 1 it is the root of the Brier score.
    (found,) = measure_all(truth, [_answered(probabilities[:, 1], (0, 1))]).metrics
    assert found["rmse"] == pytest.approx(_expected(truth, probabilities)["brier"] ** 0.5)


def test_a_column_of_one_class_is_not_certain_of_the_other() -> None:
    truth, _ = _some(2)
    (found,) = measure_all(truth + 1.0, [_answered(np.ones(200), (1.0, 2.0))]).metrics
    assert set(found) == {"rmse", "mae", "r2"}
    assert found["mae"] == pytest.approx(truth.mean())
    (found,) = measure_all(truth, [_answered(np.ones(200), (0, 1))]).metrics
    assert found["accuracy"] == pytest.approx(truth.mean())


def test_costs_are_those_of_the_reward() -> None:
    truth, probabilities = _some(2)
    costs = (("good", "bad", 2.0), ("bad", "good", 50.0))
    names = np.array(["good", "bad"])
    labels = names[probabilities.argmax(axis=1)]
    # The second model has its classes in the other order.
    models = [
        _answered(labels),
        _answered(probabilities, ("good", "bad")),
        _answered(probabilities[:, ::-1], ("bad", "good")),
    ]
    found = measure_all(names[truth], models, Terms.of(costs=costs))
    of_labels, of_probabilities, reversed_ = found.metrics
    note = "`cost`: of probabilities the most likely class is the prediction"
    assert found.notes == (f"{note} (`[feedback] decision_rule`)",)
    assert reversed_ == pytest.approx(of_probabilities)
    wrong = [{"good": 2.0, "bad": 50.0}[t] * (t != p) for t, p in zip(names[truth], labels)]  # noqa: B905
    assert of_labels["cost"] == pytest.approx(np.mean(wrong))
    assert of_probabilities["cost"] == pytest.approx(np.mean(wrong))
    cheapest = measure_all(names[truth], models[1:], Terms.of(costs=costs, rule="min-cost")).metrics
    bad = probabilities[:, 1] * 50 > probabilities[:, 0] * 2
    expected = np.mean(np.where(truth == 1, 50.0 * ~bad, 2.0 * bad))
    assert [each["cost"] for each in cheapest] == pytest.approx([expected, expected])
    found = measure_all(names[truth], models[:1], Terms.of(costs=costs[:1]))
    assert "cost" not in found.metrics[0]
    assert found.missing["cost"] == (
        "`m/1` has no cost: the truth is none of those that the cost matrix names."
    )
    assert found.notes == (found.missing["cost"].removesuffix("."),)


def test_a_class_that_one_model_does_not_know_has_probability_0() -> None:
    truth, probabilities = _some(3)
    names = np.array(_NAMES)
    two = np.stack([probabilities[:, 0], 1 - probabilities[:, 0]], axis=1)
    found = measure_all(
        names[truth],
        [_answered(two, ("bad", "fair"), "m/1"), _answered(probabilities, _NAMES, "m/2")],
        target="mood",
    )
    assert dict(found.metrics[1]) == pytest.approx(_expected(truth, probabilities))
    padded = np.column_stack([two, np.zeros(200)])
    assert found.metrics[0]["brier"] == pytest.approx(_brier(truth, padded))
    count = int((truth == 2).sum())
    note = f"`m/1` does not know `good`, which {count} of the 200 rows have as `mood`"
    assert found.notes == (f"{note}: these count as probability 0",)


def test_a_probability_that_is_not_a_number_is_infinitely_wrong() -> None:
    truth, probabilities = _some(3)
    probabilities[7] = np.nan
    found = measure_all(truth, [_answered(probabilities)]).metrics[0]
    assert set(found) == {"log_loss", "brier", "auc", "accuracy", "f1_macro"}
    assert all(map(math.isnan, found.values()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p * 3, "neither one value nor a probability per class"),
        (lambda p: p - 0.5, "neither one value nor a probability per class"),
        (lambda p: p[:, :, None], "neither one value nor a probability per class"),
        (lambda p: pd.DataFrame({"label": "a", "p": p[:, 0]}), '`{"label": "a", "p": '),
        (lambda p: pd.DataFrame(p, columns=["p0", "p1", "p2"]), "the classes `p0`, `p1`, `p2`"),
    ],
)
def test_other_shapes_are_explained(change: Any, message: str) -> None:
    truth, probabilities = _some(3)
    with pytest.raises(InvalidInputError) as caught:
        measure_all(np.array(_NAMES)[truth], [_answered(change(probabilities))])
    assert message in caught.value.message
    assert caught.value.hint


def test_a_gate_holds_probabilities_to_their_log_loss(
    ready_folder: Path, clean_environ: None
) -> None:
    (ready_folder / "mlops.toml").write_text(
        "[feedback.costs]\n"
        "setosa = {versicolor = 1, virginica = 2}\n"
        "versicolor = {setosa = 1, virginica = 2}\n"
        "virginica = {setosa = 9, versicolor = 3}\n"
    )
    bunch = load_iris(as_frame=True)
    rows, names = bunch.data, np.array(bunch.target_names)[bunch.target]
    for name, strength in (("strong", 1.0), ("weak", 1e-3)):
        mlflow.sklearn.save_model(
            LogisticRegression(C=strength, max_iter=1000).fit(rows, names), ready_folder / name,
            input_example=rows.head(2), pyfunc_predict_fn="predict_proba", pip_requirements=[],
            serialization_format="cloudpickle",
        )  # fmt: skip
    rows.assign(species=names).to_csv(ready_folder / "iris.csv", index=False)
    request = CompareRequest(
        (f"{ready_folder}/weak",), against=f"{ready_folder}/strong",
        data=f"{ready_folder}/iris.csv", target="species",
        limits=("log_loss=1%", "auc=100%", "cost=0"),
    )  # fmt: skip
    settings = load_settings(ready_folder, environ={}, flags={"artifacts.trust": True})
    found = run_gate(settings, request)
    assert found.evaluation is not None
    strong = LogisticRegression(max_iter=1000).fit(rows, names).predict_proba(rows)
    assert found.evaluation.metrics[0]["log_loss"] == pytest.approx(metrics.log_loss(names, strong))
    passed = {each.metric: each.passed for each in found.judgements}
    assert (passed["log_loss"], passed["auc"], found.passed) == (False, True, False)
