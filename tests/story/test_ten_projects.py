"""Ten projects that are not the wine, each from its first training to its last rollback.

`tests/projects/` holds them as a stranger writes them. What a report says is computed a second time
here, from the journal's own rows and with nothing of ours.
"""

from __future__ import annotations

import io
import json
import math
import runpy
import shutil
import sqlite3
import statistics
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mlops.registry import open_registry
from tests.fixtures_deployment import Shop
from tests.requirements import require
from tests.servers import unused_port

pytestmark = pytest.mark.story

_PROJECTS = Path(__file__).parents[1] / "projects"
Reward = Callable[[Any, Any], float]


@dataclass(frozen=True, slots=True)
class Case:
    """What a person knows about one of the projects.

    Attributes:
        knob: Its parameter.
        values: Of the two versions.
        truth: Column of `data/live.csv` with the truth; empty: `data/live.json` has payloads.
        reward: Reward of a prediction and a truth, as a person would write it down.
        types: How a person reads the columns of the CSV, where pandas has to be told.
    """

    knob: str
    values: tuple[str, str]
    truth: str
    reward: Reward
    types: Mapping[str, str] | None = None


def _exact(prediction: Any, truth: Any) -> float:
    return float(prediction == truth)


def _absolute(prediction: float, truth: float) -> float:
    return -abs(prediction - truth)


def _squared(prediction: float, truth: float) -> float:
    return -((prediction - truth) ** 2)


def _log_loss(prediction: list[float], truth: int) -> float:
    return math.log(max(prediction[truth], 1e-4))


def _bench(prediction: list[float], truth: list[float]) -> float:
    return -math.dist(prediction, truth)


CASES = {
    "churn": Case("strength", ("0.01", "1"), "outcome", _exact),
    "digits": Case("strength", ("0.00001", "0.01"), "", _exact),
    "engines": Case("damping", ("500", "1"), "", _bench),
    "fares": Case("depth", ("1", "4"), "paid", _squared),
    "fragile": Case("limit", ("1000", "1.5"), "bend", _squared),
    "fraud": Case("strength", ("0.001", "1"), "fraud", _log_loss),
    "houses": Case("leaves", ("3", "15"), "price", _absolute, {"zip": "str"}),
    "quotes": Case("smoothing", ("1000", "1"), "price", _absolute),
    "reviews": Case("strength", ("0.01", "1"), "verdict", _exact),
    "tickets": Case("boost", ("0", "3"), "", _exact),
}


_ARMS = ("old", "new")
_ONE_BY_ONE = ("houses", "tickets")


@pytest.fixture
def shop(request: pytest.FixtureRequest, ready_folder: Path) -> Iterator[Shop]:
    """Return one of the projects with its data made, in a folder of its own."""
    source = _PROJECTS / request.param
    shutil.copytree(source, ready_folder, dirs_exist_ok=True)
    with chdir(ready_folder):
        # As `mlops train -e data` would run it, without a process of its own.
        runpy.run_path("make_data.py", run_name="__main__")
    opened = Shop(ready_folder, request.param)
    yield opened
    opened.close()


@pytest.mark.parametrize(("shop", "case"), CASES.items(), ids=CASES, indirect=["shop"])
def test_a_project_goes_all_the_way(shop: Shop, case: Case) -> None:
    require("curl", shutil.which("curl"), "there is no curl")
    _train(shop, case)
    deployed = shop.ok("deploy", "--ab", "old", "new", "--port", str(unused_port()))
    _printed_curl_works(deployed.out)
    _answers_are_the_models_own(shop, case)

    _give_feedback(shop, case)
    _feedback_by_curl(shop, case)
    _report_is_what_the_journal_says(shop, case)

    shop.ok("promote", "--arm", "old", "--force", "it is what it is")
    assert {_ask(shop, payload)[1] for payload, _ in _live(shop, case)[:5]} == {"old"}
    shop.ok("rollback")
    assert len(shop.ok("status", "--json").document["deployments"][0]["arms"]) == 2
    shop.ok("stop")
    assert shop.ok("status", "--json").document["deployments"][0]["state"] == "stopped"


def _train(shop: Shop, case: Case) -> None:
    """Train both versions: one after the other, or as a sweep, which saves half of the time."""
    if shop.name in _ONE_BY_ONE:
        for alias, value in zip(_ARMS, case.values, strict=True):
            words = ("-P", f"{case.knob}={value}", "--alias", alias)
            assert shop.ok("train", *words, "--json").document["model"]["name"] == shop.name
        return
    swept = shop.ok("train", "--grid", f"{case.knob}={','.join(case.values)}", "--json").document
    for alias, value, trial in zip(_ARMS, case.values, swept["trials"], strict=True):
        assert trial["point"] == {case.knob: value}
        made = shop.ok("models", "register", trial["run_id"], "--alias", alias, "--json").document
        assert made["model"]["name"] == shop.name


def _live(shop: Shop, case: Case) -> list[tuple[dict[str, Any], Any]]:
    """Return what callers send, and what turns out to be true of it."""
    if not case.truth:
        lines = json.loads((shop.folder / "data" / "live.json").read_text())
        return [(line["payload"], line.get("truth", line.get("measured"))) for line in lines]
    table = _table(shop, case)
    rows = json.loads(table.drop(columns=case.truth).to_json(orient="records"))
    # JSON has a null where a CSV file has a gap; most callers leave such a key out.
    payloads = [{"dataframe_records": [row]} for row in rows]
    return list(zip(payloads, table[case.truth].tolist(), strict=True))


def _table(shop: Shop, case: Case) -> pd.DataFrame:
    return pd.read_csv(shop.folder / "data" / "live.csv", dtype=dict(case.types or {}))


def _ask(shop: Shop, payload: Mapping[str, Any], **headers: str) -> tuple[Any, str, str]:
    """Ask about one row; return the answer, the arm and the request id."""
    answer, said = shop.post("/invocations", dict(payload), **headers)
    (prediction,) = answer["predictions"]
    return prediction, said["x-mlops-arm"], said["x-mlops-request-id"]


def _answers_are_the_models_own(shop: Shop, case: Case) -> None:
    """By JSON and by CSV, what the door answers is what MLflow's own loader answers."""
    import mlflow

    client = open_registry(shop.settings)
    source = client.get_model_version_by_alias(shop.name, "old").source
    model = mlflow.pyfunc.load_model(source)
    rows = _live(shop, case)[:6]
    asked = [_ask(shop, payload, x_mlops_arm="old")[0] for payload, _ in rows]
    if not case.truth:
        told = [_plain(model.predict(_of_mlflow(payload))) for payload, _ in rows]
        assert asked == [pytest.approx(value) if _numeric(value) else value for (value,) in told]
        return
    table = _table(shop, case).head(6)
    dates = [name for name in table.columns if name == "departure"]
    frame = table.drop(columns=case.truth).assign(
        **{name: pd.to_datetime(table[name]) for name in dates}
    )
    own = _plain(model.predict(frame))
    assert asked == [pytest.approx(value) if _numeric(value) else value for value in own]
    # The same rows, as the file has them.
    lines = (shop.folder / "data" / "live.csv").read_text().splitlines()[:7]
    head = shop.folder / "head.csv"
    head.write_text("\n".join(lines) + "\n")
    table.drop(columns=case.truth).to_csv(head, index=False)
    said = shop.ok("predict", "--data", str(head), "--arm", "old", "--json").document
    assert said["predictions"] == [pytest.approx(v) if _numeric(v) else v for v in own]


def _of_mlflow(payload: Mapping[str, Any]) -> Any:
    """Return a payload as MLflow's own `predict` takes it in Python."""
    if "dataframe_records" in payload:
        return pd.DataFrame(payload["dataframe_records"])
    rows = payload["inputs"]
    if isinstance(rows[0], list):
        import numpy as np

        return np.array(rows)
    return rows


def _plain(predictions: Any) -> list[Any]:
    """Return what MLflow's own server writes of them: a series, for one, is a list of objects."""
    from mlflow.pyfunc.scoring_server import predictions_to_json

    said = io.StringIO()
    predictions_to_json(predictions, said)
    values: list[Any] = json.loads(said.getvalue())["predictions"]
    return values


def _numeric(value: Any) -> bool:
    several = value if isinstance(value, list) else [value]
    return all(isinstance(item, int | float) for item in several)


def _printed_curl_works(said: str) -> None:
    """What `deploy` offers to paste is answered, whatever the model takes."""
    line = next(line for line in said.splitlines() if line.strip().startswith("curl "))
    done = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, check=True, timeout=60
    )
    assert json.loads(done.stdout)["predictions"], done.stdout


def _curl(url: str, body: object) -> Any:
    words = ["curl", "-sS", "-X", "POST", "-H", "Content-Type: application/json", "-d", "@-", url]
    done = subprocess.run(
        words, input=json.dumps(body), capture_output=True, text=True, check=True, timeout=60
    )
    return json.loads(done.stdout)


def _give_feedback(shop: Shop, case: Case) -> None:
    """Play the project's file, or ask as a program does and send a file of outcomes."""
    if case.truth:
        played = shop.ok("feedback", "--once", "--json").document
        assert played["counts"]["accepted"] + played["refused"] == played["visits"]
        # A row that one arm cannot answer is that arm's failing: the others are asked all the same.
        assert (played["refused"] > 0) == (shop.name == "fragile")
        return
    lines = []
    for payload, truth in _live(shop, case)[:-5]:
        prediction, _, request_id = _ask(shop, payload)
        # The bench measures the distance of both outputs together, and sends that as the reward.
        measured = isinstance(truth, list)
        told = {"reward": case.reward(prediction, truth)} if measured else {"truth": truth}
        lines.append(json.dumps({"request_id": request_id, **told}))
    (shop.folder / "outcomes.ndjson").write_text("\n".join(lines) + "\n")
    shop.ok("feedback", "--data", "outcomes.ndjson")


def _feedback_by_curl(shop: Shop, case: Case) -> None:
    for payload, truth in _live(shop, case)[-5:]:
        try:
            prediction, _, request_id = _ask(shop, payload)
        except OSError:
            assert shop.name == "fragile"
            continue
        measured = isinstance(truth, list)
        told = {"reward": case.reward(prediction, truth)} if measured else {"truth": truth}
        answer = _curl(f"{shop.state.url}/feedback", {"request_id": request_id, **told})
        assert answer["outcome"]["status"] == "accepted", answer


@dataclass
class Arm:
    """What the journal's rows say of one arm."""

    requests: int = 0
    refused: int = 0
    rewards: tuple[float, ...] = ()


def _report_is_what_the_journal_says(shop: Shop, case: Case) -> None:
    report = shop.ok("report", "--json").document
    expected = _from_the_journal(shop, case)
    assert [arm["name"] for arm in report["arms"]] == ["old", "new"]
    for arm, own in zip(report["arms"], expected, strict=True):
        assert arm["requests"] == own.requests
        assert arm["refused"] == own.refused
        assert arm["n"] == len(own.rewards) > 0
        assert arm["mean"] == pytest.approx(statistics.fmean(own.rewards), rel=1e-6)
        assert arm["errors"] == 0
    refused = [own.refused > 0 for own in expected]
    # The first arm of the fragile project takes every load, its second only the light ones.
    assert refused == [False, shop.name == "fragile"]
    assert (shop.name == "fragile") == any("refus" in note for note in report["notes"])


def _from_the_journal(shop: Shop, case: Case) -> list[Arm]:
    arms = [Arm(), Arm()]
    path = shop.folder / ".mlops" / "journal" / f"{shop.name}.db"
    with closing(sqlite3.connect(path)) as journal:
        decisions = journal.execute(
            "SELECT nonce, arm, status, prediction, predictions FROM decisions WHERE propensity > 0"
        ).fetchall()
        outcomes = {
            nonce: (reward, json.loads(text) if text else truth)
            for nonce, reward, truth, text in journal.execute(
                "SELECT nonce, reward, truth, truth_json FROM outcomes"
            )
        }
    for nonce, index, status, number, text in decisions:
        arm = arms[index]
        arm.requests += 1
        arm.refused += 400 <= status < 500
        if nonce in outcomes:
            reward, truth = outcomes[nonce]
            if reward is None:
                answer = json.loads(text)[0] if text else number
                reward = case.reward(answer, int(truth) if case.reward is _log_loss else truth)
            arm.rewards += (reward,)
    return arms


def test_every_project_has_its_case() -> None:
    assert sorted(CASES) == sorted(folder.name for folder in _PROJECTS.iterdir())
