"""A model with several outputs, from its labels in a file to the report: by the command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge

from tests.fixtures_deployment import Shop

LOAD, TEMP = "load MW", "temp °C"
OWN = (
    "def wape(prediction, truth):\n    return -sum(abs(p - t) for p, t in zip(prediction, truth))\n"
)


@pytest.fixture(scope="module")
def energy(empty_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Return a project with two models of two outputs, with names and without."""
    folder = tmp_path_factory.mktemp("energy")
    (folder / ".mlops").mkdir()
    shutil.copy(empty_database, folder / ".mlops" / "mlflow.db")
    (folder / "mlops.toml").write_text('[deploy]\nname = "energy"\n')
    (folder / "own.py").write_text(OWN)
    rng = np.random.default_rng(3)
    rows = pd.DataFrame(rng.normal(size=(80, 2)), columns=["wind", "hour"])
    labels = pd.DataFrame({LOAD: 50 + 9 * rows["wind"], TEMP: 9 + rows["hour"]})
    labels += rng.normal(size=labels.shape)
    for name, strength in (("free", 1.0), ("tame", 100.0)):
        model = Ridge(strength).fit(rows, labels)
        for form, answers in (("", labels), ("-bare", model.predict(rows))):
            mlflow.sklearn.save_model(
                model, folder / f"{name}{form}", pip_requirements=["scikit-learn"],
                signature=mlflow.models.infer_signature(rows, answers), input_example=rows[:2],
            )  # fmt: skip
    rows.assign(**labels).to_csv(folder / "live.csv", index=False)
    shop = Shop(folder, "energy")
    yield shop
    shop.close()


def answered(shop: Shop) -> pd.DataFrame:
    """Return what the journal has of each row with a truth, that and the answers as lists."""
    shop.ok("journal", "export", "--out", "all.csv")
    table = pd.read_csv(shop.folder / "all.csv").dropna(subset="truth")
    return table.assign(
        **{name: [json.loads(each) for each in table[name]] for name in ("prediction", "truth")}
    )


@pytest.mark.parametrize("form", ["", "-bare"])
def test_labels_of_both_outputs_are_replayed_and_judged(energy: Shop, form: str) -> None:
    arms = (f"./free{form}", f"./tame{form}")
    said = energy.ok("deploy", "--ab", *arms, "--reward", "squared-error", "--json").document
    assert not said["warnings"]
    # By name they may come in any order; without names in that of the outputs.
    names = (LOAD, TEMP) if form else (TEMP, LOAD)
    columns = [word for name in names for word in ("--truth-column", name)]
    played = energy.ok("feedback", "--data", "live.csv", *columns, "--json").document
    assert played["counts"] == {"accepted": 80}

    rows = answered(energy)
    rows = rows[rows["revision"] == rows["revision"].max()]
    live = pd.read_csv(energy.folder / "live.csv")[[LOAD, TEMP]].to_numpy()
    assert np.array_equal(np.array(rows["truth"].tolist()), live)
    errors = np.array(rows["prediction"].tolist()) - live
    assert rows["reward"].to_numpy() == pytest.approx(-(errors**2).mean(axis=1))
    for arm in energy.ok("report", "--json").document["arms"]:
        own = errors[(rows["arm"] == arm["name"]).to_numpy()]
        assert arm["mean"] == pytest.approx(-(own**2).mean())
        assert arm["quality"]["rmse"] == pytest.approx(np.sqrt((own**2).mean()))
        assert arm["quality"]["mae"] == pytest.approx(np.abs(own).mean())

    quality = energy.ok("monitor", "quality", "--json").document
    assert {each["measure"] for each in quality["streams"]} == {"rmse", "mae"}
    assert sum(each["rows"] for each in quality["judged"]) == 80
    assert "several values" in energy.ok("monitor", "drift").out


def test_a_reward_of_ones_own_takes_all_outputs(energy: Shop) -> None:
    energy.ok("deploy", "--ab", "./free", "./tame", "--reward", "own:wape")
    columns = ("--truth-column", LOAD, "--truth-column", TEMP)
    energy.ok("feedback", "--data", "live.csv", *columns, "--limit", "5")
    rows = answered(energy).tail(5)
    errors = np.array(rows["prediction"].tolist()) - np.array(rows["truth"].tolist())
    assert rows["reward"].to_numpy() == pytest.approx(-np.abs(errors).sum(axis=1))


def test_outcomes_in_files_and_by_hand(energy: Shop) -> None:
    energy.ok("deploy", "--ab", "./free", "./tame", "--reward", "absolute-error")
    payload = {"dataframe_split": {"columns": ["wind", "hour"], "data": [[1.0, 2.0]]}}
    ids = [energy.post("/invocations", payload)[1]["x-mlops-request-id"] for _ in range(6)]
    energy.ok("feedback", "--request-id", ids[0], "--truth", "[1, 2]")
    energy.ok("feedback", "--request-id", ids[1], "--truth", json.dumps({TEMP: 2, LOAD: 1}))
    table = pd.DataFrame({"request_id": ids[2:4], TEMP: [2, 2], LOAD: [1, 1]})
    table.to_csv(energy.folder / "late.csv", index=False)
    columns = ("--truth-column", TEMP, "--truth-column", LOAD)
    energy.ok("feedback", "--data", "late.csv", *columns)
    lines = [{"request_id": ids[4], "truth": [[1, 2]]}, {"request_id": ids[5], "truth": [1, 2, 3]}]
    said = energy.run(
        "feedback", "--data", "-", "--json", stdin="\n".join(json.dumps(line) for line in lines)
    )
    assert (said.code, said.document["counts"]) == (3, {"accepted": 1, "misfit": 1})
    assert [each["line"] for each in said.document["problems"]] == [2]
    by_hand = energy.run("feedback", "--request-id", ids[5], "--truth", "[1, 2, 3]", "--json")
    assert by_hand.code == 3
    assert "list of 2 or an object with `load MW`, `temp °C`" in by_hand.error["message"]
    known = answered(energy)
    assert known[known["request_id"].isin(ids)]["truth"].tolist() == [[1.0, 2.0]] * 5


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ((LOAD, TEMP, "wind"), "3 columns are named with `--truth-column`, and the model has 2"),
        ((LOAD, LOAD), "names a column twice"),
        ((LOAD, "temp"), "has no column `temp`"),
    ],
)
def test_columns_that_are_not_the_outputs_are_refused(
    energy: Shop, columns: tuple[str, ...], reason: str
) -> None:
    energy.ok("deploy", "--ab", "./free", "./tame", "--reward", "absolute-error")
    words = [word for name in columns for word in ("--truth-column", name)]
    said = energy.run("feedback", "--data", "live.csv", *words, "--json")
    assert said.code == 3
    assert reason in said.error["message"]


def test_labels_that_cannot_be_compared_are_counted_and_named(energy: Shop) -> None:
    energy.ok("deploy", "--ab", "./tame", "./free", "--reward", "given")
    labels = ("feedback", "--data", "live.csv", "--truth-column", LOAD)
    said = energy.ok(*labels, "--without-reward")
    assert "accepted 80" in said.out
    quality = energy.ok("monitor", "quality", "--json").document
    # The same models may have been judged before, by both outputs.
    assert "error_rate" not in {each["measure"] for each in quality["streams"]}
    assert "prediction is a list of 2, truth is a number" in " ".join(quality["notes"])
    assert "no truth came" not in " ".join(quality["notes"])
