"""`mlops monitor` beside a server: wines that turn to other ones half way.

Before the turn nothing alarms; after it the command, `/metrics`, the report page, the webhook and
the audit trail name what drifted, and say that the answers became worse.
"""

from __future__ import annotations

import html
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.dataset
import pytest
from prometheus_client.parser import text_string_to_metric_families

from mlops.journal.sql import SqlJournal
from mlops.stats import joint
from tests.commands.schemas import fits
from tests.fixtures_deployment import Shop, open_shop
from tests.fixtures_training import TrainedWine
from tests.waiting import wait_until
from tests.webhook import Receiver, receiver


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiver() as opened:
        yield opened


@pytest.fixture
def watched(trained_wine: TrainedWine, tmp_path: Path, hook: Receiver) -> Iterator[Shop]:
    opened = open_shop(trained_wine, tmp_path / "wine")
    with (opened.folder / "mlops.toml").open("a", encoding="utf-8") as file:
        file.write('\n[watch]\noutliers = true\nlabels = "random"\nwebhook = "file:hook"\n')
        file.write('[log.sinks.lake]\nkind = "parquet"\nto = "lake"\nwait_s = 0.1\n')
    (opened.folder / "hook").write_text(f"{hook.url}/secret\n", encoding="utf-8")
    # One arm: which of two a request goes to would be left to chance.
    opened.ok("deploy", "--model", "modelA")
    yield opened
    opened.close()


def send(shop: Shop, wines: pd.DataFrame, size: int = 40) -> None:
    """Send wines in requests of `size`, and then say how good they are."""
    for start in range(0, len(wines), size):
        some = wines[start : start + size]
        split = some.drop(columns="quality").to_dict("split", index=False)
        _, said = shop.post("/invocations", {"dataframe_split": split})
        truth = some["quality"].tolist()
        shop.post("/feedback", {"request_id": said["x-mlops-request-id"], "truth": truth})


def gauges(shop: Shop, family: str) -> dict[str, float]:
    """Return a family's values by feature or measure."""
    with urllib.request.urlopen(f"{shop.state.url}/metrics") as answer:
        said = answer.read().decode()
    return {
        sample.labels.get("feature") or sample.labels.get("measure", ""): sample.value
        for each in text_string_to_metric_families(said)
        for sample in each.samples
        if sample.name == family
    }


def read(url: str) -> str:
    with urllib.request.urlopen(url) as answer:
        text: str = answer.read().decode()
    return text


def logged(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of a request log in Parquet."""
    if not folder.is_dir():
        return []
    lines: list[dict[str, Any]] = (
        pyarrow.dataset.dataset(folder, partitioning="hive").to_table().to_pylist()
    )
    return lines


@pytest.mark.usefixtures("eager_consumers")
def test_before_and_after_the_wines_change(watched: Shop, hook: Receiver) -> None:
    for command in ("drift", "quality"):
        silent = watched.run("monitor", command)
        assert (silent.code, "has answered no request yet" in silent.err) == (5, True)
    wines = pd.read_csv(watched.folder / "data" / "train.csv").sample(frac=1, random_state=3)
    assert "took the message" in watched.ok("monitor", "test-alert").out
    assert "A test of the alarms of `wine`" in hook.texts[0]

    send(watched, wines[:130], size=1)
    assert re.search(
        r"rmse of all 130 answers: 0\.\d+, at least [\d.]+ \(99 % confidence, labels at random\)",
        watched.ok("monitor", "quality").out.replace("\n", " "),
    )
    send(watched, wines[130:1_160])
    assert watched.ok("monitor", "drift", "--exit-code").out.startswith("No drift was found.")
    calm = watched.ok("monitor", "quality", "--exit-code").out
    assert calm.startswith("Not worse than it should be")
    assert "1,160 of 1,160 rows judged, up to 20" in calm
    # No interval holds for rows that came together.
    assert "rmse, mae of all answers: not estimated: 1,160 rows are of 156 requests" in calm
    wait_until(lambda: gauges(watched, "mlops_quality_alarm") == {"rmse": 0, "mae": 0})
    wait_until(lambda: set(gauges(watched, "mlops_drift_alarm").values()) == {0})

    # One wine that is none: it is listed, and no drift.
    brandy = wines[:1].assign(alcohol=40.0).drop(columns="quality")
    split = brandy.to_dict("split", index=False)
    _, said = watched.post("/invocations", {"dataframe_split": split}, x_mlops_check_outlier="true")
    assert said["x-mlops-outlier"] == "true"
    wait_until(lambda: gauges(watched, "mlops_outlier_rows").get("", 0) > 0)
    look = ("monitor", "outliers", "--json", "--limit", "40")
    # Its answer does not wait for the journal.
    wait_until(lambda: watched.ok(*look).document["arms"][0]["rows"] == 1_161)
    listed = watched.ok(*look).document
    fits("outliers", listed)
    (arm,) = listed["arms"]
    assert (arm["rows"], arm["share"] < 0.03) == (1_161, True)
    (first,) = (e for e in listed["outliers"] if e["request_id"] == said["x-mlops-request-id"])
    assert next(iter(first["features"].items())) == ("alcohol", 40.0)
    assert first["p_value"] == min(each["p_value"] for each in listed["outliers"])
    assert said["x-mlops-request-id"] in watched.ok("monitor", "outliers", "--limit", "40").out

    # The request log has the same tags, and so has an export by hand.
    by_row = {(e["request_id"], e["row"]): e["p_value"] for e in listed["outliers"]}
    wait_until(lambda: len(logged(watched.folder / "lake/wine/requests")) == 1_161)
    lines = logged(watched.folder / "lake/wine/requests")
    tagged = {(e["request_id"], e["row"]): e["outlier_p_value"] for e in lines if e["outlier"]}
    assert tagged == by_row
    watched.ok("journal", "export", "--out", "copy/")
    (copy,) = (watched.folder / "copy").glob("*/wine/requests")
    assert {(e["request_id"], e["row"]) for e in logged(copy) if e["outlier"]} == {*by_row}

    # The report says so too, and what the answers depend on.
    phases = watched.ok("report", "--html", "page.html", "--importance").err
    assert "Loading the models" in phases
    assert "Explaining modelA" in phases
    page = (watched.folder / "page.html").read_text()
    for section in ("h-judged", "h-outliers", "h-importance"):
        assert f'id="{section}"' in page
    said_first = re.findall(r'<th scope="row">(.*?)</th>', page.partition('id="h-importance"')[2])
    assert said_first[0] == "alcohol"

    # Stronger wines than most, of which the model knows less.
    strong = wines.nlargest(400, "alcohol").sample(1_600, replace=True, random_state=4)
    hook.refuse = 1
    send(watched, strong)
    assert watched.run("monitor", "drift", "--exit-code").code == 17
    assert watched.run("monitor", "quality", "--exit-code").code == 18
    document = watched.ok("monitor", "drift", "--json").document
    fits("drift", document)
    drifted = {each["feature"] for each in document["streams"] if each["alarm"]}
    assert {"alcohol", "density"} <= drifted
    assert {each["against"] for each in document["streams"] if each["feature"] == "alcohol"} == {
        "training"
    }
    # Eleven features, the answers, ten pairs and all numbers together.
    assert document["threshold"] == 23 / 0.01
    quality = watched.ok("monitor", "quality", "--json").document
    fits("quality", quality)
    assert [each["measure"] for each in quality["powered"]] == ["rmse", "mae"]
    assert {each["measure"] for each in quality["streams"] if each["alarm"]} >= {"rmse"}

    # Beside the server the same is seen, and said wherever somebody looks.
    expected = {each["feature"]: each["e_value"] for each in document["streams"]}
    wait_until(lambda: gauges(watched, "mlops_drift_e_value") == expected)
    assert {f for f, on in gauges(watched, "mlops_drift_alarm").items() if on} == drifted
    wait_until(lambda: gauges(watched, "mlops_quality_alarm")["rmse"] == 1)
    page = read(f"{watched.state.url}/report")
    assert "Drift in " in page.partition('id="h-drift"')[2][:400]
    sentences = ["The rmse is "]
    for feature in drifted - {"prediction"}:
        kind = "statistic" if feature == joint.ALL else "feature"
        sentences.append(f"The {kind} `{feature}` no longer looks like its training data")

    def counts() -> list[int]:
        # As Slack shows it.
        told = html.unescape("\n".join(hook.texts[1:]))
        return [told.count(sentence) for sentence in sentences]

    wait_until(lambda: 0 not in counts())
    assert counts() == [1] * len(sentences)

    # What it has seen is not forgotten with the features.
    watched.ok("stop")
    journal = SqlJournal(f"sqlite:///{watched.folder / '.mlops' / 'journal' / 'wine.db'}")
    assert sum(journal.forget_features(2**60)) > 0
    journal.close()
    assert watched.ok("monitor", "drift", "--json").document["streams"] == document["streams"]
    assert watched.ok("monitor", "quality", "--json").document["streams"] == quality["streams"]
    entries = watched.ok("audit", "show", "--json").document["entries"]
    alarms = [each["subject"] for each in entries if each["action"] == "alarm"]
    assert sum("The feature `alcohol` no longer looks like" in text for text in alarms) == 1
    assert sum("The rmse is " in text for text in alarms) == 1
