"""`mlops monitor drift` beside a server that answers real rows."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator

import pandas as pd
import pytest
from prometheus_client.parser import text_string_to_metric_families

from mlops.journal.sql import SqlJournal
from tests.commands.schemas import fits
from tests.fixtures_deployment import Shop, open_shop, wait_until
from tests.fixtures_training import TrainedWine


@pytest.fixture(scope="module")
def watched(trained_wine: TrainedWine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    opened = open_shop(trained_wine, tmp_path_factory.mktemp("watched") / "wine")
    # One arm: which of two a request goes to would be left to chance.
    opened.ok("deploy", "--model", "modelA")
    yield opened
    opened.close()


def send(shop: Shop, frame: pd.DataFrame) -> None:
    """Send the rows in requests of 40, and wait until the journal has them."""
    before = _written(shop)
    for start in range(0, len(frame), 40):
        split = frame[start : start + 40].to_dict("split", index=False)
        shop.post("/invocations", {"dataframe_split": split})
    wait_until(lambda: _written(shop) == before + -(-len(frame) // 40))


def _written(shop: Shop) -> int:
    (status,) = shop.ok("status", "--json").document["deployments"]
    return int(status["journal"]["requests"])


def test_before_and_after_the_wines_change(watched: Shop) -> None:
    silent = watched.run("monitor", "drift")
    assert silent.code == 5
    assert "has answered no request yet" in silent.err
    rows = pd.read_csv(watched.folder / "data" / "train.csv").drop(columns="quality")
    rows = rows.sample(frac=1, random_state=3)
    send(watched, rows[:1_200])
    calm = watched.ok("monitor", "drift", "--exit-code")
    assert calm.out.startswith("No drift was found.")
    # Stronger wines than most, in the order of the shelf.
    send(watched, rows.nlargest(400, "alcohol").sample(frac=1, random_state=4))
    found = watched.run("monitor", "drift", "--exit-code")
    assert found.code == 17
    assert found.out.startswith("Drift in `")
    document = watched.ok("monitor", "drift", "--json").document
    fits("drift", document)
    alarms = {each["feature"] for each in document["streams"] if each["alarm"]}
    assert "alcohol" in alarms
    assert {each["against"] for each in document["streams"] if each["feature"] == "alcohol"} == {
        "training"
    }
    assert document["threshold"] == 12 / 0.01
    # Beside the server the same is seen, and said wherever somebody looks.
    series = {("arm", "modelA"), ("feature", "alcohol")}

    def gauge(family: str) -> float | None:
        with urllib.request.urlopen(f"{watched.state.url}/metrics") as answer:
            said = answer.read().decode()
        found = [
            sample.value
            for each in text_string_to_metric_families(said)
            for sample in each.samples
            if sample.name == family and series <= set(sample.labels.items())
        ]
        return found[0] if found else None

    (alcohol,) = (each for each in document["streams"] if each["feature"] == "alcohol")
    wait_until(lambda: gauge("mlops_drift_e_value") == alcohol["e_value"])
    assert gauge("mlops_drift_alarm") == 1
    assert gauge("mlops_drift_psi") == alcohol["psi"]
    page = urllib.request.urlopen(f"{watched.state.url}/report").read().decode()
    assert "Drift in " in page.partition('id="h-drift"')[2][:400]
    # What it has seen is not forgotten with the features.
    watched.ok("stop")
    journal = SqlJournal(f"sqlite:///{watched.folder / '.mlops' / 'journal' / 'wine.db'}")
    assert sum(journal.forget_features(2**60)) > 0
    journal.close()
    watched.ok("start")
    again = watched.ok("monitor", "drift", "--json").document
    assert again["streams"] == document["streams"]
    entries = watched.ok("audit", "show", "--json").document["entries"]
    told = [each["subject"] for each in entries if each["action"] == "alarm"]
    assert sum("The feature `alcohol` no longer looks like" in text for text in told) == 1
