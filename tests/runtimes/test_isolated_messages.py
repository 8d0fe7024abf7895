"""What two processes with other packages say to each other arrives as it was sent."""

from __future__ import annotations

import ast
import datetime as dt
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlops.runtimes.isolated import child

_NOON = pd.Timestamp("2026-03-01 12:00:00.000000001")


def there_and_back(value: Any) -> Any:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sender = threading.Thread(target=child.send, args=(ours, value))
        sender.start()
        received = child.receive(theirs)
        sender.join()
    return received


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        7,
        2**70,
        -0.0,
        1e-320,
        float("inf"),
        "é \ud800",
        b"\0\xff",
        [1, "a", None],
        [[1.5], [2.5]],
        {"a": [1, {"b": 2}], 3: (1, 2)},
        dt.date(2026, 3, 1),
        dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC),
        _NOON,
        pd.Timedelta("3 days 00:00:01"),
    ],
    ids=repr,
)
def test_values(value: Any) -> None:
    expected = {"a": [1, {"b": 2}], 3: [1, 2]} if isinstance(value, dict) else value
    received = there_and_back(value)
    assert received == expected
    assert type(received) is type(expected)
    assert str(received) == str(expected)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=">i2").reshape(2, 3).T,
        np.array([np.nan, 0.1], dtype=np.float32),
        np.array([True, False]),
        np.array(["ab", "ü"]),
        np.array(["2026-03-01", "NaT"], dtype="M8[s]"),
        np.array([1 + 2j]),
        np.array(["a", None, 1.5, [1, 2], b"x"], dtype=object),
        np.zeros((0, 3)),
        np.array(1.5),
        np.arange(100_000, dtype=np.float64),
    ],
    ids=lambda array: f"{array.dtype}-{array.shape}",
)
def test_arrays(array: np.ndarray[Any, Any]) -> None:
    received = there_and_back(array)
    assert (received.dtype, received.shape) == (array.dtype, array.shape)
    if array.dtype == object:
        assert received.tolist() == array.tolist()
    else:
        np.testing.assert_array_equal(received, array)
    # A model may change what it is given.
    assert received.flags.writeable


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"a": [1.0, np.nan], "b": [3.0, 4.0]}),
        pd.DataFrame({"a": [1, 2], "b": [0.5, 1.5], "c": pd.Series(["x", None], dtype=object)}),
        pd.DataFrame({"lists": pd.Series([[1, 2], [3, 4]], dtype=object)}),
        pd.DataFrame({"t": pd.to_datetime(["2026-03-01", None]), "n": [1, 2]}),
        pd.DataFrame({"t": pd.to_datetime(["2026-03-01T12:00:00+01:00"], utc=True)}),
        pd.DataFrame({"n": pd.array([1, None], dtype="Int64"), "b": [True, False]}),
        pd.DataFrame([[1.0, 2.0]]),
        pd.DataFrame([[1.0, "a"]], columns=["same", "same"], dtype=object),
    ],
    ids=lambda frame: "-".join(map(str, frame.dtypes)),
)
def test_frames(frame: pd.DataFrame) -> None:
    received = there_and_back(frame)
    assert list(received.columns) == list(frame.columns)
    pd.testing.assert_frame_equal(received, frame, check_column_type=False)


def test_texts_are_objects_to_a_pandas_before_3() -> None:
    received = there_and_back(pd.Series(["a", "b"], name="word", dtype="string"))
    assert (received.dtype, received.name, received.tolist()) == (object, "word", ["a", "b"])


def test_what_has_no_form_is_refused() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(TypeError, match="`object` cannot be sent"):
        child.send(ours, [object()])


def test_the_child_runs_on_old_pythons_and_imports_nothing_of_ours() -> None:
    tree = ast.parse(Path(child.__file__).read_text(), feature_version=(3, 8))
    named = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    modules = {
        (node.module or "" if isinstance(node, ast.ImportFrom) else alias.name).partition(".")[0]
        for node in named
        for alias in node.names
    }
    assert modules - sys.stdlib_module_names == {"mlflow", "numpy", "pandas"}
