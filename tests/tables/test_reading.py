"""What a file or a body says, as typed columns."""

from __future__ import annotations

import io
import json
from typing import Any

import pandas as pd
import pytest

from mlops.errors import InvalidInputError
from mlops.tables import read_bytes
from mlops.tables.fit import check
from mlops.tables.parquet import read_parquet
from mlops.tables.signature import Column, Signature, signature_of

ZIPS = Signature((Column("zip", "string"), Column("rooms", "long"), Column("garden", "boolean")))


RECORDS = """
{"dataframe_records": [
  {"zip": "01067", "rooms": 1, "garden": true}, {"zip": "80331", "rooms": 2, "garden": false}
]}
"""


@pytest.mark.parametrize(
    "text",
    [
        "zip,rooms,garden\n01067,1,True\n80331,2.0,false\n",
        "zip;rooms;garden\r\n01067;1;TRUE\r\n80331;2;0\r\n",
        '"zip"\t"rooms"\t"garden"\n"01067"\t1\ttrue\n80331\t2\tFalse\n',
        json.dumps(
            [
                {"zip": "01067", "rooms": 1.0, "garden": True},
                {"zip": "80331", "rooms": 2, "garden": False},
            ]
        ),
        '{"zip": "01067", "rooms": 1, "garden": true}\n{"zip":"80331","rooms":2,"garden":false}\n',
        '{"zip": ["01067", "80331"], "rooms": [1, 2], "garden": [true, false]}',
        '{"inputs": {"zip": ["01067", "80331"], "rooms": [1, 2], "garden": [true, false]}}',
        '{"instances": [["01067", 1, true], ["80331", 2, false]]}',
        '{"dataframe_split": {"data": [["01067", 1.0, true], ["80331", 2, false]]}}',
        RECORDS,
    ],
)
def test_every_form_gives_the_same_columns(text: str) -> None:
    table = read_bytes(text.encode(), ZIPS)

    columns = {name: list(cells) for name, cells in table.columns.items()}
    assert columns == {"zip": ["01067", "80331"], "rooms": [1, 2], "garden": [True, False]}
    assert set(map(type, columns["rooms"])) == {int}
    assert len(table) == 2


def test_parquet_without_the_index() -> None:
    frame = pd.DataFrame(
        {
            "zip": ["01067", None],
            "gap": [1.5, None],
            "when": pd.to_datetime(["2024-05-01", None]),
            "raw": [b"hi", b""],
            "list": [[1.0], []],
        },
        index=pd.Index([7, 8], name="id"),
    )
    body = io.BytesIO()
    frame.to_parquet(body)

    columns = read_bytes(body.getvalue()).columns

    assert columns == {
        "zip": ["01067", None],
        "gap": [1.5, None],
        "when": ["2024-05-01T00:00:00", None],
        "raw": ["aGk=", ""],
        "list": [[1.0], []],
    }


def test_a_small_parquet_file_of_endless_rows_is_refused() -> None:
    body = io.BytesIO()
    pd.DataFrame({"same": [1.0] * 100_000}).to_parquet(body)

    with pytest.raises(InvalidInputError, match="100,000 cells; at most 1,000"):
        read_parquet(body.getvalue(), 1_000)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "nothing in it"),
        (b"a,b\n1\n", "Line 2 of the CSV has 1 cell"),
        (b"[]", "no rows"),
        (b"[1", "not valid JSON"),
        (b'{"a": 1}\n{"a": ', "Line 2 is not valid JSON"),
        (b'{"a": [1], "b": [1, 2]}', "different numbers of rows"),
        (b"[[1], [1, 2]]", "Row 1 has 2 cells"),
        (b"\xff\xfe", "neither UTF-8 text nor Parquet"),
        (b"PAR1 not", "not a Parquet file"),
        (b"\x1f\x8bno", "not a complete gzip"),
    ],
)
def test_says_what_is_wrong(data: bytes, reason: str) -> None:
    with pytest.raises(InvalidInputError, match=reason):
        read_bytes(data)


@pytest.mark.parametrize(
    ("kind", "cell", "fits"),
    [
        ("double", "1.5", True),
        ("double", True, True),
        ("double", "x", False),
        ("double", "1_000", False),
        ("double", [1], False),
        ("long", 1.0, True),
        ("long", "1", True),
        ("long", 1.5, False),
        ("long", float("nan"), False),
        ("long", float("inf"), False),
        ("long", None, False),
        ("long", 2**63, False),
        ("long", 2.0**63, False),
        ("integer", 2**31, False),
        ("integer", -(2**31), True),
        ("boolean", 0, True),
        ("boolean", 2, False),
        ("boolean", "true", False),
        ("boolean", None, False),
        ("string", 1067, True),
        ("string", {}, False),
        ("binary", "aGk=", True),
        ("binary", 1, False),
        ("binary", None, False),
        ("datetime", "2024-05-01", True),
        ("datetime", "2024-05-01T10:00:00+02:00", True),
        ("datetime", None, True),
        ("datetime", 20240501, False),
        ("datetime", "yesterday", False),
        ("any", [{}], True),
    ],
)
def test_what_a_column_takes(kind: str, cell: Any, fits: bool) -> None:
    misfit = check([Column("c", kind)], {"c": [cell]})

    assert (misfit is None) is fits


def test_a_misfit_is_named() -> None:
    misfit = check([Column("rooms", "long")], {"rooms": [1, 2.0, 1.5]})

    assert str(misfit) == ("Column `rooms` takes whole numbers of up to 64 bits; row 2 has `1.5`.")


def test_a_missing_value_where_none_can_be_has_a_hint() -> None:
    column = Column("rooms", "long", required=False)
    misfit = check([column], {"rooms": [1, float("nan")]})

    assert str(misfit) == "Column `rooms` takes whole numbers of up to 64 bits; row 1 has null."
    assert misfit is not None
    assert misfit.hint is not None
    assert "log `rooms` as float64 (type double)" in misfit.hint
    assert check([column], {"rooms": [1, None]}, nulls=True) is None
    assert check([column], {"rooms": [None, 1.5]}, nulls=True) is not None


def test_words_for_missing_values_are_texts_in_a_column_of_texts() -> None:
    signature = Signature((Column("text", "string"), Column("sqm", "double")))
    data = b"text,sqm,more\nN/A,NA,NA\nnull,1,1\n,2,2\n"

    assert read_bytes(data, signature).columns == {
        "text": ["N/A", "null", None],
        "sqm": [None, 1.0, 2.0],
        "more": [None, 1, 2],
    }


def test_the_signature_of_a_deployment() -> None:
    document = {"inputs": '[{"name": "zip", "type": "string", "required": true}]', "outputs": None}

    assert signature_of(document).kinds == {"zip": "string"}
    assert signature_of({}) == Signature()
