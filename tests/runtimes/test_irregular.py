"""Whose fault it is when a model raises: that of unusual rows, or its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlops.errors import MODEL_FAILED, MODEL_REFUSED
from mlops.protocols import CODECS
from mlops.protocols.base import Kind, ProtocolError
from mlops.protocols.json_body import write
from mlops.runtimes.base import LoadedModel
from mlops.runtimes.irregular import irregularity
from mlops.runtimes.load import load_model
from mlops.tables.signature import Column

_ROW = {"text": "late parcel", "size": 1.5, "rooms": 2}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """A model that takes only whole rows, and not all of these."""
    import mlflow.pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    class Fragile(mlflow.pyfunc.PythonModel):  # type: ignore[misc]  # MLflow is untyped
        def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            for text in model_input["text"]:
                if text.lower() == "memory":
                    raise MemoryError
                if text.lower() == "device":
                    raise RuntimeError("device lost")
            return [
                dict[str, int]()["lost"] if size > 100 else round(size)
                for size in model_input["size"] + model_input["rooms"]
            ]

    columns = [ColSpec("string", "text"), ColSpec("double", "size", required=False)]
    columns += [ColSpec("long", "rooms", required=False)]
    path = tmp_path_factory.mktemp("fragile") / "model"
    mlflow.pyfunc.save_model(
        str(path),
        python_model=Fragile(),
        signature=ModelSignature(Schema(columns)),
        input_example=pd.DataFrame([_ROW]),
        pip_requirements=["mlflow"],
    )
    return load_model(path)


@pytest.fixture(scope="module")
def refusal(model: LoadedModel) -> Callable[..., ProtocolError]:
    """Return a function that sends rows as the body of a request, and gives the error."""

    def send(*rows: Mapping[str, Any]) -> ProtocolError:
        body = write({"dataframe_records": list(rows)})
        request = CODECS.load("mlflow").decode(body, {}, model.signature)
        with pytest.raises(ProtocolError) as caught:
            model.model.predict(request.payload, request.parameters)
        return caught.value

    return send


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"text": None}, "row 0 has null in `text`; it raised AttributeError"),
        ({"text": 5}, "row 0 has `5` in `text`, not text; it raised AttributeError"),
        ({"text": True}, "row 0 has `True` in `text`, not text"),
        ({"size": None}, "cannot convert float NaN"),
        ({"rooms": None}, "Column `rooms` takes whole numbers of up to 64 bits; row 0 has null."),
    ],
)
def test_an_unusual_row_is_refused(
    refusal: Callable[..., ProtocolError], row: Mapping[str, Any], why: str
) -> None:
    error = refusal({**_ROW, **row})
    assert error.kind is Kind.MISMATCH
    assert error.message.startswith(MODEL_REFUSED)
    assert why in error.message
    # As MLflow's server does for a null beside a good row, too.
    assert refusal({**_ROW, **row}, _ROW).kind is Kind.MISMATCH


def test_a_row_without_an_optional_column_is_refused_if_the_model_needs_it(
    refusal: Callable[..., ProtocolError],
) -> None:
    error = refusal({name: cell for name, cell in _ROW.items() if name != "size"})
    assert error.kind is Kind.MISMATCH
    assert "there is no `size`; it raised KeyError: 'size'" in error.message


def test_for_a_null_where_none_can_be_it_is_said_what_to_do(
    refusal: Callable[..., ProtocolError],
) -> None:
    assert "log `rooms` as float64 (type double)" in refusal({**_ROW, "rooms": None}).message


def test_a_failure_on_a_usual_row_is_the_models(refusal: Callable[..., ProtocolError]) -> None:
    error = refusal({**_ROW, "size": 1000.0})
    assert error.kind is Kind.MODEL_FAILED
    assert error.message == f"{MODEL_FAILED}: KeyError: 'lost'"


def test_a_lack_of_memory_is_no_fault_of_an_unusual_row(
    refusal: Callable[..., ProtocolError],
) -> None:
    error = refusal({"text": "memory", "rooms": 2})
    assert error.kind is Kind.MODEL_FAILED


@pytest.mark.parametrize("row", [{"size": None}, {"rooms": 2}])
def test_what_no_row_causes_is_the_models_whatever_the_row(
    refusal: Callable[..., ProtocolError], row: Mapping[str, Any]
) -> None:
    error = refusal({"text": "device", **row})
    assert error.kind is Kind.MODEL_FAILED
    assert error.message == f"{MODEL_FAILED}: RuntimeError: device lost"


def test_an_array_without_rows_is_one_cell() -> None:
    columns = [Column("size", "double")]
    assert irregularity({"size": np.array(1.5)}, columns) is None
    assert str(irregularity({"size": np.array(np.nan)}, columns)) == "row 0 has null in `size`"
