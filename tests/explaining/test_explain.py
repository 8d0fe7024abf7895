"""`mlops explain` of a running deployment."""

from __future__ import annotations

import csv
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.commands.schemas import fits
from tests.explaining.over_http import ask_for_row
from tests.fixtures_deployment import Shop


def test_a_request_and_why_two_arms_differ(shop: Shop, tmp_path: Path) -> None:
    asked = [ask_for_row(shop, seed) for seed in range(5)]
    request_id, arm, row = asked[-1]
    # Its answer comes after the decision is in the journal.
    shop.post("/feedback", {"request_id": request_id, "truth": 5})
    found = shop.ok("explain", "wine", "--request-id", request_id, "--json").document
    fits("explain", found)
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


def test_without_a_key_the_live_page_explains_and_kserve_s_call_does_not(shop: Shop) -> None:
    """Shares count from requests of others; `tests/commands/test_keys.py` asks with a key."""
    request_id, _, row = ask_for_row(shop)
    with pytest.raises(urllib.error.HTTPError) as caught:
        shop.post("/v1/models/wine:explain", {"instances": [row]})
    assert caught.value.code == 403
    caught.value.close()
    # Its answer comes after the decision is in the journal.
    shop.post("/feedback", {"request_id": request_id, "truth": 5})
    # Arms side by side. The first question starts a process of the lowest priority.
    page = f"{shop.state.url}/ui/requests/{request_id}/explanation"
    with urllib.request.urlopen(page, timeout=180) as answer:
        shown = answer.read().decode()
    assert any(f'<th scope="row">{name}</th>' in shown for name in row)
    assert "Difference" in shown


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


def test_a_file_without_rows_is_refused(shop: Shop, tmp_path: Path) -> None:
    path = tmp_path / "header.csv"
    names = ask_for_row(shop)[2]
    path.write_text(",".join(names) + "\n")
    for ref in ("wine", "modelA"):
        found = shop.run("explain", ref, "--data", str(path), "--json")
        assert (found.code, found.error["message"]) == (3, f"`{path}` has no rows.")


def test_a_model_with_several_outputs_is_explained(shop: Shop, tmp_path: Path) -> None:
    import mlflow.sklearn
    import numpy as np
    import pandas as pd
    from mlflow.models import infer_signature
    from sklearn.linear_model import LinearRegression

    rows = pd.DataFrame({"a": [0.0, 1.0, 2.0, 4.0], "b": [1.0, 0.0, 3.0, 2.0]})
    model = LinearRegression().fit(rows, np.stack([rows["a"], rows["b"]], axis=1))
    mlflow.sklearn.save_model(
        model, tmp_path / "two", signature=infer_signature(rows), pip_requirements=[],
        serialization_format="cloudpickle",
    )  # fmt: skip
    rows.to_csv(tmp_path / "rows.csv", index=False)
    words = (str(tmp_path / "two"), "--data", str(tmp_path / "rows.csv"), "--background")
    found = shop.ok("explain", *words, str(tmp_path / "rows.csv"), "--json").document
    fits("explain", found)
    (arm,) = found["arms"]
    assert (arm["method"], arm["output"]) == ("permutations", "output 0, the first of 2")
    assert (arm["classes"], arm["explained"]) == (None, ["output 0, the first of 2"] * 4)
    assert arm["outputs"] == pytest.approx(rows["a"].tolist())
    other = (*words, str(tmp_path / "rows.csv"), "--output")
    (arm,) = shop.ok("explain", *other, "1", "--json").document["arms"]
    assert arm["outputs"] == pytest.approx(rows["b"].tolist())
    refused = shop.run("explain", *other, "price")
    assert (refused.code, "no output `price`, only `0`, `1`" in refused.err) == (3, True)


def test_probabilities_of_two_classes_are_those_of_the_second(shop: Shop, tmp_path: Path) -> None:
    import mlflow.sklearn
    import pandas as pd
    from mlflow.models import infer_signature
    from sklearn.linear_model import LogisticRegression

    rows = pd.DataFrame({"a": [0.0, 1.0, 2.0, 4.0], "b": [1.0, 0.0, 3.0, 2.0]})
    model = LogisticRegression().fit(rows, ["no", "no", "yes", "yes"])
    mlflow.sklearn.save_model(
        model, tmp_path / "proba", signature=infer_signature(rows), pip_requirements=[],
        serialization_format="cloudpickle", pyfunc_predict_fn="predict_proba",
    )  # fmt: skip
    rows.to_csv(tmp_path / "rows.csv", index=False)
    file = str(tmp_path / "rows.csv")
    words = ("explain", str(tmp_path / "proba"), "--data", file, "--background", file)
    found = shop.ok(*words, "--json").document
    fits("explain", found)
    (arm,) = found["arms"]
    assert arm["classes"] == ["yes"] * 4
    assert arm["explained"] == ["probability of class yes"] * 4
    assert arm["outputs"] == pytest.approx(model.predict_proba(rows)[:, 1])
    assert found["note"].startswith("The shares count from 4 rows; with fewer than 30,")
    text = shop.ok(*words).out
    assert "probability of class yes, sampled" in text
    assert "note: The shares count from 4 rows" in text
    assert "`--background FILE` names more" in text
    text = shop.ok(*words, "--output", "no").out
    assert "probability of class no, sampled" in text
    rows.sample(30, replace=True, random_state=1).to_csv(tmp_path / "enough.csv", index=False)
    enough = shop.ok(*words[:-1], str(tmp_path / "enough.csv"), "--json").document
    assert (enough["background_rows"], enough["note"]) == (30, "")
