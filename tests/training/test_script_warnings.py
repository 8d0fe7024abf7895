"""What `mlops train` repeats of MLflow's warnings, and says of a signature."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops.errors import InvalidInputError
from mlops.runtimes.load import load_model
from tests.fixtures_training import Cli
from tests.training.projects import write_project

_CATEGORY = """
import mlflow, pandas as pd
from mlflow.pyfunc import PythonModel
class Categories(PythonModel):
    def predict(self, context, model_input, params=None):
        if model_input["colour"].dtype != "category":
            raise ValueError("Invalid columns: colour: str")
        return [1.0] * len(model_input)
rows = pd.DataFrame({
    "colour": ["red", "blue"],
    "rooms": pd.array([1, None], dtype="Int64"),
    "sold": pd.array([True, None], dtype="boolean"),
    "size": [1.0, None],
})
with mlflow.start_run():
    signature = mlflow.models.infer_signature(rows, [1.0, 1.0])
    for name in ("one", "two"):
        mlflow.pyfunc.log_model(
            name=name, python_model=Categories(), pip_requirements=["mlflow"],
            signature=signature, input_example=rows.head(1),
        )
"""


def test_a_model_that_fails_on_its_own_example_is_told_at_training_and_at_deployment(
    cli: Cli, ready_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_project(ready_folder, _CATEGORY)
    assert cli(ready_folder, "train", "--no-register") == 0
    err = capsys.readouterr().err
    said = "MLflow warned that a model fails on its own input example"
    assert err.count(said) == 1
    assert "Invalid columns: colour: str" in err
    note = "`rooms`, `sold` may be missing, as the signature says, but MLflow takes no null"
    assert err.count(note) == 1
    models = ready_folder.glob(".mlops/artifacts/*/models/*/artifacts")
    with pytest.raises(InvalidInputError, match="Invalid columns: colour: str") as refusal:
        load_model(next(models))
    assert refusal.value.hint is not None
    assert "Its columns of texts (`colour`) arrive as texts" in refusal.value.hint
    assert "`category`" in refusal.value.hint
