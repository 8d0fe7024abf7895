from __future__ import annotations

import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mlops.client.outcomes import outcomes_in
from mlops.client.replay import Tally, first_prediction, play
from mlops.client.replay_data import ReplayRows, blamed, read_replay_rows, row_order
from mlops.client.reward import compute
from mlops.errors import InvalidInputError, MlopsError, RemoteError
from mlops.rewards.own import load_reward
from mlops.tables.signature import Column, Signature

TABLE = ReplayRows(("x",), ((1.0,), (2.0,), (3.0,)), (5.0, 6.0, 7.0))


class Notebook:
    """An endpoint that writes down who came, and can be interrupted."""

    def __init__(self, stop_at: int = -1) -> None:
        self.came: list[tuple[tuple[Any, ...], Any]] = []
        self.waiting = 0
        self.stop_at = stop_at

    def send_row(self, columns: tuple[str, ...], row: tuple[Any, ...], truth: Any) -> None:
        if len(self.came) == self.stop_at:
            raise KeyboardInterrupt
        self.came.append((row, truth))
        self.waiting += 1

    def flush(self) -> Counter[str]:
        sent, self.waiting = Counter(accepted=self.waiting), 0
        return +sent


def test_everybody_comes_once_in_order() -> None:
    notebook = Notebook()
    tally = play(notebook, TABLE, row_order(TABLE, 0, 7))
    assert notebook.came == [((1.0,), 5.0), ((2.0,), 6.0), ((3.0,), 7.0)]
    assert (tally.visits, tally.counts) == (3, {"accepted": 3})


def test_draws_are_seeded_and_with_replacement() -> None:
    draws = list(row_order(TABLE, 50, 7))
    assert draws == list(row_order(TABLE, 50, 7))
    assert draws != list(row_order(TABLE, 50, 8))
    assert set(draws) == {0, 1, 2}


def test_answers_from_before_ctrl_c_are_kept() -> None:
    notebook = Notebook(stop_at=2)
    told: list[Tally] = []
    with pytest.raises(KeyboardInterrupt):
        play(notebook, TABLE, row_order(TABLE, 0, 7), on_progress=told.append)
    assert notebook.waiting == 0
    assert told[-1].counts == {"accepted": 2}


class Picky(Notebook):
    """An endpoint whose model refuses every other row, or all; or that knows no such column."""

    def __init__(self, every: int, reason: str = "model") -> None:
        super().__init__()
        self.every, self.reason, self.asked = every, reason, 0

    def send_row(self, columns: tuple[str, ...], row: tuple[Any, ...], truth: Any) -> None:
        self.asked += 1
        if self.asked % self.every == 0:
            raise InvalidInputError("no", reason=self.reason)
        super().send_row(columns, row, truth)


def test_a_row_that_a_model_refuses_ends_nothing() -> None:
    tally = play(Picky(every=2), TABLE, row_order(TABLE, 50, 7))
    assert (tally.visits, tally.refused, tally.counts) == (50, 25, {"accepted": 25})


@pytest.mark.parametrize(("rows", "asked"), [(50, 20), (3, 3)])
def test_a_file_that_no_model_takes_is_refused(rows: int, asked: int) -> None:
    picky = Picky(every=1)
    with pytest.raises(InvalidInputError):
        play(picky, TABLE, row_order(TABLE, rows, 7))
    assert picky.asked == asked


def test_a_row_that_does_not_fit_the_signature_ends_the_replay() -> None:
    picky = Picky(every=2, reason="")
    with pytest.raises(InvalidInputError):
        play(picky, TABLE, row_order(TABLE, 50, 7))
    assert picky.asked == 2


def test_feedback_goes_in_batches() -> None:
    notebook = Notebook()
    told: list[int] = []
    play(notebook, TABLE, row_order(TABLE, 450, 7), on_progress=lambda t: told.append(t.visits))
    assert told == [200, 400, 450]


def test_a_rate_is_not_exceeded() -> None:
    started = time.monotonic()
    play(Notebook(), TABLE, row_order(TABLE, 0, 7), rate=20)
    assert time.monotonic() - started >= 2 / 20


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a,b\n1,2\n", "`quality`"),
        ("", "There is nothing in it"),
        ("a,quality\n", "no rows"),
        ("a,quality\n1\n", "Line 2"),
        ("a,quality\n1,\n", "line 2"),
    ],
)
def test_files_that_cannot_be_played(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "table.csv"
    file.write_text(text)
    with pytest.raises(InvalidInputError) as caught:
        read_replay_rows(file, ["quality"])
    assert says in caught.value.message


def test_the_cell_that_makes_text_of_a_column_is_named(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.write_text("a,b,quality\n1,red,6\n\n2,7,5\n3,white,six\n n/a,rose,5\n5,rose,5\n")
    strays = read_replay_rows(file, ["quality"]).strays
    # `b` is text with a number among it, not the other way round; the empty line counts.
    assert [str(stray) for stray in strays] == [
        "line 6: `a` is ` n/a`, not a number",
        "line 5: `quality` is `six`, not a number",
    ]
    fault = InvalidInputError("Column `a` takes numbers; row 0 has `1`.")
    assert "`x.csv`, line 6" in blamed(fault, strays, "x.csv").message
    other = InvalidInputError("Column `zulu` is missing.")
    assert blamed(other, strays[:0], "x.csv") is other


SIGNATURE = Signature(
    columns=(
        Column("zip", "string"),
        Column("rooms", "long"),
        Column("garden", "boolean"),
        Column("built", "datetime"),
        Column("sqm", "double", required=False),
    )
)
HOUSES = """\
zip,rooms,garden,built,sqm,price
01067,3,True,2001-05-06,71.5,100
"8,1",4,false,1999-01-02,,90
"""


@pytest.mark.parametrize("form", ["csv", "json", "ndjson", "parquet"])
def test_rows_get_the_types_of_the_deployed_model(tmp_path: Path, form: str) -> None:
    file = tmp_path / f"houses.{form}"
    records = [
        {"zip": "01067", "rooms": 3, "garden": True, "built": "2001-05-06", "sqm": 71.5},
        {"zip": "8,1", "rooms": 4, "garden": False, "built": "1999-01-02", "sqm": None},
    ]
    labelled = [{**one, "price": price} for one, price in zip(records, (100, 90), strict=True)]
    if form == "csv":
        file.write_text(HOUSES)
    elif form == "json":
        file.write_text(json.dumps(labelled))
    elif form == "ndjson":
        file.write_text("".join(json.dumps(one) + "\n" for one in labelled))
    else:
        pd.DataFrame(labelled).to_parquet(file)
    found = read_replay_rows(file, ["price"], SIGNATURE)
    assert found.columns == tuple(records[0])
    assert found.rows == tuple(tuple(one.values()) for one in records)
    assert list(map(type, found.rows[0])) == [str, int, bool, str, float]
    assert found.truths == (100, 90)


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("01067,3.5,True,2001-05-06,1,9", "line 3: column `rooms` takes whole numbers"),
        (
            "01067,3,maybe,2001-05-06,1,9",
            "line 3: column `garden` takes true or false, not",
        ),
        ("01067,3,True,yesterday,1,9", "line 3: column `built` takes times"),
        ("01067,3,True,2001-05-06,big,9", "line 3: column `sqm` takes numbers, not `big`"),
    ],
)
def test_a_cell_that_the_model_does_not_take_is_named(
    tmp_path: Path, cell: str, reason: str
) -> None:
    file = tmp_path / "houses.csv"
    header, first, *_ = HOUSES.splitlines()
    file.write_text("\n".join([header, first, cell]))
    with pytest.raises(InvalidInputError) as caught:
        read_replay_rows(file, ["price"], SIGNATURE)
    assert reason in caught.value.message


@pytest.mark.parametrize("form", ["csv", "ndjson"])
def test_rows_with_a_null_where_none_can_be_are_left_to_the_model(
    tmp_path: Path, form: str
) -> None:
    file = tmp_path / f"houses.{form}"
    if form == "csv":
        file.write_text(HOUSES + "8,,,2001-05-06,1,9\n")
    else:
        row = {"zip": "8", "rooms": None, "garden": None, "built": "2001-05-06", "sqm": 1}
        file.write_text(json.dumps({**row, "price": 9}) + "\n" + json.dumps({**row, "price": 8}))
    assert read_replay_rows(file, ["price"], SIGNATURE).rows[-1][1:3] == (None, None)


@pytest.mark.parametrize(
    "refusal",
    [
        InvalidInputError("The model refused the rows: null", reason="model"),
        RemoteError("/invocations: 500 The model failed: KeyError", reason="model"),
    ],
)
def test_what_a_model_refuses_or_fails_on_is_counted_and_the_replay_goes_on(
    refusal: MlopsError,
) -> None:
    class Fragile(Notebook):
        def send_row(self, columns: tuple[str, ...], row: tuple[Any, ...], truth: Any) -> None:
            if truth == 6.0:
                raise refusal
            super().send_row(columns, row, truth)

    tally = play(Fragile(), TABLE, row_order(TABLE, 0, 7))
    assert (tally.visits, tally.refused, tally.counts) == (3, 1, {"accepted": 2})


def test_a_deployment_that_does_not_answer_ends_the_replay() -> None:
    class Away(Notebook):
        def send_row(self, columns: tuple[str, ...], row: tuple[Any, ...], truth: Any) -> None:
            if truth == 6.0:
                raise RemoteError("no answer", reason="unanswered")
            super().send_row(columns, row, truth)

    with pytest.raises(RemoteError, match="no answer"):
        play(Away(), TABLE, row_order(TABLE, 0, 7))


def test_rows_of_lists_are_counted_as_the_server_counts_them() -> None:
    line = json.dumps({"request_id": "x", "truth": [1, None, 3], "reward": [None, None, 1]})
    assert outcomes_in(line.encode()) == 2
    assert outcomes_in(b'{"request_id": "x", "truth": [1, null], "reward": 1}') == 2
    assert outcomes_in(b'{"request_id": "x", "truth": 1}') == 1


def test_a_file_of_customers(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.write_text("\ufeffalcohol,quality,colour,age\n9.5,6,red,\n\n10,5,,3\n", encoding="utf-8")
    found = read_replay_rows(file, ["quality"])
    assert found.columns == ("alcohol", "colour", "age")
    assert found.rows == ((9.5, "red", None), (10.0, None, 3.0))
    assert found.truths == (6.0, 5.0)


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ({"predictions": [5.5]}, 5.5),
        ({"predictions": [[5.5]]}, 5.5),
        ({"predictions": [{"quality": 5.5}]}, 5.5),
        ({"predictions": [{"quality": [5.5]}]}, 5.5),
        ({"predictions": ["red"]}, "red"),
        ({"predictions": [{"a": 1, "b": 2}]}, {"a": 1, "b": 2}),
    ],
)
def test_the_prediction_of_the_only_row(answer: object, value: object) -> None:
    assert first_prediction(answer) == value


def test_rewards_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_taste.py").write_text(
        "def near(p, t):\n    return p - t\n\n"
        "def nothing(p, t):\n    return float('nan')\n\nx = 5\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    assert compute(load_reward("my_taste:near"), "my_taste:near", 5.0, 3.0) == 2.0
    for name in ("my_taste:near", "my_taste:nothing"):
        with pytest.raises(MlopsError, match=name):
            compute(load_reward(name), name, "red", 3.0)
    for name in ("my_taste:far", "no_such_module:near", "my_taste:x", "no-such"):
        with pytest.raises(MlopsError):
            load_reward(name)
