"""Models whose signature has columns without names, which are taken by position."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlops.errors import MODEL_FAILED, MODEL_REFUSED
from mlops.protocols import CODECS
from mlops.protocols.base import Kind, ProtocolError
from mlops.protocols.json_body import write
from mlops.runtimes.base import LoadedModel
from mlops.runtimes.load import load_model

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*An input example was not provided:UserWarning",
    "ignore:.*integer column:UserWarning",
)

_NOON = "2024-05-01T14:00:00+02:00"
_FAILS = 13.0


def _saved(path: Path, *kinds: str) -> LoadedModel:
    """A model that answers its first column, but not rows whose last cell is `_FAILS`."""
    import mlflow.pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    class Partial(mlflow.pyfunc.PythonModel):  # type: ignore[misc]  # MLflow is untyped
        def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            if (model_input.iloc[:, -1] == _FAILS).any():
                raise KeyError("lost")
            return model_input.iloc[:, 0].to_numpy()

    mlflow.pyfunc.save_model(
        str(path),
        python_model=Partial(),
        signature=ModelSignature(Schema([ColSpec(kind) for kind in kinds])),
        pip_requirements=["mlflow"],
    )
    return load_model(path)


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return _saved(tmp_path_factory.mktemp("numbers") / "model", "double", "double")


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return _saved(tmp_path_factory.mktemp("mixed") / "model", "datetime", "long")


@pytest.fixture(scope="module")
def times(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return _saved(tmp_path_factory.mktemp("times") / "model", "datetime")


def _ask(model: LoadedModel, document: dict[str, Any]) -> Any:
    request = CODECS.load("mlflow").decode(write(document), {}, model.signature)
    return model.model.predict(request.payload, request.parameters)


def _refusal(model: LoadedModel, document: dict[str, Any]) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        _ask(model, document)
    return caught.value


def _bodies(rows: list[list[Any]]) -> list[dict[str, Any]]:
    named = [{f"feature {at}": cell for at, cell in enumerate(row)} for row in rows]
    return [
        {"inputs": rows},
        {"instances": rows},
        {"dataframe_split": {"data": rows}},
        {"dataframe_records": named},
    ]


@pytest.mark.parametrize("body", _bodies([[1.0, _FAILS]]))
def test_a_failure_on_good_rows_is_the_models(numbers: LoadedModel, body: dict[str, Any]) -> None:
    error = _refusal(numbers, body)
    assert error.kind is Kind.MODEL_FAILED
    assert error.message == f"{MODEL_FAILED}: KeyError: 'lost'"


def test_a_failure_on_rows_with_null_is_theirs(numbers: LoadedModel) -> None:
    error = _refusal(numbers, {"dataframe_split": {"data": [[1.0, 2.0], [None, _FAILS]]}})
    assert error.kind is Kind.MISMATCH
    assert error.message.startswith(f"{MODEL_REFUSED}: row 1 has null in `0`; it raised KeyError")


@pytest.mark.parametrize("body", _bodies([[_NOON, 1], ["2024-05-01 12:00", 2.0]]))
def test_times_beside_numbers_are_read(mixed: LoadedModel, body: dict[str, Any]) -> None:
    answer = np.asarray(_ask(mixed, body), dtype="datetime64[ns]")
    assert (answer == np.datetime64("2024-05-01T12:00:00")).all()
    assert len(answer) == 2


@pytest.mark.parametrize("key", ["inputs", "instances"])
def test_times_of_one_column_may_be_in_rows(times: LoadedModel, key: str) -> None:
    cells = [_NOON, "2024-05-01 12:00"]
    for rows in (cells, [[cell] for cell in cells]):
        answer = np.asarray(_ask(times, {key: rows}), dtype="datetime64[ns]")
        assert answer.tolist() == [1714564800 * 10**9] * 2


@pytest.mark.parametrize("body", _bodies([[_NOON, 1], ["01.05.2024", 2]]))
def test_what_is_no_time_is_refused_by_row(mixed: LoadedModel, body: dict[str, Any]) -> None:
    error = _refusal(mixed, body)
    assert error.message.startswith("Column `0` takes times in ISO 8601")
    assert error.message.endswith("row 1 has `01.05.2024`.")


@pytest.mark.parametrize("body", _bodies([[_NOON, 1], [_NOON, 1.5]]))
def test_a_number_that_would_be_cut_is_refused(mixed: LoadedModel, body: dict[str, Any]) -> None:
    error = _refusal(mixed, body)
    assert error.message.startswith("Column `1` takes whole numbers")
    assert error.message.endswith("row 1 has `1.5`.")
