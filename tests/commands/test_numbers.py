"""Models that are not wine: probabilities, labels, and one that refuses half of its requests.

One server for all, since its start costs seconds: every test deploys what it needs.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from tests.fixtures_deployment import Shop
from tests.waiting import wait_until

COLUMNS = ["a", "b", "c", "d"]


PICKY = """
import mlflow.pyfunc
import numpy as np

class Model(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        if LIMIT and (model_input["a"] > LIMIT).any():
            raise ValueError("too wide for me")
        return np.array(["setosa"] * len(model_input))

mlflow.models.set_model(Model())
"""


def iris() -> tuple[pd.DataFrame, np.ndarray[Any, Any]]:
    bunch = load_iris()
    return pd.DataFrame(bunch.data, columns=COLUMNS), bunch.target_names[bunch.target]


@pytest.fixture(scope="module")
def garden(empty_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Return a project with two classifiers that answer probabilities, and two of labels."""
    folder = tmp_path_factory.mktemp("garden")
    (folder / ".mlops").mkdir()
    shutil.copy(empty_database, folder / ".mlops" / "mlflow.db")
    (folder / "mlops.toml").write_text('[deploy]\nname = "garden"\n')
    rows, names = iris()
    for name, strength in (("strong", 1.0), ("weak", 1e-3)):
        model = LogisticRegression(C=strength, max_iter=1000).fit(rows, names)
        mlflow.sklearn.save_model(
            model,
            folder / name,
            pyfunc_predict_fn="predict_proba",
            serialization_format="cloudpickle",
            # MLflow starts a process to find them out otherwise.
            pip_requirements=["scikit-learn"],
            signature=mlflow.models.infer_signature(rows, model.predict_proba(rows)),
            input_example=rows[:2],
        )
    text = mlflow.models.infer_signature(rows, np.array(["setosa"]))
    for label, limit in (("picky", 5.8), ("easy", 0)):
        script = folder / f"{label}.py"
        script.write_text(f"LIMIT = {limit}\n{PICKY}")
        mlflow.pyfunc.save_model(
            folder / label, python_model=str(script), signature=text, input_example=rows[:2],
            pip_requirements=["scikit-learn"],
        )  # fmt: skip
    rows.assign(kind=names).to_csv(folder / "iris.csv", index=False)
    shop = Shop(folder, "garden")
    yield shop
    shop.close()


def test_probabilities_earn_log_loss(garden: Shop) -> None:
    said = garden.ok("deploy", "--ab", "./strong", "./weak", "--json")
    assert said.document["reward"] == "log-loss"
    assert said.document["warnings"] == [
        "the reward is `log-loss`: the models answer probabilities"
    ]
    garden.ok("feedback", "--data", "iris.csv", "--truth-column", "kind")
    report = garden.ok("report", "--json").document
    names = iris()[1]
    seen: dict[str, list[tuple[Any, str]]] = {"strong": [], "weak": []}
    # From the raw rows, not through anything that the report uses.
    with sqlite3.connect(garden.folder / ".mlops" / "journal" / "garden.db") as connection:
        raw = connection.execute(
            "select d.arm, d.predictions, o.truth_json from outcomes o join decisions d "
            "on d.nonce = o.nonce"
        ).fetchall()
    for arm, predictions, truth in raw:
        seen[("strong", "weak")[arm]].append((json.loads(predictions)[0], json.loads(truth)))
    assert sum(map(len, seen.values())) == 150
    for arm in report["arms"]:
        own = seen[arm["name"]]
        # Classes by their names, as the model has them, not by position.
        by_sklearn = log_loss([t for _, t in own], [p for p, _ in own], labels=sorted(set(names)))
        assert -arm["mean"] == pytest.approx(by_sklearn)
        assert arm["quality"]["log_loss"] == pytest.approx(by_sklearn)
        right = np.mean([sorted(set(names))[int(np.argmax(p))] == t for p, t in own])
        assert arm["quality"]["accuracy"] == pytest.approx(right)
        assert arm["quality"]["rmse"] is None
    out = garden.ok("report").out
    assert "estimate (AIPW)" in out
    assert "log loss" in out


def test_a_label_that_no_model_answers_is_said(garden: Shop) -> None:
    rows, names = iris()
    mlflow.sklearn.save_model(
        LogisticRegression(max_iter=1000).fit(rows, names),
        garden.folder / "named",
        serialization_format="cloudpickle",
        pip_requirements=["scikit-learn"],
        signature=mlflow.models.infer_signature(rows, names),
        input_example=rows[:2],
    )
    garden.ok("deploy", "--model", "./named", "--reward", "exact")
    why = "`Setosa ` is none of the classes `setosa`, `versicolor`, `virginica` of the models"
    one = garden.ok("feedback", "--request-id", garden.ask()[0], "--truth", "Setosa ")
    assert why in " ".join(one.err.split())
    lines = [
        json.dumps({"request_id": garden.ask()[0], "truth": truth})
        for truth in ("Setosa ", "setosa", "virginica", "Setosa ")
    ]
    said = garden.ok("feedback", "--data", "-", "--json", stdin="\n".join(lines))
    assert "2 labels are none of the classes of the models" in said.err
    document = said.document
    assert (document["counts"], document["unknown_labels"]) == ({"accepted": 4}, 2)
    assert document["warnings"] == [f"{why}, so it counts as a wrong answer"]
    right = garden.ok("feedback", "--request-id", garden.ask()[0], "--truth", "setosa", "--json")
    assert "warnings" not in right.document
    # Next to a model that does not tell its classes it cannot be known.
    garden.ok("deploy", "--ab", "./named", "./easy")
    unsure = garden.ok("feedback", "--request-id", garden.ask()[0], "--truth", "x", "--json")
    assert "warnings" not in unsure.document


def test_a_reward_that_does_not_fit_is_said_three_times(garden: Shop) -> None:
    words = ("deploy", "--ab", "./strong", "./weak", "--reward", "squared-error")
    said = garden.ok(*words, "--json").document
    assert said["warnings"] == [
        f"`{arm}`: it answers probabilities, and `squared-error` cannot be derived from that; "
        "`--reward log-loss` fits"
        for arm in ("strong", "weak")
    ]
    request_id, _ = garden.ask()
    why = "prediction is a list of 3, truth is a number; use --reward log-loss"
    one = garden.ok("feedback", "--request-id", request_id, "--truth", "1")
    assert f"no reward can be derived: {why}" in " ".join(one.err.split())
    line = json.dumps({"request_id": garden.ask()[0], "truth": 2})
    document = garden.ok("feedback", "--data", "-", "--json", stdin=line + "\n").document
    assert document["counts"] == {"accepted": 1}
    assert document["warnings"] == [f"no reward can be derived: {why}"]
    report = garden.ok("report", "--json").document
    assert report["verdict"]["reason"] == f"No reward can be derived: {why}."
    assert all(arm["quality"]["accuracy"] != 0 for arm in report["arms"] if arm["quality"]["n"])


def test_what_a_model_refuses_is_seen_everywhere(garden: Shop) -> None:
    # A reward that somebody asked for, in a test before this one, is kept otherwise.
    garden.ok("deploy", "--ab", "./easy", "./picky", "--reset", "reward")
    rows, _ = iris()
    codes: dict[str, list[int]] = {"easy": [], "picky": []}
    for row in rows.to_numpy().tolist() * 2:
        arm, code = send(garden, row)
        codes[arm].append(code)
    refused = codes["picky"].count(400)
    assert refused > 20
    assert set(codes["easy"]) == {200}
    # No arm is drawn for what no model could read.
    assert send(garden, None)[1] == 400

    def status_of() -> Any:
        return garden.ok("status", "garden", "--json").document["deployments"][0]

    # Answers do not wait for the journal.
    wait_until(lambda: status_of()["journal"]["requests"] >= 300)
    status = status_of()
    assert {arm["name"]: arm["refused"] for arm in status["arms"]} == {"easy": 0, "picky": refused}
    assert [arm["errors"] for arm in status["arms"]] == [0, 0]
    shown = garden.ok("status", "garden").out
    assert "refused (4xx)" in shown
    assert "these models since the start" in shown

    def reported() -> list[int]:
        return [arm["refused"] for arm in garden.ok("report", "--json").document["arms"]]

    wait_until(lambda: reported() == [0, refused])
    report = garden.ok("report", "--json").document
    assert report["reward"] == "exact"
    (gate,) = [each for each in report["gates"] if each["name"] == "failures"]
    assert gate["passed"] is False
    share = 100 * refused / len(codes["picky"])
    assert f"fail or are refused: `easy` 0.0 %, `picky` {share:.1f} %" in gate["text"]
    with urllib.request.urlopen(f"{garden.state.url}/report") as page:
        assert f"<td>0</td><td>{refused}</td>" in page.read().decode()
    with urllib.request.urlopen(f"{garden.state.url}/metrics") as metrics:
        (line,) = [
            text
            for text in metrics.read().decode().splitlines()
            if text.startswith("mlops_requests_total") and 'code="400"' in text
        ]
    assert 'arm="picky"' in line
    assert float(line.split()[-1]) == refused
    log = garden.where.log.read_text()
    told = [text for text in log.splitlines() if "arm picky refused a request (400)" in text]
    assert "ValueError" in told[0]
    assert "too wide for me" in told[0]
    # Some lines, not one for each.
    assert len(told) < refused


def test_a_reward_that_is_not_there_is_refused_at_once(garden: Shop) -> None:
    words = ("deploy", "--ab", "./easy", "./picky", "--json", "--reward")
    assert "did you mean `exact`" in garden.run(*words, "exat").error["message"]
    missing = garden.run(*words, "nomod:f")
    assert missing.code == 3
    assert "No module named 'nomod'" in missing.error["message"]
    toml = garden.folder / "mlops.toml"
    before = toml.read_text()
    toml.write_text(before + '\n[feedback]\nreward = "log-los"\n')
    try:
        wrong = garden.run("status", "--json")
    finally:
        toml.write_text(before)
    assert wrong.code == 3
    assert "did you mean `log-loss`" in wrong.error["message"]


def test_a_reward_that_raises_shows_where(garden: Shop) -> None:
    (garden.folder / "profit.py").write_text(
        "def margin(prediction, truth):\n    return {}['hello']\n"
    )
    garden.ok("deploy", "--ab", "./easy", "./picky", "--reward", "profit:margin")
    words = ("feedback", "--data", "iris.csv", "--truth-column", "kind", "--limit", "1", "--json")
    message = garden.run(*words).error["message"]
    assert "KeyError: 'hello'" in message
    assert "profit.py:2" in message


def send(garden: Shop, row: list[float] | None) -> tuple[str, int]:
    """Post one row, or nonsense; return the arm and the status."""
    body = b"{" if row is None else json.dumps(
        {"dataframe_split": {"columns": COLUMNS, "data": [row]}}
    ).encode()  # fmt: skip
    request = urllib.request.Request(
        f"{garden.state.url}/invocations", body, {"content-type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.headers["x-mlops-arm"], answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.headers.get("x-mlops-arm", ""), error.code


def test_confusions_cost_what_the_matrix_says(garden: Shop) -> None:
    words = ("deploy", "--ab", "./easy", "./strong", "--reward", "cost")
    refused = garden.run(*words, "--json")
    assert refused.code == 3
    assert "--cost-matrix FILE" in refused.error["hint"]
    others = ("versicolor", "virginica")
    matrix = {truth: {"setosa": 2.0 + index, "versicolor": 1, "virginica": 1}
              for index, truth in enumerate(others)}  # fmt: skip
    for truth in others:
        matrix[truth][truth] = 0
    matrix["setosa"] = dict.fromkeys(others, 7.0)
    (garden.folder / "costs.json").write_text(json.dumps(matrix))
    few = {truth: {a: cost for a, cost in row.items() if a != "virginica"}
           for truth, row in matrix.items() if truth != "virginica"}  # fmt: skip
    (garden.folder / "few.json").write_text(json.dumps(few))
    noted = garden.ok(*words, "--cost-matrix", "few.json", "--json").document["notes"]
    assert any("does not name its class `virginica`" in note for note in noted["strong"])
    garden.ok(*words, "--cost-matrix", "costs.json")
    garden.ok("feedback", "--data", "iris.csv", "--truth-column", "kind")
    report = garden.ok("report", "--json").document
    assert report["reward_range"] == [-7, 0]
    easy, strong = report["arms"]
    # The easy one says setosa always: what that costs lies between 0 and 3.
    assert -2.5 < easy["mean"] < -1
    assert strong["mean"] > -0.2
    assert easy["quality"]["accuracy"] == pytest.approx(1 / 3, abs=0.2)


def test_the_rule_that_turns_probabilities_into_costs_is_a_named_choice(garden: Shop) -> None:
    kinds = ("setosa", "versicolor", "virginica")
    # So dear that the least expected cost is that of `virginica`, however sure the model is.
    matrix = {a: {b: 1e6 if b != "virginica" else 1 for b in kinds if a != b} for a in kinds}
    (garden.folder / "dear.json").write_text(json.dumps(matrix))
    arms = ("deploy", "--ab", "./strong", "./weak")
    words = (*arms, "--reward", "cost", "--cost-matrix", "dear.json")
    unsaid = garden.ok(*words, "--dry-run")
    assert "no decision rule is chosen" in " ".join(unsaid.err.split())
    wrong = garden.run(*words, "--decision-rule", "cheapest", "--json")
    assert wrong.code == 3
    assert "`threshold=T` with T between 0 and 1" in wrong.error["message"]
    other = garden.run(*arms, "--reward", "exact", "--decision-rule", "min-cost", "--json")
    assert other.code == 2
    assert "goes with `--reward cost`" in other.error["message"]
    said = garden.ok(*words, "--decision-rule", "min-cost")
    assert "decision rule  min-cost" in said.err
    assert "no decision rule is chosen" not in said.err
    garden.ok("feedback", "--data", "iris.csv", "--truth-column", "kind")
    report = garden.ok("report", "--json").document
    assert report["decision_rule"] == "min-cost"
    assert all(-1 <= arm["mean"] < -0.2 for arm in report["arms"])
    assert "decision rule min-cost" in " ".join(garden.ok("report").out.split())
    shown = garden.ok("audit", "show", "garden", "--json").document["entries"]
    assert "min-cost" in [(each["after"] or {}).get("decision_rule") for each in shown
                          if each["action"] == "deploy"]  # fmt: skip
    # An experiment keeps its rule.
    kept = garden.ok(*arms, "--dry-run")
    assert "garden is up to date" in kept.err


def test_history_says_what_answers_and_what_is_stopped(garden: Shop) -> None:
    garden.ok("deploy", "--ab", "./easy", "./picky", "--reward", "exact")
    number = garden.state.launch.served.revision.number
    served = garden.ok("history", "garden", "--json").document["served"]
    assert served[str(number)][-1]["ended"] == ""
    garden.ok("stop", "garden")
    said = garden.ok("history", "garden")
    assert f"{number}  stopped" in said.out
    assert "  live  " not in said.out
    (span,) = garden.ok("history", "garden", "--json").document["served"][str(number)][-1:]
    assert span["ended"] == "stopped"
    assert span["end_ms"] >= span["start_ms"]
