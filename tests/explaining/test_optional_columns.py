"""`mlops explain` of requests that lack columns which no model must have."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tests.fixtures_deployment import Shop
from tests.waiting import wait_until


def _save(path: Path, weight: float, *optional: str) -> None:
    import mlflow.pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    class Sum(mlflow.pyfunc.PythonModel):  # type: ignore[misc]  # MLflow is untyped
        def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            found = weight * model_input["a"]
            for name in optional:
                if name in model_input:
                    found = found + model_input[name].fillna(0.0)
            return found

    columns = [ColSpec("double", "a")]
    columns += [ColSpec("double", name, required=False) for name in optional]
    mlflow.pyfunc.save_model(
        str(path),
        python_model=Sum(),
        signature=ModelSignature(Schema(columns), Schema([ColSpec("double")])),
        input_example=pd.DataFrame([dict.fromkeys(("a", *optional), 0.5)]),
        pip_requirements=["mlflow"],
    )


def test_what_was_not_sent_is_missing_to_the_models(ready_folder: Path) -> None:
    _save(ready_folder / "one", 1.0, "b")
    # It takes a column that the first arm does not know.
    _save(ready_folder / "two", 2.0, "b", "c")
    (ready_folder / "mlops.toml").write_text('[deploy]\nname = "pair"\n')
    shop = Shop(ready_folder, "pair")
    try:
        shop.ok("deploy", "--ab", "./one", "./two")
        for a in (1.0, 3.0):
            rows = {"dataframe_split": {"columns": ["a"], "data": [[a]]}}
            _, said = shop.post("/invocations", rows)
        request_id = said["x-mlops-request-id"]
        wait_until(lambda: shop.run("explain", "--request-id", request_id, "--json").code != 5)
        found = shop.ok("explain", "--request-id", request_id, "--json").document
    finally:
        shop.close()
    assert found["rows"] == [{"a": 3.0, "b": None, "c": None}]
    assert (found["background"], found["background_rows"]) == ("the newest requests of pair", 2)
    one, two = found["arms"]
    assert (one["outputs"], two["outputs"]) == ([3.0], [6.0])
    # Of what both requests lack nothing is the cause.
    assert one["shares"] == [{"a": pytest.approx(3.0 - one["base"][0]), "b": 0.0}]
    assert two["shares"][0]["c"] == 0.0
