"""The native path of every flavour: same predictions as pyfunc, same rows refused."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.models import infer_signature

from mlops.protocols.base import Columns, Kind, Payload, ProtocolError, Records, Rows
from mlops.runtimes.base import LoadedModel
from mlops.runtimes.load import load_model

# LightGBM computes its names, so they cannot be forgotten; the server filters the warning.
pytestmark = pytest.mark.filterwarnings("ignore:X does not have valid feature names")

_NAMES = ("a", "b", "c")


def _data() -> tuple[pd.DataFrame, pd.Series]:
    generator = np.random.default_rng(3)
    frame = pd.DataFrame(generator.normal(size=(200, 3)), columns=_NAMES)
    return frame, frame["a"] * 2 - frame["b"] + generator.normal(size=200) * 0.1


def _linear() -> Any:
    from sklearn.linear_model import Ridge

    return Ridge().fit(*_data())


def _classifier() -> Any:
    from sklearn.linear_model import LogisticRegression

    frame, target = _data()
    return LogisticRegression().fit(frame, np.where(target > 0, "red", "white"))


def _xgboost_estimator() -> Any:
    from xgboost import XGBRegressor

    return XGBRegressor(n_estimators=5, n_jobs=1).fit(*_data())


def _xgboost_booster() -> Any:
    import xgboost

    frame, target = _data()
    return xgboost.train({"nthread": 1}, xgboost.DMatrix(frame, label=target), 5)


def _lightgbm_estimator() -> Any:
    from lightgbm import LGBMRegressor

    return LGBMRegressor(n_estimators=5, n_jobs=1, verbose=-1).fit(*_data())


def _lightgbm_booster() -> Any:
    return _lightgbm_estimator().booster_


_MODELS: dict[str, tuple[str, Callable[[], Any]]] = {
    "sklearn regressor": ("sklearn", _linear),
    "sklearn classifier of strings": ("sklearn", _classifier),
    "xgboost estimator": ("xgboost", _xgboost_estimator),
    "xgboost booster": ("xgboost", _xgboost_booster),
    "lightgbm estimator": ("lightgbm", _lightgbm_estimator),
    "lightgbm booster": ("lightgbm", _lightgbm_booster),
}


@pytest.fixture(scope="module", params=list(_MODELS))
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[LoadedModel, Any]:
    """A loaded model, and the same through MLflow's own pyfunc."""
    import mlflow.pyfunc

    flavour, build = _MODELS[request.param]
    model, (frame, target) = build(), _data()
    example = frame.head(4)
    outputs = np.array(["red"]) if "strings" in request.param else target.to_numpy()
    path = tmp_path_factory.mktemp("model") / "model"
    importlib.import_module(f"mlflow.{flavour}").save_model(
        model, str(path), signature=infer_signature(frame, outputs), input_example=example
    )
    return load_model(Path(path), "native"), mlflow.pyfunc.load_model(str(path))


def _forms(frame: pd.DataFrame) -> dict[str, Payload]:
    rows = frame.to_numpy().tolist()
    shuffled = frame[["c", "a", "b"]]
    return {
        "rows": Rows(rows, _NAMES),
        "rows without names": Rows(rows),
        "rows in another order": Rows(shuffled.to_numpy().tolist(), ("c", "a", "b")),
        "rows with a further column": Rows([[*row, 9.0] for row in rows], (*_NAMES, "d")),
        "records": Records(frame.to_dict("records")),
        "columns": Columns({name: frame[name].tolist() for name in _NAMES}),
        "columns of arrays": Columns({name: frame[name].to_numpy() for name in _NAMES}),
    }


@pytest.mark.parametrize("form", list(_forms(_data()[0].head(2))))
def test_the_native_path_predicts_what_pyfunc_does(
    served: tuple[LoadedModel, Any], form: str
) -> None:
    loaded, pyfunc = served
    frame = _data()[0].tail(50)
    assert loaded.path_taken == "native"
    found = loaded.model.predict(_forms(frame)[form], {})
    assert isinstance(found, np.ndarray)
    np.testing.assert_array_equal(found, pyfunc.predict(frame))


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(Rows([[1.0, 2.0]], ("a", "b")), id="a missing column"),
        pytest.param(Rows([[1.0, 2.0, "x"]], _NAMES), id="text for a number"),
        pytest.param(Rows([[1.0, 2.0, [1]]], _NAMES), id="a list for a number"),
        pytest.param(Rows([[1.0, 2.0]]), id="too few cells"),
    ],
)
def test_the_native_path_refuses_what_the_signature_refuses(
    served: tuple[LoadedModel, Any], payload: Rows
) -> None:
    with pytest.raises(ProtocolError) as caught:
        served[0].model.predict(payload, {})
    assert caught.value.kind is Kind.MISMATCH
