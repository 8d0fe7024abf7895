"""Types of the columns that a scoring job writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops.errors import InvalidInputError
from mlops.scoring.writing import Form, kinds_of, write_part


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
