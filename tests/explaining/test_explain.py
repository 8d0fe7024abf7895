"""`mlops explain` of a running deployment."""

from __future__ import annotations

import csv
import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures_deployment import Shop


def _ask(shop: Shop, seed: int = 0) -> tuple[str, str, dict[str, Any]]:
    request = shop.state.request
    assert request is not None
    split = request["dataframe_split"]
    row = [cell * (1 + 0.01 * seed) for cell in split["data"][0]]
    _, said = shop.post("/invocations", {"dataframe_split": {**split, "data": [row]}})
    named = dict(zip(split["columns"], row, strict=True))
    return said["x-mlops-request-id"], said["x-mlops-arm"], named


def test_a_request_and_why_two_arms_differ(shop: Shop, tmp_path: Path) -> None:
    asked = [_ask(shop, seed) for seed in range(5)]
    request_id, arm, row = asked[-1]
    # Its answer comes after the decision is in the journal.
    shop.post("/feedback", {"request_id": request_id, "truth": 5})
    found = shop.ok("explain", "wine", "--request-id", request_id, "--json").document
    assert found["rows"] == [pytest.approx(row)]
    assert [each["arm"] for each in found["arms"] if each["served"]] == [arm]
    assert found["comparable"] is True
    for each in found["arms"]:
        assert (each["method"], each["exact"], each["output"]) == ("linear", True, "prediction")
        whole = each["base"][0] + sum(each["shares"][0].values())
        assert whole == pytest.approx(each["outputs"][0], abs=1e-9)
        split = {"columns": list(row), "data": [list(row.values())]}
        answer, _ = shop.post("/invocations", {"dataframe_split": split}, X_Mlops_Arm=each["arm"])
        assert each["outputs"][0] == pytest.approx(answer["predictions"][0], rel=1e-9)
    text = shop.ok("explain", "wine", "--request-id", request_id).out
    assert "difference" in text
    assert "answered this request" in text

    rows = tmp_path / "rows.csv"
    with rows.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        writer.writeheader()
        writer.writerows(each for _, _, each in asked)
    words = ("--data", str(rows), "--background", str(rows), "--json")
    same = shop.ok("explain", "wine", *words).document
    assert (len(same["rows"]), same["background_rows"]) == (5, 5)
    # From the mean of the same rows the shares of all of them sum to nothing.
    sums = [sum(each[name] for each in same["arms"][0]["shares"]) for name in row]
    assert sums == pytest.approx([0.0] * len(row), abs=1e-9)
    model = shop.ok("explain", "modelA", "--data", str(rows), "--json").document
    assert model["background"] == "the input example of the model"


def test_kserve_s_explain(shop: Shop) -> None:
    request_id, _, row = _ask(shop)
    # Its answer comes after the decision is in the journal.
    shop.post("/feedback", {"request_id": request_id, "truth": 5})
    for instances in ([row], [list(row.values()), list(row.values())]):
        answer, _ = shop.post("/v1/models/wine:explain", {"instances": instances})
        assert len(answer["explanations"]) == len(instances)
        arms = answer["explanations"][-1]
        assert list(arms) == ["modelA", "modelB"]
        for said in arms.values():
            assert (said["method"], said["errors"]) == ("linear", None)
            whole = said["base"] + sum(said["shares"].values())
            assert whole == pytest.approx(said["prediction"], abs=1e-9)
    # The live page has the same, arms side by side.
    page = f"{shop.state.url}/ui/requests/{request_id}/explanation"
    with urllib.request.urlopen(page, timeout=60) as answer:
        shown = answer.read().decode()
    first = max(arms["modelA"]["shares"], key=lambda name: abs(arms["modelA"]["shares"][name]))
    assert f'<th scope="row">{first}</th>' in shown
    assert "Difference" in shown
    for path, document, status in (
        ("/v1/models/beer:explain", {"instances": [row]}, 404),
        ("/v1/models/wine:explain", {"instances": [row] * 101}, 400),
        ("/v1/models/wine:explain", {"instances": [{"alcohol": 1.0}]}, 400),
        ("/v1/models/wine:explain", {"rows": []}, 400),
    ):
        with pytest.raises(urllib.error.HTTPError) as caught:
            shop.post(path, document)
        assert caught.value.code == status
        assert "error" in json.loads(caught.value.read())
        caught.value.close()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("wine",), 2, "--request-id"),
        (("modelA", "--request-id", "x"), 2, "no deployment"),
        (("wine", "--request-id", "x"), 3, "not a request id"),
        (("wine", "--data", "none.csv"), 3, "none.csv"),
    ],
)
def test_what_is_wrong_is_told(shop: Shop, words: tuple[str, ...], code: int, said: str) -> None:
    found = shop.run("explain", *words)
    assert (found.code, said in found.err) == (code, True), found.err
