"""Types of the columns that a scoring job writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from mlops.errors import InvalidInputError
from mlops.scoring.writing import Form, kinds_of, merge, recast, write_part


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_an_error_is_text_also_where_the_first_rows_had_none(tmp_path: Path, form: Form) -> None:
    kinds = kinds_of({"prediction": [1.5], "error": [None]})
    write_part(tmp_path / "part", form, {"prediction": [2], "error": ["a: bad"]}, kinds)
    assert b'\\"' not in (tmp_path / "part").read_bytes()
    assert kinds["error"] == "text"


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_a_mistake_of_the_program_is_no_fault_of_a_cell(tmp_path: Path, form: Form) -> None:
    with pytest.raises(ValueError, match=r"[Ll]ength|shorter|longer"):
        write_part(
            tmp_path / "part", form, {"a": [1], "b": [1, 2]}, {"a": "integer", "b": "integer"}
        )


@pytest.mark.parametrize("cell", ["abc", "12", True, {"x": 1}])
def test_only_a_number_is_one(tmp_path: Path, cell: object) -> None:
    with pytest.raises(InvalidInputError, match="cells of type number"):
        write_part(tmp_path / "part", "csv", {"n": [1.5, cell]}, {"n": "number"})
    write_part(tmp_path / "part", "csv", {"n": [1, None, 2.5]}, {"n": "number"})
    assert (tmp_path / "part").read_text() == 'n\n1.0\n""\n2.5\n'


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_list_of_numbers_is_json_in_text(tmp_path: Path, form: Form) -> None:
    columns = {"p": [[0.1, 0.9], None, [1, None]]}
    write_part(tmp_path / "part", form, columns, kinds_of(columns))
    assert (tmp_path / "part").read_text() == {
        "csv": 'p\n"[0.1,0.9]"\n""\n"[1,null]"\n',
        "jsonl": '{"p":[0.1,0.9]}\n{"p":null}\n{"p":[1,null]}\n',
    }[form]


def test_a_parquet_file_says_the_classes_of_its_numbers(tmp_path: Path) -> None:
    columns: dict[str, list[Any]] = {"row": [0, 1], "p": [[0.1, 0.9], [0.5, 0.5]]}
    parts = [tmp_path / "one", tmp_path / "two"]
    for part in parts:
        write_part(part, "parquet", columns, kinds_of(columns), {"p": ("no", "ja, später")})
    merge(parts, tmp_path / "whole", "parquet")
    for path in (parts[0], tmp_path / "whole"):
        field = parquet.read_schema(path).field("p")
        assert json.loads(field.metadata[b"classes"]) == ["no", "ja, später"]
    assert recast(parts[0], {"row": "number", "p": "numbers"})
    assert parquet.read_schema(parts[0]).field("p").metadata == field.metadata
    assert parquet.read_table(parts[0]).to_pydict() == {"row": [0.0, 1.0], "p": columns["p"]}
