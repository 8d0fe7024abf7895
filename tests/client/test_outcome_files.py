from __future__ import annotations

import gzip
import io
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mlops.client.outcome_files import FeedbackData, open_data
from mlops.client.replay_data import read_replay_rows
from mlops.errors import InvalidInputError

ONE = {"request_id": "a", "reward": 0.5}
_PARQUET = io.BytesIO()
pd.DataFrame([ONE]).to_parquet(_PARQUET)
FORMS = {
    "csv": b"\xef\xbb\xbfrequest_id;reward\na;0.5\n",
    "of an old spreadsheet": b"\xef\xbb\xbf\rrequest_id;reward\ra;0.5\r",
    "a quoted line end": b'"said\nby whom",request_id,reward\n,a,0.5\n',
    "ndjson with a mark": b"\xef\xbb\xbf" + json.dumps(ONE).encode() + b"\n",
    "json with a mark": b"\xef\xbb\xbf" + json.dumps([ONE]).encode(),
    "blank": b"\n\nreward,request_id\n0.5,a\n",
    "ndjson": json.dumps(ONE).encode(),
    "json": json.dumps([ONE]).encode(),
    "pretty": json.dumps({name: [value] for name, value in ONE.items()}, indent=2).encode(),
    "gzip": gzip.compress(b"request_id,reward\na,0.5\n"),
    "parquet": _PARQUET.getvalue(),
}


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "63"
    os.mkfifo(path)
    return path


def outcomes(opened: FeedbackData, note: Callable[[str], None] = lambda _: None) -> list[Any]:
    lines = [line for line in opened.lines(note) if isinstance(line, bytes)]
    return [json.loads(line) for line in lines if line.strip()]


def write_to(pipe: Path, content: bytes) -> threading.Thread:
    writer = threading.Thread(target=pipe.write_bytes, args=(content,), daemon=True)
    writer.start()
    return writer


@pytest.mark.parametrize("form", FORMS)
def test_outcomes_are_known_whatever_their_file_is_called(pipe: Path, form: str) -> None:
    """A pipe, as `<(...)` of a shell gives, has no name that tells, and is read once."""
    writer = write_to(pipe, FORMS[form])
    with open_data(str(pipe)) as opened:
        assert opened.has_outcomes
        assert outcomes(opened) == [ONE]
    writer.join()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("suffix", ["csv", "json", "ndjson", "txt"])
def test_outcomes_are_known_in_a_file_of_any_name(tmp_path: Path, form: str, suffix: str) -> None:
    file = tmp_path / f"late.{suffix}"
    file.write_bytes(FORMS[form])
    with open_data(str(file)) as opened:
        assert opened.has_outcomes
        # By its name each line is an outcome, so that one on several lines is none.
        if (form, suffix) != ("pretty", "ndjson"):
            assert outcomes(opened) == [ONE]


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_outcomes_on_standard_input(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(FORMS[form])))
    with open_data("-") as opened:
        assert outcomes(opened) == [ONE]


@pytest.mark.parametrize("content", [b"a,b\n1,2\n", b'[{"a": 1, "b": 2}]', b'{"a": 1, "b": 2}'])
def test_rows_from_a_pipe_are_kept_for_the_replay(pipe: Path, content: bytes) -> None:
    writer = write_to(pipe, content)
    with open_data(str(pipe)) as opened:
        assert not opened.has_outcomes
        assert opened.content == content
    writer.join()
    assert read_replay_rows(pipe, ["b"], content=opened.content).truths == (2,)


@pytest.mark.parametrize("content", [b"nonsense\n", b"[1]\n", b'{"truth": 6}\n', b"{\n", b""])
def test_what_is_no_outcome_is_told_line_by_line(
    content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    with open_data("-") as opened:
        assert opened.has_outcomes
        assert list(opened.lines()) == content.splitlines(keepends=True)


def test_outcomes_that_cannot_be_read_are_no_rows_to_replay(tmp_path: Path) -> None:
    file = tmp_path / "late.csv"
    file.write_text('request_id,reward\na,"1\n')
    with pytest.raises(InvalidInputError, match="line 2"), open_data(str(file)):
        pass


def test_a_table_of_outcomes_is_known_by_its_ids(tmp_path: Path) -> None:
    file = tmp_path / "late.csv"
    file.write_text("request_id,row,price\n007,0,6\n\n8,,red\n")
    with open_data(str(file), ["price"]) as opened:
        assert opened.has_outcomes
        assert [bool(line) for line in opened.lines()] == [False, True, False, True]
        assert outcomes(opened) == [
            {"request_id": "007", "row": 0, "truth": 6},
            {"request_id": "8", "truth": "red"},
        ]
    file.write_text("request_id,outcome_id,time,truth,note\na,001,2026-01-05,6,\n")
    said: list[str] = []
    with open_data(str(file)) as opened:
        assert outcomes(opened, said.append) == [
            {"request_id": "a", "outcome_id": "001", "truth": 6}
        ]
    assert said == [
        f"not used of `{file}`: `time`, `note`. The time of an outcome is when it arrives."
    ]
    file.write_text("request_id,row,price\n007,0,6\n")
    with open_data(str(file)) as opened, pytest.raises(InvalidInputError, match="`truth`"):
        list(opened.lines())
    file.write_text("rooms,price\n3,100\n")
    for data in (str(file), str(tmp_path / "nowhere.csv"), str(tmp_path), ""):
        with open_data(data) as opened:
            assert (opened.has_outcomes, opened.content) == (False, None)


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_a_bad_cell_leaves_the_others_what_they_are(tmp_path: Path, form: str) -> None:
    rewards = ["5", "12,50", "inf", "1e-1"]
    frame = pd.DataFrame({"request_id": list("abcd"), "reward": rewards})
    file = tmp_path / f"late.{form}"
    if form == "csv":
        frame.to_csv(file, index=False)
    elif form == "json":
        frame.to_json(file, orient="records")
    else:
        frame.to_parquet(file)
    with open_data(str(file)) as opened:
        found = [each["reward"] for each in outcomes(opened)]
    assert found == [5, "12,50", "inf", 0.1]


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
@pytest.mark.parametrize("gap", [False, True])
def test_ids_that_are_numbers_are_sent_as_text(tmp_path: Path, form: str, gap: bool) -> None:
    ids = [1001, None, 1003] if gap else [1001, 1002, 1003]
    frame = pd.DataFrame({"client_id": ids, "outcome_id": [1, 2, 3], "reward": [0.5, 1.0, 1.5]})
    file = tmp_path / f"orders.{form}"
    if form == "csv":
        frame.astype({"client_id": "Int64"}).to_csv(file, index=False)
    elif form == "json":
        frame.to_json(file, orient="records")
    else:
        frame.to_parquet(file)
    with open_data(str(file)) as opened:
        found = [(each.get("client_id"), each["outcome_id"]) for each in outcomes(opened)]
    assert found == [("1001", "1"), (None if gap else "1002", "2"), ("1003", "3")]


def test_a_label_that_is_no_number_is_named(tmp_path: Path) -> None:
    file = tmp_path / "late.csv"
    file.write_text("request_id,truth\na,6\nb,six\nc,007\nd,7.5\ne,8\nf,\ng,9\n")
    said: list[str] = []
    with open_data(str(file)) as opened:
        truths = [each.get("truth") for each in outcomes(opened, said.append)]
    assert truths == [6, "six", "007", 7.5, 8, None, 9]
    assert said == ["of 6 labels in `truth` 2 are texts: line 3 `six`, line 4 `007`."]
