"""Files that were made to harm, and other people in the folder of the output."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlops.errors import ConflictError, InvalidInputError, NotFoundError
from mlops.registry.stores import open_store
from mlops.scoring import Draw, Job, Scored, Scorer, find_inputs, score
from mlops.scoring.claim import claimed
from mlops.scoring.job import Ask
from mlops.scoring.writing import Form
from mlops.settings import load_settings
from mlops.tables import read_path, streaming
from mlops.tables.signature import Column, Signature
from tests.fixtures_deployment import Shop

_DEEP = "[" * 100_000
_SIGNATURE = Signature((Column("n", "double"),))


def _echo(payload: Any, _: int) -> Sequence[Any]:
    return list(payload.values["n"])


def run(source: Path, form: Form = "parquet", ask: Ask = _echo, **terms: Any) -> Scored:
    settings = load_settings(source.parent, environ={})
    inputs = find_inputs([str(source)], lambda uri: open_store(uri, settings))
    scorer = Scorer("a", "a", ("a",), ask, _SIGNATURE)
    job = Job((scorer,), Draw((1.0,)), form=form, **terms)
    return score(job, inputs, open_store(str(source.parent / "out"), settings))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "", "is empty"),
        ("a.csv", "\n\n", "is empty"),
        ("a.csv", 'n,"z\n1,2\n', "line 2"),
        ("a.csv", f"n,z\n1,{'a' * 200_000}\n", "field larger than field limit"),
        ("a.jsonl", _DEEP, "recursion"),
        ("a.jsonl", f'{{"n": {"9" * 5_000}}}', "limit"),
    ],
)
def test_text_that_is_no_table(tmp_path: Path, name: str, content: str, said: str) -> None:
    source = tmp_path / name
    source.write_text(content)
    with pytest.raises(InvalidInputError, match=said):
        run(source)


def test_blank_lines_before_a_header_and_names_of_several_lines(tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    source.write_text('\n\n"a\nb",n\nx,1\n')
    assert run(source, keep=("a\nb",)).rows == 1
    (line,) = pq.read_table(tmp_path / "out" / "part-00000-0000000.parquet").to_pylist()
    assert (line["a\nb"], line["prediction"]) == ("x", 1.0)


@pytest.mark.parametrize(
    ("name", "head", "more"),
    [
        ("a.csv.gz", b"", b"a" * 20_000_000),
        ("a.csv.gz", b"n,z\n1,", b'"\n",' * 5_000_000),
        ("a.jsonl.gz", b'{"n": "', b"a" * 20_000_000),
    ],
)
def test_a_row_that_unpacks_to_far_more(
    tmp_path: Path, name: str, head: bytes, more: bytes
) -> None:
    source = tmp_path / name
    source.write_bytes(gzip.compress(head + more, compresslevel=1))
    with pytest.raises(InvalidInputError, match=r"line \d+: the row is longer than 16 MiB"):
        run(source)


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_rows_that_are_too_large_together(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "MAX_CHUNK", 1_200)
    source = tmp_path / name
    lines = ["n,z", *["1," + "a" * 400] * 5]
    if name == "a.jsonl":
        lines = [json.dumps({"n": 1, "z": "a" * 400})] * 5
    source.write_text("\n".join(lines))
    assert run(source, rows=2).rows == 5
    (tmp_path / "out").rename(tmp_path / "first")
    with pytest.raises(InvalidInputError, match="3 rows have more than"):
        run(source.replace(tmp_path / f"b{source.suffix}"), rows=3, keep=("z",))


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("a.csv", ["n," + ",".join(f"c{at}" for at in range(20)), *["1" + "," * 20] * 3]),
        ("a.jsonl", ['{"n": 1, "z": [{},{},{},{},{},{},{},{},{},{}]}'] * 3),
        ("a.jsonl", ['{"n": 1, "z": [[],[],[],[],[],[],[],[],[],[]]}'] * 3),
    ],
)
def test_cells_without_text_take_memory_too(
    tmp_path: Path, name: str, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "MAX_CHUNK", 1_500)
    source = tmp_path / name
    source.write_text("\n".join(lines))
    assert run(source, rows=1).rows == 3
    (tmp_path / "out").rename(tmp_path / "first")
    with pytest.raises(InvalidInputError, match="each cell counted as 32 bytes more"):
        run(source)


def _parquet(path: Path, columns: Sequence[tuple[str, Any]], pandas: bytes = b"") -> Path:
    names, arrays = zip(*columns, strict=True)
    table = pa.Table.from_arrays(arrays, names=names)
    pq.write_table(table.replace_schema_metadata({"pandas": pandas} if pandas else None), path)
    return path


@pytest.mark.parametrize(
    ("columns", "pandas"),
    [
        ([("n", pa.array([1.5])), ("n", pa.array([2.5]))], b""),
        ([("n", pa.array([1.5]))], b"\xff{"),
        ([("n", pa.array([1.5]))], b"[1]"),
        ([("n", pa.array([1.5]))], b'{"index_columns": 5}'),
        ([("n", pa.array([1.5]))], _DEEP.encode()),
        ([("n", pa.array([1.5])), ("t", pa.array([2**62], pa.timestamp("ms")))], b""),
        ([("n", pa.array([1.5])), ("t", pa.array([1], pa.timestamp("us", "No/Where")))], b""),
        ([("n", pa.array([1.5])), ("t", pa.array([2**62], pa.duration("s")))], b""),
    ],
)
def test_parquet_that_holds_no_table(
    tmp_path: Path, columns: Sequence[tuple[str, Any]], pandas: bytes
) -> None:
    source = _parquet(tmp_path / "a.parquet", columns, pandas)
    with pytest.raises(InvalidInputError, match="is no readable Parquet file"):
        run(source)
    # Nor does `mlops predict` take it.
    with pytest.raises(InvalidInputError, match="not a Parquet file"):
        read_path(source, _SIGNATURE)


@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl"])
@pytest.mark.parametrize(
    "cell", [10**30, "\ud800", [[[99**50]]], json.loads("[" * 300 + "]" * 300)]
)
def test_cells_that_have_no_form_in_a_file(tmp_path: Path, form: Form, cell: Any) -> None:
    source = tmp_path / "a.jsonl"
    source.write_text(json.dumps({"n": 1.5, "z": cell}))
    assert run(source, form).rows == 1
    (tmp_path / "out").rename(tmp_path / "without")
    if form == "csv" and isinstance(cell, int):
        assert run(source, form, keep=("z",)).rows == 1
        return
    with pytest.raises(InvalidInputError, match=f"of column `z` has no form in {form}"):
        run(source, form, keep=("z",))


def test_numbers_at_the_ends_of_a_double(tmp_path: Path) -> None:
    values = np.array([1e308, -1e308, np.inf, -np.inf, np.nan])
    source = _parquet(tmp_path / "a.parquet", [("n", pa.array(values))])
    run(source)
    (tmp_path / "out").rename(tmp_path / "first")
    run(source, "csv")
    found = pq.read_table(tmp_path / "first" / "part-00000-0000000.parquet")["prediction"]
    assert found.to_pylist() == [1e308, -1e308, np.inf, -np.inf, None]


def test_another_job_that_begins_in_the_same_store(tmp_path: Path) -> None:
    """Nothing locks a bucket: the one that finds the other's parts gives up."""
    source = tmp_path / "a.jsonl"
    source.write_text('{"n": 1.5}\n' * 4)
    begun: list[int] = []

    def ask(payload: Any, _: int) -> Sequence[Any]:
        if not begun:
            begun.append(1)
            run(source, rows=1)
        return _echo(payload, _)

    with pytest.raises(ConflictError, match="the output of another job: rows differ"):
        run(source, ask=ask, rows=2)


def test_two_jobs_in_one_folder(shop: Shop, tmp_path: Path) -> None:
    assert shop.state.request is not None
    split = shop.state.request["dataframe_split"]
    rows = [dict(zip(split["columns"], row, strict=True)) for row in split["data"]]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    words = ("batch", "modelA", "--data", f"{tmp_path}/rows.jsonl", "--out")
    with claimed(tmp_path / "out"):
        said = shop.run(*words, f"{tmp_path}/out")
        assert (said.code, "Another `mlops batch` writes to" in said.err) == (7, True)
    # Nothing was in it.
    assert not (tmp_path / "out").exists()
    with claimed(tmp_path / ".one.csv.parts", private=True):
        assert shop.run(*words, f"{tmp_path}/one.csv").code == 7
    shop.ok(*words, f"{tmp_path}/one.csv")


def test_a_link_where_parts_of_one_file_would_go(shop: Shop, tmp_path: Path) -> None:
    assert shop.state.request is not None
    rows = shop.state.request["dataframe_split"]["columns"]
    (tmp_path / "rows.jsonl").write_text(json.dumps(dict.fromkeys(rows, 1.0)))
    (tmp_path / "of-another").mkdir()
    parts = tmp_path / ".one.csv.parts"
    words = ("batch", "modelA", "--data", f"{tmp_path}/rows.jsonl", "--out", f"{tmp_path}/one.csv")
    for target in ("of-another", "made-where-another-chose"):
        parts.symlink_to(tmp_path / target)
        said = shop.run(*words)
        assert (said.code, "is a link" in said.err) == (3, True), said.err
        parts.unlink()
    assert [*(tmp_path / "of-another").iterdir()] == []
    assert not (tmp_path / "made-where-another-chose").exists()
    # Everybody could have put parts there.
    parts.mkdir()
    parts.chmod(0o777)
    said = shop.run(*words)
    assert (said.code, "lets others write" in said.err) == (3, True), said.err
    parts.chmod(0o700)
    shop.ok(*words)


def test_where_parts_of_one_file_go_is_the_users_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder where others may write they could put parts there, which are then not scored."""
    with claimed(tmp_path / "new", private=True):
        assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to("elsewhere")
    with (
        pytest.raises(InvalidInputError, match="is a link"),
        claimed(tmp_path / "link", private=True),
    ):
        pass
    with claimed(tmp_path / "link"):
        pass
    uid = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
    with (
        pytest.raises(InvalidInputError, match="is another user's"),
        claimed(tmp_path / "elsewhere", private=True),
    ):
        pass


@pytest.mark.parametrize("place", ["loop/rows.csv", "~nobody-of-this-name/rows.csv"])
def test_a_path_that_leads_nowhere(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    settings = load_settings(tmp_path, environ={})
    with pytest.raises((InvalidInputError, NotFoundError), match=r"cannot be resolved|No file"):
        find_inputs([place], lambda uri: open_store(uri, settings))
