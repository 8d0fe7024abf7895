"""Candidates against a baseline, on the wine project's own models."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from mlops.errors import InvalidInputError, MlopsError, NotFoundError, UsageError
from mlops.registry import fetch, open_registry
from mlops.registry.aliases import change_alias
from mlops.registry.gate import CompareRequest, run_gate
from mlops.registry.measures import measure
from tests.fixtures_training import TrainedWine

pytestmark = pytest.mark.usefixtures("clean_environ")


def test_both_models_predict_the_same_rows(trained_wine: TrainedWine) -> None:
    request = CompareRequest(("modelB",), against="modelA", limits=("rmse=1%", "mae=50%"))
    found = run_gate(trained_wine.settings, request)
    assert [m.version.label for m in found.comparison.models] == ["wine/1", "wine/2"]
    assert found.evaluation is not None
    assert (found.evaluation.rows, found.evaluation.target) == (400, "quality")
    wines = pd.read_csv(trained_wine.folder / "data" / "customers.csv").astype(float)
    for result, values in zip(
        (trained_wine.first, trained_wine.second), found.evaluation.metrics, strict=True
    ):
        assert result.model is not None
        model = mlflow.pyfunc.load_model(str(fetch(result.model, trained_wine.settings)))
        guess = model.predict(wines.drop(columns="quality"))
        assert values["rmse"] == pytest.approx(
            metrics.root_mean_squared_error(wines["quality"], guess)
        )
    passed = {each.metric: each.passed for each in found.judgements}
    assert passed == {"rmse": False, "mae": True}
    assert found.passed is False


def test_the_candidate_is_by_default_the_newest_version(own_wine: TrainedWine) -> None:
    change_alias(own_wine.settings, "wine/2", "champion", delete=False)
    found = run_gate(own_wine.settings, CompareRequest(against="champion", limits=("r2=0",)))
    assert [m.version.label for m in found.comparison.models] == ["wine/2", "wine/2"]
    assert found.notes == ("`wine/2` is `champion` itself",)
    assert found.passed is True


def test_without_a_baseline_only_the_first_may_pass(trained_wine: TrainedWine) -> None:
    request = CompareRequest(("wine/1",), against="champion", limits=("rmse=1%",))
    with pytest.raises(NotFoundError) as caught:
        run_gate(trained_wine.settings, request)
    assert "--allow-missing" in (caught.value.hint or "")
    allowed = run_gate(trained_wine.settings, dataclasses.replace(request, allow_missing=True))
    assert (allowed.passed, allowed.evaluation) == (True, None)
    # A candidate that does not exist is no first one.
    missing = dataclasses.replace(request, refs=("wine/9",), allow_missing=True)
    with pytest.raises(NotFoundError):
        run_gate(trained_wine.settings, missing)


def test_without_a_file_the_runs_must_have_logged_the_same_data(own_wine: TrainedWine) -> None:
    feedback = dataclasses.replace(own_wine.settings.feedback, data="")
    settings = dataclasses.replace(own_wine.settings, feedback=feedback)
    request = CompareRequest(("wine/2",), against="wine/1", limits=("rmse=1%",))
    found = run_gate(settings, request)
    assert found.evaluation is None
    assert found.judgements[0].value == own_wine.second.metrics["rmse"]
    client = open_registry(settings)
    data = mlflow.entities.Dataset("other", "0", "code", "{}")
    client.log_inputs(own_wine.second.run_id, [mlflow.entities.DatasetInput(data)])
    with pytest.raises(InvalidInputError, match="did not log the same data"):
        run_gate(settings, request)


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (CompareRequest(), UsageError),
        (CompareRequest(("wine/1",)), UsageError),
        (CompareRequest(("wine/1", "wine/2"), allow_missing=True), UsageError),
        (CompareRequest(("wine/1", "wine/2"), limits=("nonsense",)), UsageError),
        (CompareRequest(("wine/1", "wine/2"), limits=("accuracy=1%",)), InvalidInputError),
        (CompareRequest(("wine/1", "wine/2"), data="gone.csv"), NotFoundError),
        (CompareRequest(("wine/1", "wine/2"), target="qualty", data="DATA"), InvalidInputError),
        (CompareRequest(("wine/1", "wine/2"), target="alcohol", data="DATA"), None),
    ],
)
def test_what_cannot_be_compared(
    trained_wine: TrainedWine, request_: CompareRequest, error: type[MlopsError] | None
) -> None:
    data = str(trained_wine.folder / "data" / "customers.csv")
    request = dataclasses.replace(request_, data=request_.data.replace("DATA", data))
    # A model that lacks a column of its signature refuses the rows.
    with pytest.raises(error or InvalidInputError) as caught:
        run_gate(trained_wine.settings, request)
    if error is None:
        assert "cannot predict these rows" in caught.value.message


def test_classes_and_numbers_are_measured() -> None:
    truth, guess = np.array(["a", "b", "b", "c"]), np.array(["a", "b", "c", "c"])
    assert measure(truth, guess) == {
        "accuracy": 0.75,
        "f1_macro": pytest.approx(metrics.f1_score(truth, guess, average="macro")),
    }
    whole = measure(np.array([1, 2, 2]), np.array([1, 2, 3]))
    assert set(whole) == {"rmse", "mae", "r2", "accuracy", "f1_macro"}
    assert whole["accuracy"] == pytest.approx(2 / 3)
    # A file has 1.0 where the model says 1; a target column with gaps becomes floats.
    assert measure(np.array([1.0, 0.0]), np.array([1, 0]))["accuracy"] == 1
    assert measure(np.array([1.0]), np.array([2.0])) == {"rmse": 1, "mae": 1}
    assert measure(np.array([True, False]), np.array([True, True]))["accuracy"] == 0.5
    assert math.isnan(measure(np.array([1.0, 2.0]), np.array([1.0, np.nan]))["rmse"])


def test_rows_without_truth_are_left_out(trained_wine: TrainedWine, tmp_path: Path) -> None:
    wines = pd.read_csv(trained_wine.folder / "data" / "customers.csv").head(10)
    wines.loc[3, "quality"] = None
    wines.to_parquet(tmp_path / "w.parquet")
    request = CompareRequest(
        ("wine/1", "wine/2"), data=str(tmp_path / "w.parquet"), target="quality"
    )
    found = run_gate(trained_wine.settings, request)
    assert found.evaluation is not None
    assert (found.evaluation.rows, found.passed) == (9, None)
