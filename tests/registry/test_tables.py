from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from mlops.errors import InvalidInputError
from mlops.registry import tables as module
from mlops.registry.tables import is_table, read_table
from mlops.stats.profiles import profile_feature


@pytest.mark.parametrize("name", ["t.csv", "t.CSV", "t.csv.gz", "t.tsv", "t.parquet"])
def test_every_form_gives_the_same_profile(tmp_path: Path, name: str) -> None:
    frame = pd.DataFrame(
        {
            "n": [1.5, None, 3.0],
            "i": [1, 2, 3],
            "c": ["a", None, "b"],
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
    table = read_table(path)
    assert (table.rows, list(table.columns)) == (3, list("nicbm"))
    found = {name: profile_feature(values) for name, values in table.columns.items()}
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
    found = profile_feature(read_table(tmp_path / "t.parquet").columns["t"])
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
        read_table(tmp_path / name)


def test_a_large_file_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 10)
    (tmp_path / "t.csv").write_text("a,b\n1,2\n3,4\n")
    with pytest.raises(InvalidInputError, match="more than"):
        read_table(tmp_path / "t.csv")


def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a\n1\n")
    assert read_table(path).rows == 1
    path.write_text("a\n1\n2\n")
    assert read_table(path).rows == 2
