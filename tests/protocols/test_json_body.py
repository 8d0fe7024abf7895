"""Reading and writing JSON bodies."""

import datetime as dt
import decimal
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pytest

from mlops.protocols.base import Kind, ProtocolError
from mlops.protocols.json_body import read_object, shown, write
from tests.protocols.answers import Json

CYCLE: list[Any] = []
CYCLE.append(CYCLE)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[1]",
        b'"x"',
        b"{",
        b"\xff",
        b"\xef\xbb\xbf{}",
        b'{"a": NaN}',
        b'{"a": 1e999}',
        b'{"a": "\\ud800"}',
        b'{"a":' * 2000,
        b"[" * 100_000,
    ],
)
def test_refuses_what_is_no_object(body: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        read_object(body)

    assert caught.value.kind is Kind.MALFORMED


def test_huge_integers_become_doubles() -> None:
    assert read_object(b'{"a": 1' + b"0" * 30 + b"}") == {"a": 1e30}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.array([1.5, np.nan, np.inf]), [1.5, None, None]),
        (np.array([[1, 2], [3, 4]]).T, [[1, 3], [2, 4]]),
        (np.array([1.5], dtype=">f8"), [1.5]),
        (np.array([1.5], dtype=np.longdouble), [1.5]),
        (np.array(["a", "b"]), ["a", "b"]),
        (np.array([b"\x00\xff"]), ["AP8="]),
        ([np.float32(0.5), np.bool_(True), np.str_("x"), np.longdouble(2)], [0.5, True, "x", 2.0]),
        ({1: "a", np.int64(2): "b"}, {"1": "a", "2": "b"}),
        ((1, {"x"}, frozenset({"y"})), [1, ["x"], ["y"]]),
        (2**70, 2.0**70),
        ("\ud800x", "?x"),
        (bytearray(b"x"), "eA=="),
        (decimal.Decimal("1.5"), 1.5),
        ([pd.NA, pd.NaT, pd.Timestamp("2026-01-02")], [None, None, "2026-01-02T00:00:00"]),
        ({3: dt.date(2026, 1, 2), 4: dt.time(12)}, {"3": "2026-01-02", "4": "12:00:00"}),
    ],
)
def test_writes_whatever_models_answer(value: object, expected: Json) -> None:
    assert orjson.loads(write({"value": value})) == {"value": expected}


def test_writes_objects_in_arrays() -> None:
    array = np.array([1, "a", None, np.int8(3), {"k": b"x"}], dtype=object)

    assert orjson.loads(write(array)) == [1, "a", None, 3, {"k": "eA=="}]


@pytest.mark.parametrize("value", [object(), np.array([1 + 2j]), [lambda: 1], CYCLE])
def test_a_value_without_a_json_form_is_the_model_s_failure(value: object) -> None:
    with pytest.raises(ProtocolError, match="cannot be written as JSON") as caught:
        write(value)

    assert caught.value.kind is Kind.MODEL_FAILED


def test_shows_values_in_short() -> None:
    assert shown(1.5) == "1.5"
    assert shown([[1]]) == "a list"
    assert len(shown("x" * 10**6)) == 40
