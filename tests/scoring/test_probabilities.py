"""A classifier's probabilities: lists of doubles, to the last digit, whose classes are told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet
from sklearn.linear_model import LogisticRegression

from mlops.registry.stores import open_store
from mlops.scoring import Draw, Job, Scorer, find_inputs, score
from mlops.settings import load_settings
from mlops.tables.signature import Column, Signature
from tests.commands.schemas import fits
from tests.fixtures_training import Cli

_CLASSES = ("bad", "fair", "good")


def _rows(folder: Path, n: int) -> pd.DataFrame:
    rows = pd.DataFrame(np.random.default_rng(1).normal(size=(n, 2)), columns=["a", "b"])
    rows.to_parquet(folder / "rows.parquet")
    return rows


def test_a_model_alone(ready_folder: Path, cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    rows = _rows(ready_folder, 30)
    names = np.array(_CLASSES)[np.arange(30) % 3]
    model = LogisticRegression().fit(rows, names)
    mlflow.sklearn.save_model(
        model, ready_folder / "model", input_example=rows.head(2), pip_requirements=[],
        pyfunc_predict_fn="predict_proba", serialization_format="cloudpickle",
    )  # fmt: skip
    words = ("batch", "./model", "--data", "rows.parquet", "--chunk-rows", "30")
    assert cli(ready_folder, *words, "--out", "all.parquet", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    fits("batch", document)
    assert list(document["classes"].values()) == [list(_CLASSES)]
    table = parquet.read_table(ready_folder / "all.parquet")
    assert table.schema.field("prediction").type == pa.list_(pa.float64())
    answered = mlflow.pyfunc.load_model(str(ready_folder / "model")).predict(rows)
    assert table["prediction"].to_pylist() == answered.tolist(), "to the last digit"
    assert cli(ready_folder, *words, "--out", "all.jsonl") == 0
    assert "in this order: `bad`, `fair`, `good`" in capsys.readouterr().out
    lines = (ready_folder / "all.jsonl").read_text().splitlines()
    assert [json.loads(line)["prediction"] for line in lines] == answered.tolist()


def test_all_arms_and_a_job_that_goes_on(tmp_path: Path) -> None:
    def scorer(name: str, classes: Sequence[str], first: float) -> Scorer:
        def ask(payload: Any, n: int) -> list[Any]:
            p = [first / (3 + abs(cell)) for cell in payload.values["a"]]
            return [[each, *[(1 - each) / (len(classes) - 1)] * (len(classes) - 1)] for each in p]

        columns = (Column("a", "double"), Column("b", "double"))
        return Scorer(name, name, (name,), ask, Signature(columns), tuple(classes))

    _rows(tmp_path, 20)
    settings = load_settings(tmp_path, environ={})
    inputs = find_inputs([str(tmp_path / "*.parquet")], lambda uri: open_store(uri, settings))
    arms = (scorer("a", _CLASSES, 0.7), scorer("b", _CLASSES[:2], 0.3))
    job = Job(arms, Draw((0.5, 0.5), key=b"k"), all_arms=True, rows=10)
    store = open_store(str(tmp_path / "out"), settings)
    done = score(job, inputs, store)
    assert done.classes == {"a": _CLASSES, "b": _CLASSES[:2]}
    before = [(tmp_path / "out" / key).read_bytes() for key in done.parts]
    (tmp_path / "out" / done.parts[0]).unlink()
    again = score(job, inputs, store)
    assert (again.rows, again.resumed, again.classes) == (10, 10, done.classes)
    assert [(tmp_path / "out" / key).read_bytes() for key in again.parts] == before
    schema = parquet.read_schema(tmp_path / "out" / done.parts[0])
    assert json.loads(schema.field("prediction_b").metadata[b"classes"]) == list(_CLASSES[:2])
    assert not schema.field("prediction").metadata, "its arms know different classes"


def test_lists_that_are_not_of_the_classes_are_not_said_to_be(tmp_path: Path) -> None:
    def ask(_: Any, n: int) -> list[Any]:
        return [[0.5, 1.5]] * n

    _rows(tmp_path, 5)
    settings = load_settings(tmp_path, environ={})
    inputs = find_inputs([str(tmp_path / "*.parquet")], lambda uri: open_store(uri, settings))
    signature = Signature((Column("a", "double"),))
    job = Job((Scorer("a", "a", ("a",), ask, signature, _CLASSES),), Draw((1.0,)))
    done = score(job, inputs, open_store(str(tmp_path / "out"), settings))
    assert not done.classes
    assert not parquet.read_schema(tmp_path / "out" / done.parts[0]).field("prediction").metadata
