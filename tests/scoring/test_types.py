"""Columns have one type in all parts, whichever chunk is the first to tell it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import mlops.scoring.job as module
from mlops.protocols.base import Kind, ProtocolError
from mlops.registry.stores import open_store
from mlops.scoring import Draw, Job, Scorer, find_inputs, score
from mlops.scoring.writing import Form, merge
from mlops.settings import load_settings
from mlops.tables.signature import Column, Signature

#: Cells of the column that is kept, one in each chunk, and what its type is to be.
CELLS: list[tuple[list[Any], pa.DataType]] = [
    ([None, None, "late"], pa.string()),
    ([None, {"x": 1}, None], pa.string()),
    ([None, [0.25, None], [0.1, 0.9]], pa.list_(pa.float64())),
    ([[7, 8], [], [0.5]], pa.list_(pa.float64())),
    ([None, [7, 8], None], pa.list_(pa.int64())),
    ([[0.1, 2.5], None, ["late"]], pa.string()),
    ([[7], {"x": 1}, [0.5]], pa.string()),
    ([["late"], [0.5], []], pa.string()),
    ([None, [2**63], [7]], pa.string()),
    ([None, [7, None], [2**64 - 1]], pa.string()),
    ([None, 3, 2.5], pa.float64()),
    ([4, 2.5, None], pa.float64()),
    ([None, True, None], pa.bool_()),
    ([None, None, 7], pa.int64()),
    ([None, None, None], pa.string()),
]


def run(folder: Path, cells: Sequence[Any], form: Form) -> list[Path]:
    """Score a row a chunk with a model that refuses the first one."""

    def ask(payload: Any, _: int) -> Sequence[Any]:
        if payload.values["n"] == [0.5]:
            raise ProtocolError(Kind.MISMATCH, "no")
        return list(payload.values["n"])

    source = folder / "rows.jsonl"
    if not source.exists():
        lines = [json.dumps({"n": at + 0.5, "kept": cell}) for at, cell in enumerate(cells)]
        source.write_text("\n".join(lines))
    settings = load_settings(folder, environ={})
    inputs = find_inputs([str(source)], lambda uri: open_store(uri, settings))
    scorer = Scorer("a", "a", ("a",), ask, Signature((Column("n", "double"),)))
    job = Job((scorer,), Draw((1.0,)), keep=("kept",), rows=1, form=form, skip_errors=True)
    done = score(job, inputs, open_store(str(folder / "out"), settings))
    return [folder / "out" / key for key in done.parts]


@pytest.mark.parametrize(("cells", "kind"), CELLS)
def test_all_parts_have_the_type_of_all_cells(
    tmp_path: Path, cells: list[Any], kind: pa.DataType
) -> None:
    parts = run(tmp_path, cells, "parquet")
    schemas = [pq.read_schema(part) for part in parts]
    assert all(schema == schemas[0] for schema in schemas)
    assert (schemas[0].field("kept").type, schemas[0].field("prediction").type) == (
        kind, pa.float64(),
    )  # fmt: skip
    merge(parts, tmp_path / "whole", "parquet")
    found = pq.read_table(tmp_path / "whole").to_pylist()
    text = kind == pa.string()
    expected = [
        json.dumps(c, separators=(",", ":")) if text and type(c) in (dict, list) else c
        for c in cells
    ]
    assert [line["kept"] for line in found] == expected
    assert [line["prediction"] for line in found] == [None, 1.5, 2.5]


@pytest.mark.parametrize(("cells", "kind"), CELLS)
def test_json_lines_have_the_cells_as_they_were(
    tmp_path: Path, cells: list[Any], kind: pa.DataType
) -> None:
    lines = [json.loads(part.read_text()) for part in run(tmp_path, cells, "jsonl")]
    assert [line["kept"] for line in lines] == cells
    assert kind is not None


@pytest.mark.parametrize("ends", ["write_part", "recast"])
def test_a_job_that_was_ended_meanwhile_still_has_one_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    real, calls = getattr(module, ends), []

    def ending(*given: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(module, ends, ending)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, [4, 2.5, None], "parquet")
    parts = run(tmp_path, [4, 2.5, None], "parquet")
    assert {pq.read_schema(part).field("kept").type for part in parts} == {pa.float64()}
    before = len(calls)
    run(tmp_path, [4, 2.5, None], "parquet")
    assert len(calls) == before, "what is done is not done again"
