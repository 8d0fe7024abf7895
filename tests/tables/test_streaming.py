"""Chunks of a file are its rows, typed as if it were read whole."""

from __future__ import annotations

import bz2
import lzma
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlops.errors import InvalidInputError
from mlops.tables import read_path
from mlops.tables.signature import Column, Signature
from mlops.tables.streaming import chunks

CSV = "zip,n,mixed,flag\n01067,1,1,true\n10115,,2.5,false\n20095,3,x,true\n"
SIGNED = Signature((Column("zip", "string"), Column("n", "double")))


def whole(path: Path, signature: Signature, rows: int) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for table in chunks(path, signature, rows):
        for name, cells in table.columns.items():
            found.setdefault(name, []).extend(cells)
    return found


@pytest.mark.parametrize("rows", [1, 2, 3, 10])
@pytest.mark.parametrize("signature", [Signature(), SIGNED])
def test_columns_have_the_type_of_all_their_cells(
    tmp_path: Path, rows: int, signature: Signature
) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(CSV)
    expected = {name: list(cells) for name, cells in read_path(path, signature).columns.items()}
    found = whole(path, signature, rows)
    assert found == expected
    for name, cells in found.items():
        assert [*map(type, cells)] == [*map(type, expected[name])]


@pytest.mark.parametrize(("suffix", "pack"), [(".bz2", bz2.compress), (".xz", lzma.compress)])
def test_packed(tmp_path: Path, suffix: str, pack: Any) -> None:
    path = tmp_path / f"rows.csv{suffix}"
    path.write_bytes(pack(CSV.replace(",", ";").encode()))
    assert whole(path, SIGNED, 2)["zip"] == ["01067", "10115", "20095"]
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InvalidInputError, match="cannot be read"):
        whole(path, SIGNED, 2)


def test_parquet_by_row_groups(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    table = pa.table({"a": [1.5, None, float("nan"), 4.0], "b": ["x", "y", None, "z"]})
    pq.write_table(table, path, row_group_size=3)
    assert [len(each) for each in chunks(path, Signature(), 2)] == [2, 2]
    assert whole(path, Signature(), 2) == dict(read_path(path).columns)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("rows.csv", "a,b\n1,2\n3\n", "line 3: 1 cells"),
        ("rows.csv", "a,a\n1,2\n", "twice"),
        ("rows.jsonl", '{"a": 1}\nno\n', "line 2"),
        ("rows.parquet", "PAR1", "Parquet"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, name: str, text: str, said: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InvalidInputError, match=said):
        whole(path, Signature(), 10)
