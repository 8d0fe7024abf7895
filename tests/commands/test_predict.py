from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from tests.fixtures_deployment import Shop

_HEADER = (
    "fixed acidity,volatile acidity,citric acid,residual sugar,chlorides,free sulfur dioxide,"
    "total sulfur dioxide,density,pH,sulphates,alcohol"
)
_ROW = "7.8,0.53,0.04,1.7,0.076,17.0,31.0,0.9964,3.33,0.56,10.0"


def records(rows: int) -> list[dict[str, float]]:
    values = map(float, _ROW.split(","))
    return [dict(zip(_HEADER.split(","), values, strict=True))] * rows


def test_rows_in_every_form_get_the_same_answer(shop: Shop) -> None:
    body = {"dataframe_records": records(2)}
    forms = {
        "csv": f"{_HEADER}\n{_ROW}\n{_ROW}\n",
        "csv of a spreadsheet": f"\ufeff{_HEADER}\r\n{_ROW}\r\n{_ROW}\r\n",
        "records": json.dumps(records(2)),
        "rows": json.dumps([[float(value) for value in _ROW.split(",")]] * 2),
        "body": json.dumps(body),
        "ndjson": "".join(json.dumps(one) + "\n" for one in records(2)),
        "semicolons": f"{_HEADER}\n{_ROW}\n{_ROW}\n".replace(",", ";"),
    }
    answers = {}
    for form, text in forms.items():
        said = shop.ok("predict", "--data", "-", "--arm", "modelB", "--json", stdin=text).document
        assert (said["name"], said["arm"], said["revision"]) == ("wine", "modelB", 1)
        assert len(said["request_id"]) == 48
        answers[form] = said["predictions"]
    assert len(answers["csv"]) == 2
    for form, answer in answers.items():
        assert answer == pytest.approx(answers["csv"]), form


def test_parquet_is_read(shop: Shop, tmp_path: Path) -> None:
    file = tmp_path / "rows.parquet"
    pd.DataFrame(records(3)).to_parquet(file)
    said = shop.ok("predict", "--data", str(file), "--json").document
    assert len(said["predictions"]) == 3


def test_a_cell_that_the_model_does_not_take_is_named_by_its_line(shop: Shop) -> None:
    rows = f"{_HEADER}\n{_ROW}\n{_ROW.replace('10.0', 'strong')}\n"
    said = shop.run("predict", "--data", "-", stdin=rows)
    assert said.code == 3
    assert "line 3: column `alcohol` takes numbers, not `strong`" in said.err


def test_the_customers_themselves_can_be_asked_about(shop: Shop) -> None:
    """The file has the truth as a column too; the model takes what it knows."""
    said = shop.ok("predict", "--data", "data/customers.csv")
    assert len(said.out.splitlines()) == 400
    assert "arm model" in said.err


def test_a_single_answer_says_how_to_rate_it(shop: Shop) -> None:
    said = shop.ok("predict", "--data", "-", stdin=f"{_HEADER}\n{_ROW}\n")
    assert 3 < float(said.out) < 8
    command = next(line for line in said.err.splitlines() if line.startswith("next: "))
    words = command.removeprefix("next: mlops ").replace("VALUE", "6").split()
    assert shop.ok(*words).out.startswith("accepted: arm model")


def test_forced_arms_are_in_no_statistic(shop: Shop) -> None:
    before = shop.ok("report", "--json").document
    said = shop.ok(
        "predict", "--data", "-", "--arm", "modelA", "--json", stdin=f"{_HEADER}\n{_ROW}"
    )
    words = ("--request-id", said.document["request_id"], "--truth", "3")
    assert shop.ok("feedback", *words, "--json").document["counts"] == {"accepted": 1}
    after = shop.ok("report", "--json").document
    assert after["verdict"]["n"] == before["verdict"]["n"]
    forced = [report["arms"][0]["forced"] for report in (before, after)]
    assert forced[1] == forced[0] + 1
    assert after["arms"][0]["requests"] == before["arms"][0]["requests"]


def test_an_id_of_one_s_own_is_named_by_feedback(shop: Shop) -> None:
    words = ("--data", "-", "--client-id", "order-7781", "--json")
    assert shop.ok("predict", *words, stdin=f"{_HEADER}\n{_ROW}").document["request_id"]
    outcome = '{"client_id": "order-7781", "truth": 6}\n'
    assert shop.ok("feedback", "--data", "-", "--json", stdin=outcome).document["counts"] == {
        "accepted": 1
    }


@pytest.mark.parametrize(
    ("words", "stdin", "code", "part"),
    [
        (("--data", "nowhere.csv"), "", 5, "nowhere.csv"),
        (("--data", "-"), "", 3, "empty"),
        (("--data", "-"), "a,b\n1\n", 3, "Line 2"),
        (("--data", "-"), "a,b\n", 3, "no rows"),
        (("--data", "-"), '{"a": ', 3, "not valid JSON"),
        (("--data", "-"), "alcohol\n9\n", 3, "fixed acidity"),
        (("--data", "-", "--arm", "modelC"), f"{_HEADER}\n{_ROW}", 3, "modelA, modelB"),
        (("--data", "-", "--client-id", "order 7 "), f"{_HEADER}\n{_ROW}", 3, "`client_id`"),
        (("beer", "--data", "-"), "a\n1", 5, "beer"),
        ((), "", 2, "--data"),
    ],
)
def test_refusals(shop: Shop, words: tuple[str, ...], stdin: str, code: int, part: str) -> None:
    said = shop.run("predict", *words, "--json", stdin=stdin)
    assert said.code == code
    assert part in said.error["message"]
