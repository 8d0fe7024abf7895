"""Requests that are shown: no cell of a hidden feature is in them, in any form."""

from __future__ import annotations

from typing import Any

import pytest

from mlops.runtimes.example import concealed

_HIDDEN = ("name", "born", "zip", "member")
_ROW = {"name": "Ada", "born": "1815-12-10", "zip": 30159, "member": True, "age": 36}
_SHOWN = {"name": "<name>", "born": "2000-01-01", "zip": 0, "member": False, "age": 36}


@pytest.mark.parametrize("form", ["dataframe_records", "inputs", "instances"])
def test_rows_with_names(form: str) -> None:
    body = {form: [_ROW, {**_ROW, "name": None}], "params": {"a": 1}}
    expected = {form: [_SHOWN, {**_SHOWN, "name": None}], "params": {"a": 1}}
    assert concealed(body, _HIDDEN) == expected


def test_columns() -> None:
    split = {"columns": [*_ROW], "data": [[*_ROW.values()]]}
    expected = {"columns": [*_ROW], "data": [[*_SHOWN.values()]]}
    assert concealed({"dataframe_split": split}, _HIDDEN) == {"dataframe_split": expected}
    body = {"inputs": {"name": ["Ada"], "zip": 30159, "age": [36], "member": [[True]]}}
    shown = {"inputs": {"name": ["<name>"], "zip": 0, "age": [36], "member": [[]]}}
    assert concealed(body, _HIDDEN) == shown


@pytest.mark.parametrize(
    "body",
    [
        {"inputs": [["Ada", 36]]},
        {"dataframe_split": {"data": [["Ada", 36]]}},
        {"messages": [{"role": "user", "content": "Ada"}]},
    ],
)
def test_cells_without_names_may_be_any_feature(body: dict[str, Any]) -> None:
    assert concealed(body, _HIDDEN) is None
    assert concealed(body, ()) == body
    assert concealed(None, _HIDDEN) is None
