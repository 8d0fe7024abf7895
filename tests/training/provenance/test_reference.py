"""Which of a run's data becomes a model's reference profile, and what is said if none does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.data.sources import LocalArtifactDatasetSource
from mlflow.models import Model, infer_signature

from mlops.registry import open_registry
from mlops.registry.logged_models import Logged
from mlops.registry.stores.base import file_checksum
from mlops.settings import load_settings
from mlops.stats.outlier_document import OUTLIER_FILE, RowDetector
from mlops.stats.outlier_document import from_json as from_detector
from mlops.stats.profile_document import PROFILE_FILE, from_json
from mlops.stats.row_codes import Coding
from mlops.tables.signature import Column, Signature
from mlops.training.provenance import reference
from mlops.training.provenance.data import DataFile
from mlops.training.provenance.reference import describe, how_to_name

FRAME = pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]})


class Desk:
    """A run with a model whose signature has the columns a and b."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.client: MlflowClient = open_registry(load_settings(folder, environ={}))
        self.run_id = self.client.create_run("0").info.run_id
        self.source = folder / "model"
        self.source.mkdir()
        Model(signature=infer_signature(FRAME)).save(str(self.source / "MLmodel"))

    def log(self, frame: pd.DataFrame, name: str, path: str, context: str = "training") -> None:
        source = LocalArtifactDatasetSource(path)
        data = mlflow.data.from_pandas(frame, source, name=name, digest=name[:8])
        entity = mlflow.entities.DatasetInput(
            data._to_mlflow_entity(), [mlflow.entities.InputTag("mlflow.data.context", context)]
        )
        self.client.log_inputs(self.run_id, [entity])

    def describe(self, files: Sequence[DataFile] = ()) -> str:
        model = Logged("model", str(self.source), self.run_id)
        run = self.client.get_run(self.run_id)
        return describe(self.client, run, model, files, self.folder)

    def chosen(self) -> str:
        text = mlflow.artifacts.load_text(f"runs:/{self.run_id}/model/{PROFILE_FILE}")
        return from_json(text).name


@pytest.fixture
def desk(ready_folder: Path, clean_environ: None) -> Desk:
    return Desk(ready_folder)


def file_of(path: Path) -> DataFile:
    return DataFile("parameter", str(path), path, file_checksum(path), 1)


def test_the_training_set_comes_before_others_and_before_parameters(desk: Desk) -> None:
    FRAME.to_csv(desk.folder / "t.csv", index=False)
    FRAME.to_csv(desk.folder / "e.csv", index=False)
    FRAME.to_csv(desk.folder / "p.csv", index=False)
    files = [file_of(desk.folder / "p.csv")]
    assert (desk.describe(files), desk.chosen()) == ("", "parameter")
    # Relative sources are seen from the project's folder, where scripts run.
    desk.log(FRAME, "held out", "e.csv", "evaluation")
    assert (desk.describe(files), desk.chosen()) == ("", "held out")
    desk.log(FRAME.head(1), "for training", "t.csv", "training")
    assert (desk.describe(files), desk.chosen()) == ("", "for training")


def test_a_table_without_the_columns_of_the_signature_is_passed_over(desk: Desk) -> None:
    FRAME[["a"]].to_csv(desk.folder / "t.csv", index=False)
    desk.log(FRAME, "logged", "t.csv")
    assert "it lacks the column `b`" in desk.describe()
    FRAME.to_csv(desk.folder / "p.csv", index=False)
    assert desk.describe([file_of(desk.folder / "p.csv")]) == ""
    assert desk.chosen() == "parameter"


def test_without_a_table_the_reason_is_told(desk: Desk) -> None:
    assert desk.describe() == "the run names no table it was trained on"
    assert "add to the script" in how_to_name(desk.describe())
    desk.log(FRAME, "tests", "gone.csv", "evaluation")
    desk.log(FRAME, "remote", "s3://bucket/t.csv")
    reason = desk.describe()
    assert reason.startswith("the table that the run names, `remote`, has no CSV or Parquet file")
    assert "where `source` is the CSV or Parquet file" in how_to_name(reason)
    (desk.folder / "t.parquet").write_text("no parquet")
    desk.log(FRAME, "broken", "t.parquet")
    assert "it cannot be read" in desk.describe()
    assert not how_to_name(desk.describe())


def test_a_signature_without_names_has_no_features(desk: Desk) -> None:
    Model(signature=infer_signature(FRAME[["a"]].to_numpy())).save(str(desk.source / "MLmodel"))
    assert desk.describe() == "the model has no signature with named columns"


def test_values_that_say_who_a_row_is_about_are_nowhere_in_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored: dict[str, str] = {}

    def store(_client: object, _model: object, name: str, text: str) -> None:
        stored[name] = text

    monkeypatch.setattr(reference, "_store", store)
    n = 400
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(
        {
            "customer_id": rng.permutation(n) * 977 + 100_003,
            "iban": [f"DE{at:018}" for at in rng.permutation(n)],
            "surname": rng.choice(["Muster", "Beispiel"], n),
            "zip": rng.choice([30159, 80331], n),
            "income": rng.normal(3e4, 5e3, n).round(2),
            "town": rng.choice(["Kiel", "Bonn"], n),
        }
    )
    frame.to_csv(tmp_path / "t.csv", index=False)
    source = tmp_path / "model"
    source.mkdir()
    floats = frame.astype({"customer_id": float, "zip": float})
    Model(signature=infer_signature(floats)).save(str(source / "MLmodel"))
    model: Any = Logged("model", str(source), "run")
    run: Any = SimpleNamespace(inputs=None)
    files = [file_of(tmp_path / "t.csv")]
    client: Any = None
    hidden = ("surname", "zip")
    assert describe(client, run, model, files, tmp_path, hidden) == ""
    profile = from_json(stored[PROFILE_FILE])
    assert {name: each.kind for name, each in profile.features.items()} == {
        "customer_id": "distinct", "iban": "distinct", "surname": "hidden", "zip": "hidden",
        "income": "number", "town": "category",
    }  # fmt: skip
    assert not profile.joint
    detector = from_detector(stored[OUTLIER_FILE])
    assert [each.name for each in detector.codings] == ["income", "town"]
    text = "".join(stored.values())
    assert "Kiel" in text
    for told in ("Muster", "30159", *frame["iban"][:50], *map(str, frame["customer_id"][:50])):
        assert told not in text


def test_a_detector_takes_fewer_rows_of_a_wide_table_and_never_fails_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    taken: list[set[int]] = []

    def fails(columns: Mapping[str, Sequence[Any]], _: Sequence[Coding]) -> RowDetector:
        taken.append({len(cells) for cells in columns.values()})
        raise MemoryError("too wide")

    monkeypatch.setattr(reference, "fit_rows", fails)
    cells = np.random.default_rng(0).normal(size=(2_100, 100))
    frame = pd.DataFrame(cells, columns=[f"x{at}" for at in range(100)])
    path = tmp_path / "wide.parquet"
    frame.to_parquet(path)
    signature = Signature(tuple(Column(name, "double") for name in frame))
    assert reference.detector_of(path, "", signature) == ""
    # 400,000 numbers, half of them whether each is missing.
    assert taken == [{2_000}]
    assert "no detector of outliers was made" in caplog.text
    assert "too wide" in caplog.text
