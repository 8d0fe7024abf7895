from __future__ import annotations

import importlib
from pathlib import Path

import pandas as pd
import pytest

from mlops.errors import InvalidInputError
from mlops.stats.profiles import profile_feature
from mlops.tables import read_path
from mlops.tables import reading as module
from mlops.tables.cells import MISSING
from mlops.tables.frames import read_frame, values_of
from mlops.tables.reading import is_table
from mlops.tables.signature import Column, Signature


@pytest.mark.parametrize("name", ["t.csv", "t.CSV", "t.csv.gz", "t.tsv", "t.parquet"])
def test_every_form_gives_the_same_profile(tmp_path: Path, name: str) -> None:
    frame = pd.DataFrame(
        {
            "n": [1.5, None, 3.0],
            "i": [1, 2, 3],
            "c": ["a", None, "a"],
            "b": [True, False, True],
            "m": pd.array([1, None, 3], dtype="Int64"),
        }
    )
    path = tmp_path / name
    if name.endswith("parquet"):
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if "tsv" in name else ";")
    assert is_table(path)
    table = read_frame(path)
    assert (len(table), list(table)) == (3, list("nicbm"))
    found = {name: profile_feature(values_of(table[name])) for name in table}
    assert {name: (f.kind, f.count, f.missing) for name, f in found.items()} == {
        "n": ("number", 2, 1),
        "i": ("number", 3, 0),
        "c": ("category", 2, 1),
        "b": ("boolean", 3, 0),
        "m": ("number", 2, 1),
    }


def test_times_of_a_parquet_file(tmp_path: Path) -> None:
    times = pd.Series(pd.to_datetime(["1970-01-01T00:00:01Z", None]))
    pd.DataFrame({"t": times}).to_parquet(tmp_path / "t.parquet")
    found = profile_feature(values_of(read_frame(tmp_path / "t.parquet")["t"]))
    assert (found.kind, found.missing) == ("time", 1)
    assert found.numbers is not None
    assert found.numbers.minimum == 1


@pytest.mark.parametrize("name", ["t.json", "t", "t.gz", "csv", ".csv"])
def test_other_names_are_no_tables(name: str) -> None:
    assert not is_table(Path(name))


@pytest.mark.parametrize("name", ["t.csv", "t.parquet", "missing.csv"])
def test_a_broken_file_is_told(tmp_path: Path, name: str) -> None:
    if name != "missing.csv":
        (tmp_path / name).write_bytes(b"\xff\xfe\x00\x01,\n\x00")
    with pytest.raises(InvalidInputError, match="it cannot be read"):
        read_frame(tmp_path / name)


def test_a_large_file_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 10)
    (tmp_path / "t.csv").write_text("a,b\n1,2\n3,4\n")
    with pytest.raises(InvalidInputError, match="more than"):
        read_frame(tmp_path / "t.csv")


def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a\n1\n")
    assert len(read_frame(path)) == 1
    path.write_text("a\n1\n2\n")
    assert len(read_frame(path)) == 2


KINDS = Signature(
    tuple(
        Column(name, name)
        for name in ("string", "long", "double", "boolean", "datetime", "array", "integer")
    )
)
TYPED = (
    "string,long,double,boolean,datetime,array,integer,extra\n"
    '01067,1,1,true,2024-05-01,"[1, 2]",7,x\n'
    '"a, b",2.0,,False,2024-05-02T10:00:00,[],8,\n'
)


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.csv.bz2", "t.csv.xz", "t.csv.zst"])
def test_frame_and_table_are_typed_alike(tmp_path: Path, name: str) -> None:
    plain = tmp_path / "plain.csv"
    plain.write_text(TYPED)
    path = tmp_path / name
    if name.endswith(".zst"):
        import pyarrow as pa

        with pa.CompressedOutputStream(str(path), "zstd") as stream:
            stream.write(TYPED.encode())
    else:
        packed = {"gz": "gzip", "bz2": "bz2", "xz": "lzma"}.get(path.suffix[1:])
        module_ = importlib.import_module(packed) if packed else None
        path.write_bytes(module_.compress(TYPED.encode()) if module_ else TYPED.encode())

    table = read_path(path, KINDS)
    frame = read_frame(path, KINDS)

    assert table.columns == {
        "string": ["01067", "a, b"],
        "long": [1, 2],
        "double": [1.0, None],
        "boolean": [True, False],
        "datetime": ["2024-05-01", "2024-05-02T10:00:00"],
        "array": [[1, 2], []],
        "integer": [7, 8],
        "extra": ["x", None],
    }
    kinds = {str(name): str(kind) for name, kind in frame.dtypes.items()}
    assert kinds["long"] == "int64"
    assert kinds["integer"] == "int32"
    assert kinds["boolean"] == "bool"
    assert kinds["datetime"].startswith("datetime64")
    assert kinds["double"] == "float64"
    assert frame["string"].tolist() == ["01067", "a, b"]
    assert frame["array"].tolist() == [[1, 2], []]


def test_only_an_empty_cell_of_a_text_is_missing_in_both(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    cells = [*sorted(MISSING - {""}), ""]
    path.write_text("string;double;extra\n" + "".join(f"{cell};{cell};NA\n" for cell in cells))
    frame, table = read_frame(path, KINDS), read_path(path, KINDS)
    assert values_of(frame["string"]) == table.columns["string"] == [*cells[:-1], None]
    for name in ("double", "extra"):
        assert frame[name].isna().all()
        assert set(table.columns[name]) == {None}
    profile = profile_feature(values_of(frame["string"]))
    assert (profile.count, profile.missing) == (len(cells) - 1, 1)
