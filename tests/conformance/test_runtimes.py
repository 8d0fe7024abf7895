"""What every runtime in the table `RUNTIMES` keeps to: the answers of pyfunc, alone and joined."""

from __future__ import annotations

import copy
import importlib
import pickle
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow.models import infer_signature

from mlops.protocols.base import Columns, Kind, Payload, Prediction, ProtocolError, Records, Rows
from mlops.runtimes import RUNTIMES, choosing, onnx_conversion
from mlops.runtimes.base import LoadedModel, Runtime, split
from mlops.runtimes.load import load_model

# Of strange rows, and of optional columns.
pytestmark = [
    pytest.mark.filterwarnings("ignore:X does not have valid feature names"),
    pytest.mark.filterwarnings("ignore:.*integer column:UserWarning"),
    pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning"),
]
NAMES = list(RUNTIMES)
_RANDOM = np.random.default_rng(3)
_FRAME = pd.DataFrame(_RANDOM.normal(size=(60, 3)).round(3), columns=["a", "b", "c"])
_TARGET = _FRAME["a"] * 2 - _FRAME["b"] + _RANDOM.normal(size=60) * 0.1
_LABELS = np.where(_TARGET > 0, "red", "white")
_PLAN = pd.DataFrame({
    "plan": _RANDOM.choice(["basic", "pro"], 60), "age": _FRAME["a"] * 10 + 40,
    "letter": _FRAME["b"] > 0,
})  # fmt: skip


def _neighbours() -> tuple[Any, pd.DataFrame, Any]:
    from sklearn.neighbors import KNeighborsClassifier

    return KNeighborsClassifier(3, algorithm="brute").fit(_FRAME, _LABELS), _FRAME, _LABELS


def _scaled_classifier() -> tuple[Any, pd.DataFrame, Any]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, StandardScaler

    model = make_pipeline(StandardScaler(), MinMaxScaler(clip=True), LogisticRegression())
    return model.fit(_FRAME, _LABELS), _FRAME, _LABELS


def _forest() -> tuple[Any, pd.DataFrame, Any]:
    from sklearn.ensemble import RandomForestRegressor

    return RandomForestRegressor(7, random_state=1).fit(_FRAME, _TARGET), _FRAME, _TARGET


def _column_transformer() -> tuple[Any, pd.DataFrame, Any]:
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["plan"]), (StandardScaler(), ["age", "letter"])
    )
    return make_pipeline(columns, LogisticRegression()).fit(_PLAN, _LABELS), _PLAN, _LABELS


def _text() -> tuple[Any, pd.DataFrame, Any]:
    from sklearn.compose import make_column_transformer
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    words = np.array(["good", "bad", "Wine", "été", "don't", "oak"])
    frame = _PLAN.assign(
        text=[" ".join(_RANDOM.choice(words, 6)) for _ in range(60)], age=_PLAN["age"]
    ).drop(columns="letter")
    columns = make_column_transformer(
        (TfidfVectorizer(sublinear_tf=True), "text"), (SimpleImputer(), ["age"])
    )
    return make_pipeline(columns, LogisticRegression()).fit(frame, _LABELS), frame, _LABELS


#: Models that each runtime can execute; a runtime without one fails the kit.
MODELS: dict[str, list[Callable[[], tuple[Any, pd.DataFrame, Any]]]] = {
    "pyfunc": [_column_transformer],
    "native": [_neighbours],
    "numpy": [_scaled_classifier, _column_transformer, _text],
    "onnx": [_column_transformer],
    "trees": [_forest],
}
CASES = [(name, model) for name in NAMES for model in MODELS[name]]


@dataclass(frozen=True, slots=True)
class Case:
    """One runtime with its model, and the same model by pyfunc."""

    name: str
    loaded: LoadedModel
    runtime: Runtime
    pyfunc: Runtime
    frame: pd.DataFrame

    def rows(self, *indices: int) -> Rows:
        picked = self.frame.iloc[list(indices)]
        return Rows(picked.to_numpy(dtype=object).tolist(), tuple(picked.columns))


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]}{case[1].__name__}")
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    name, build = request.param
    if name in ("onnx", "trees"):
        pytest.importorskip({"onnx": "onnxruntime", "trees": "treelite"}[name])
    with pytest.MonkeyPatch.context() as patch:
        # On a busy machine seconds say nothing.
        patch.setattr(onnx_conversion, "_TIMEOUT_S", 300.0)
        patch.setattr(choosing, "_OPEN_S", 300.0)
        patch.setattr(choosing, "_PROOF_S", 300.0)
        return _case(name, build(), tmp_path_factory.mktemp(name) / "model")


def _case(name: str, made: tuple[Any, pd.DataFrame, Any], path: Path) -> Case:
    model, frame, target = made
    importlib.import_module("mlflow.sklearn").save_model(
        model,
        str(path),
        signature=infer_signature(frame, np.asarray(target)),
        input_example=frame.head(3),
        pip_requirements=["scikit-learn"],
        serialization_format="cloudpickle",
    )
    loaded, pyfunc = load_model(path, name), load_model(path, "pyfunc")
    assert loaded.path_taken == name, loaded.reasons
    assert isinstance(loaded.model, Runtime)
    assert isinstance(pyfunc.model, Runtime)
    return Case(name, loaded, loaded.model, pyfunc.model, frame)


def _forms(case: Case) -> dict[str, Payload]:
    frame = case.frame.head(5)
    cells = frame.to_numpy(dtype=object).tolist()
    backwards = frame[list(frame.columns)[::-1]]
    records = frame.to_dict("records")
    return {
        "rows": Rows(cells, tuple(frame.columns)),
        "rows without names": Rows(cells),
        "rows in another order": Rows(
            backwards.to_numpy(dtype=object).tolist(), tuple(backwards.columns)
        ),
        "records": Records(records),
        "records with another key": Records([{**record, "more": 1} for record in records]),
        "columns": Columns({name: frame[name].tolist() for name in frame}),
        "columns of arrays": Columns({name: frame[name].to_numpy() for name in frame}),
        "columns (n, 1)": Columns({name: frame[[name]].to_numpy() for name in frame}),
        "one record": Records(records[:1]),
        "one row": Rows(cells[:1], tuple(frame.columns)),
        "one of columns": Columns({name: frame[name].tolist()[:1] for name in frame}),
    }


FORMS = list(_forms(Case("", None, None, None, _FRAME)))  # type: ignore[arg-type]  # only the names


def _answer(runtime: Runtime, payload: Payload) -> Prediction | Kind:
    try:
        return runtime.infer(runtime.prepare(payload, {}))
    except ProtocolError as error:
        return error.kind if error.message else Kind.MODEL_FAILED


def _check_same(ours: Prediction | Kind, theirs: Prediction | Kind) -> None:
    if isinstance(theirs, Kind):
        assert ours is theirs
        return
    assert isinstance(ours, np.ndarray)
    assert isinstance(theirs, np.ndarray)
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("form", FORMS)
def test_it_answers_as_pyfunc_does(case: Case, form: str) -> None:
    payload = _forms(case)[form]
    before = pickle.dumps(payload)
    _check_same(_answer(case.runtime, payload), _answer(case.pyfunc, copy.deepcopy(payload)))
    assert pickle.dumps(payload) == before


@pytest.mark.parametrize("cell", [None, "text", [1], True, 1e300, -1e39, float("nan"), 7, {}])
def test_odd_cells_are_answered_or_refused_as_by_pyfunc(case: Case, cell: Any) -> None:
    for index in range(len(case.frame.columns)):
        rows = case.rows(0, 1)
        rows.values[1][index] = cell  # type: ignore[index]  # lists
        _check_same(_answer(case.runtime, rows), _answer(case.pyfunc, copy.deepcopy(rows)))


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_missing_column_is_refused(case: Case, missing: int) -> None:
    frame = case.frame.head(2).drop(columns=case.frame.columns[missing])
    with pytest.raises(ProtocolError) as caught:
        case.runtime.predict(Records(frame.to_dict("records")), {})
    assert caught.value.kind is Kind.MISMATCH
    assert case.frame.columns[missing] in caught.value.message


def test_a_batch_knows_its_rows(case: Case) -> None:
    for n in (1, 2, 5):
        assert case.runtime.prepare(case.rows(*range(n)), {}).n_rows == n


@settings(suppress_health_check=list(HealthCheck), max_examples=25, deadline=None)
@given(parts=st.lists(st.lists(st.integers(0, 59), min_size=1, max_size=4), min_size=1, max_size=6))
def test_a_joined_batch_gives_everybody_his_own_answer(
    case: Case, parts: Sequence[Sequence[int]]
) -> None:
    batches = [case.runtime.prepare(case.rows(*part), {}) for part in parts]
    keys = {batch.key for batch in batches}
    assert len(keys) == 1
    if keys == {None}:
        return
    joined = type(batches[0]).join(batches)
    assert joined.n_rows == sum(map(len, parts))
    assert joined.key in keys
    counts = [batch.n_rows for batch in batches]
    shares = split(case.runtime.infer(joined), counts)
    assert shares is not None
    for share, batch in zip(shares, batches, strict=True):
        alone = case.runtime.infer(batch)
        assert pickle.dumps(np.asarray(share).tolist()) == pickle.dumps(np.asarray(alone).tolist())


def test_a_batch_can_be_predicted_twice(case: Case) -> None:
    batch = case.runtime.prepare(case.rows(0, 1, 2), {})
    _check_same(case.runtime.infer(batch), case.runtime.infer(batch))


def test_several_threads_get_their_own_answers(case: Case) -> None:
    requests = [case.rows(i % 60, (i * 7) % 60) for i in range(40)]
    alone = [_answer(case.runtime, rows) for rows in requests]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda rows: _answer(case.runtime, rows), requests))
    for ours, theirs in zip(together, alone, strict=True):
        _check_same(ours, theirs)


def test_it_is_proved(case: Case) -> None:
    proof = case.loaded.proof
    if case.name == "pyfunc":
        assert proof is None
        return
    assert proof is not None
    assert proof.rows > 250
    assert proof.largest_difference <= proof.tolerance
    assert min(proof.row_us, proof.row_us_before, proof.rows_100_us) > 0
