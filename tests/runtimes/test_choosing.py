"""What is proved before a runtime is used, and what is said where it is not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.models import infer_signature

from mlops.plugins import Plugins
from mlops.runtimes import RUNTIMES, choosing
from mlops.runtimes.base import LoadedModel
from mlops.runtimes.classes import classes_of
from mlops.runtimes.load import load_model
from mlops.runtimes.proof import DifferentError, _difference
from mlops.stats.profile_document import PROFILE_FILE, Profile, to_json
from mlops.stats.profiles import profile_feature

pytestmark = pytest.mark.filterwarnings(
    "ignore:X does not have valid feature names", "ignore:.*input example:UserWarning"
)
_RANDOM = np.random.default_rng(5)
_FRAME = pd.DataFrame(_RANDOM.normal(5, 2, (80, 3)).round(1), columns=["a", "b", "c"])
_TARGET = _FRAME.to_numpy() @ [1.0, -2.0, 0.5] + _RANDOM.normal(size=80)


def _save(path: Path, model: Any, *, example: bool = True) -> Path:
    import mlflow.sklearn

    mlflow.sklearn.save_model(
        model.fit(_FRAME, _TARGET),
        str(path),
        signature=infer_signature(_FRAME, _TARGET),
        input_example=_FRAME.head(2) if example else None,
        pip_requirements=["scikit-learn"],
        serialization_format="cloudpickle",
    )
    features = {name: profile_feature(_FRAME[name].to_numpy()) for name in _FRAME}
    profile = Profile("wine", "1", "wine.csv", 80, 80, features)
    (path / PROFILE_FILE).write_text(to_json(profile))
    return path


@pytest.fixture(scope="module")
def linear(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from sklearn.linear_model import Ridge

    return _save(tmp_path_factory.mktemp("linear") / "model", Ridge())


@pytest.fixture(scope="module")
def boosted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its trees compare in float64."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    model = HistGradientBoostingRegressor(max_iter=5, min_samples_leaf=5)
    return _save(tmp_path_factory.mktemp("boosted") / "model", model)


def _load(path: Path, patch: pytest.MonkeyPatch, wrong: str) -> LoadedModel:
    table = {
        "pyfunc": "mlops.runtimes.pyfunc:open_pyfunc",
        "other": f"tests.runtimes.wrong:{wrong}",
    }
    patch.setattr(choosing, "RUNTIMES", Plugins("runtime", table))
    return load_model(path)


def test_what_rounding_explains_is_no_difference(
    linear: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = _load(linear, monkeypatch, "Reordered")
    assert loaded.path_taken == "other"
    assert loaded.proof is not None
    assert 1e-16 < loaded.proof.largest_difference < 3e-15
    assert loaded.proof.tolerance == 1e-12


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (
            "Rounded",
            r"its numbers for rows with usual values are off by up to \de-08 of their size",
        ),
        ("Tolerant", "it answers rows with a missing cell that the model refuses"),
        ("broken", "RuntimeError: no converter for this"),
        ("missing", r"`treelite` is not installed: pip install 'mlops-loop\[fast\]'"),
        ("Slow", "it is no faster than pyfunc"),
    ],
)
def test_what_is_not_right_is_not_used(
    linear: Path, monkeypatch: pytest.MonkeyPatch, wrong: str, reason: str
) -> None:
    loaded = _load(linear, monkeypatch, wrong)
    assert loaded.path_taken == "pyfunc"
    assert loaded.proof is None
    assert re.search(f"^other: {reason}", loaded.reasons[0]), loaded.reasons


def test_a_row_that_falls_on_another_side_of_a_threshold_is_seen(
    boosted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("treelite")
    from mlops.runtimes.trees import TreeRuntime
    from tests.runtimes.wrong import Narrow

    model = load_model(boosted, "trees").model
    assert isinstance(model, TreeRuntime)
    borders = model.borders()
    assert borders
    monkeypatch.setattr(Narrow, "borders", lambda self: borders)
    loaded = _load(boosted, monkeypatch, "Narrow")
    assert loaded.path_taken == "pyfunc"
    assert "rows at the thresholds of its trees" in loaded.reasons[0]


def test_a_model_without_an_example_is_served_by_pyfunc(tmp_path: Path) -> None:
    from sklearn.linear_model import Ridge

    loaded = load_model(_save(tmp_path / "model", Ridge(), example=False))
    assert loaded.path_taken == "pyfunc"
    assert "no rows are known on which to compare it" in loaded.reasons[0]


def test_every_runtime_that_is_not_used_says_why(linear: Path) -> None:
    loaded = load_model(linear, "trees")
    assert loaded.path_taken == "pyfunc"
    assert len(loaded.reasons) == 1
    assert loaded.reasons[0].startswith("trees: ")
    assert set(loaded.runtime) == {"name", "proof", "reasons"}
    assert load_model(linear).path_taken in RUNTIMES


def test_a_step_that_numpy_does_not_execute_is_named_with_its_column(tmp_path: Path) -> None:
    import mlflow.sklearn
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OrdinalEncoder

    rows = pd.DataFrame({"city": ["Rome", "Oslo"] * 10, "age": np.arange(20.0)})
    encode = ColumnTransformer([("city", OrdinalEncoder(), ["city"])], remainder="passthrough")
    model = make_pipeline(encode, LogisticRegression()).fit(rows, ["no", "yes"] * 10)
    mlflow.sklearn.save_model(
        model, str(tmp_path / "model"), signature=infer_signature(rows, ["no"]),
        input_example=rows.head(2), pip_requirements=["scikit-learn"],
        serialization_format="cloudpickle",
    )  # fmt: skip
    (reason,) = load_model(tmp_path / "model", "numpy").reasons
    assert reason == ("numpy: it cannot calculate what `OrdinalEncoder` makes of the text `city`")


def test_labels_of_another_runtime_are_counted_with_what_the_rows_are_like() -> None:
    expected, answer = np.array(["a", "b", "b"]), np.array(["a", "a", "a"])
    with pytest.raises(
        DifferentError, match="it gives 2 of 3 rows with a missing cell another label"
    ):
        _difference(expected, answer, 0.0, "missing")


def test_classes_that_cannot_be_read_are_none() -> None:
    class Raising:
        @property
        def classes_(self) -> Any:
            raise RuntimeError("not fitted")

    class Several:
        classes_ = (np.array([0, 1]), np.array([0, 1, 2]))

    class Own:
        classes_ = np.array(["late", "paid"])

    found = [classes_of(each) for each in (Raising(), Several(), Own(), None)]
    assert found == [(), (), ("late", "paid"), ()]
