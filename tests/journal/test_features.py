"""The one form in which the journal keeps the rows of a request."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlops.journal.features import Hiding, KeptRows, features_of
from mlops.journal.sql import SqlJournal
from mlops.protocols.base import Columns, Payload, Records, Rows, Tensor
from tests.journal.rows import T0, decision

_NAMES = ("a", "b")


@pytest.mark.parametrize(
    ("payload", "row"),
    [
        (Rows([[1, "x"], [2.5, None]], _NAMES), {"a": 2.5, "b": None}),
        (Rows([[1, "x"], [2.5, None]]), {"a": 2.5, "b": None}),
        (Rows([(1, "x"), (2.5, 1.0)]), {"a": 2.5, "b": 1.0}),
        (Records([{"a": 1, "b": 2}, {"b": 4, "a": 3}]), {"a": 3, "b": 4}),
        (Records([{"a": 1}, {"b": [1, 2]}]), {"a": None, "b": [1, 2]}),
        (Columns({"a": np.array([[1.0], [2.0]]), "b": ["x", "y"]}), {"a": 2.0, "b": "y"}),
        (Columns({"a": [[1], [2]], "b": np.array(["x", "ü"], object)}), {"a": 2, "b": "ü"}),
        (Columns({"a": np.array([1, 2**40]), "b": np.array([True, False])}),
         {"a": 2**40, "b": False}),
        (Tensor(np.arange(4.0).reshape(2, 2)), {"a": 2.0, "b": 3.0}),
        (Tensor([[1, 2], [3, 4]]), {"a": 3, "b": 4}),
    ],
)  # fmt: skip
def test_every_payload_becomes_named_rows(payload: Payload, row: dict[str, Any]) -> None:
    assert _read(payload).row(1) == row


@pytest.mark.parametrize(
    ("payload", "row"),
    [
        (Tensor(np.arange(6.0).reshape(2, 3)), [3.0, 4.0, 5.0]),
        (Tensor([[[1, 2]], [[3, 4]]]), [[3, 4]]),
        (Tensor([1.0, 2.0]), None),
        (Rows([[1], [2, 3]]), [2, 3]),
    ],
)
def test_rows_that_do_not_fit_the_names_have_none(payload: Payload, row: object) -> None:
    assert _read(payload).names is None
    assert _read(payload).row(1) == row
    assert _read(payload).row(2) is None


@pytest.mark.parametrize(
    "cell",
    [
        float("nan"),
        2**70,
        "\ud800",
        b"x",
        dt.datetime.fromisoformat("2026-01-01"),
        object(),
        {1: 2},
        "\n",
    ],
)
def test_any_cell_is_written(cell: object) -> None:
    for payload in (Records([{"a": cell}]), Columns({"a": [cell]}), Tensor([[cell]])):
        assert len(_read(payload).rows) == 1
    assert _read(Records([{str(cell)[:9]: 1}])).rows == [[1]]


def test_times_and_odd_arrays_are_written() -> None:
    times = np.array(["2026-01-01T10:00"], "datetime64[ns]")
    strided = np.arange(8.0)[::2]
    found = _read(Columns({"a": times, "b": strided[:1]}))
    assert found.rows[0][0].startswith("2026-01-01T10:00")
    assert found.rows[0][1] == 0.0


def test_only_what_may_be_kept_is_kept() -> None:
    records, tensor = Records([{"a": 1, "secret": 2}]), Tensor([[1, 2, 3]])
    assert features_of(records, "none") is None
    assert features_of(records, ("b",)) == b"[]\n[[]]"
    assert features_of(records, ("secret", "a")) == features_of(records, "all")
    assert features_of(records, ("a",)) == b'["a"]\n[[1]]'
    assert features_of(Rows([[1, 2]]), ("b",), _NAMES) == b'["b"]\n[[2]]'
    # Rows that cannot be told apart are not kept at all.
    assert features_of(tensor, ("a",), _NAMES) is None
    assert features_of(tensor, "all", _NAMES) == b"null\n[[1,2,3]]"
    assert features_of(Rows([]), "all") is None


def kept_rows(written: bytes) -> KeptRows:
    return KeptRows(*map(json.loads, written.split(b"\n", 1)))


def _read(payload: Payload) -> Any:
    written = features_of(payload, "all", _NAMES)
    assert written is not None
    return kept_rows(written)


@pytest.mark.parametrize(
    ("payload", "keep", "names", "cells"),
    [
        (Records([{"a": 1, "b": "x", "c": 2.5}]), "all", ["a", "b#"], [1, "hash"]),
        (Records([{"a": 1, "b": None, "c": 2.5}]), "all", ["a", "b#"], [1, None]),
        (Rows([[1, "x", 2.5]], ("a", "b", "c")), ("c",), ["b#"], ["hash"]),
        (Columns({"a": [1], "b": ["x"]}), "none", ["b#"], ["hash"]),
    ],
)
def test_hidden_features_have_another_name(
    payload: Payload, keep: Any, names: list[str], cells: list[Any]
) -> None:
    hiding = Hiding(("b",), ("c",), b"k" * 32)
    text = features_of(payload, keep, (), hiding)
    assert text is not None
    kept = kept_rows(text)
    assert kept.names == names
    found = ["hash" if isinstance(cell, str) and len(cell) == 32 else cell for cell in kept.rows[0]]
    assert found == cells
    # The same for equal values of one feature, and with the key only.
    assert text == features_of(payload, keep, (), hiding)
    other = features_of(payload, keep, (), Hiding(("b",), ("c",), b"o" * 32))
    assert (text == other) == ("hash" not in cells)


def test_rows_without_names_are_not_kept_where_something_is_hidden() -> None:
    assert features_of(Rows([[1, 2]]), "all", (), Hiding(dropped=("b",))) is None
    assert features_of(Rows([[1, 2]]), "all", ("a", "b"), Hiding(dropped=("b",))) == b'["a"]\n[[1]]'


def test_what_is_free_for_new_requests_does_not_count_as_size(tmp_path: Path) -> None:
    """So that the warning of a journal that is too large ends when its features are forgotten."""
    journal = SqlJournal(f"sqlite:///{tmp_path / 'wine.db'}")
    large = Rows([["x" * 20_000]], ("text",))
    journal.append([decision(n, features=large) for n in range(50)], [])
    before = journal.size_bytes()
    assert sum(journal.forget_features(T0 + 1_000)) == 50
    assert journal.size_bytes() < before / 2
    journal.close()
