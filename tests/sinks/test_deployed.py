"""`[log]` in mlops.toml: a server with sinks, its status, and the export by hand."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pyarrow.dataset
import pytest

from tests.fixtures_deployment import Shop
from tests.sinks.receivers import Events, Receiver
from tests.waiting import wait_until

SCHEMA = Path(__file__).parents[2] / "docs/schemas/journal-export-log.v1.json"
_LOG = """
[log.sinks.watcher]
kind = "cloudevents"
to = "{url}"
features = ["alcohol"]
outcomes = true

[log.sinks.lake]
kind = "parquet"
to = "lake"
wait_s = 0.1
drop = ["pH"]
"""


def _append(shop: Shop, text: str) -> None:
    with (shop.folder / "mlops.toml").open("a") as file:
        file.write(text)


@pytest.mark.usefixtures("eager_consumers")
def test_a_server_sends_its_log(wine_shop: Shop) -> None:
    events = Events()
    events.status = 503
    server = Receiver(events)
    _append(wine_shop, _LOG.format(url=server.url))
    wine_shop.ok("deploy", "--model", "modelA")
    asked = [wine_shop.ask()[0] for _ in range(5)]
    sent = wine_shop.ok("feedback", "--request-id", asked[0], "--truth", "5")
    assert sent

    lake = wine_shop.folder / "lake/wine/requests"

    def line(name: str) -> dict[str, object]:
        (status,) = wine_shop.ok("status", "--json").document["deployments"]
        found: dict[str, object] = {each["name"]: each for each in status["consumers"]}.get(
            f"log:{name}", {}
        )
        return found

    wait_until(lambda: bool(line("watcher").get("fault")) and line("lake").get("sent") == 6)
    assert "503" in str(line("watcher")["fault"])
    assert line("watcher")["lag_events"] == 6
    # The other sink, and the callers, know nothing of it.
    rows = pyarrow.dataset.dataset(lake, partitioning="hive").to_table().to_pylist()
    assert sorted(row["request_id"] for row in rows) == sorted(asked)
    assert all(row["alcohol"] is not None and "pH" not in row for row in rows)
    events.status = 200
    wait_until(lambda: len(events.seen) >= 11)
    assert sorted(events.ids("inference.request")) == sorted(asked)
    assert sorted(events.ids("inference.response")) == sorted(asked)
    (truth,) = [each["data"] for each in events.seen if each["type"].endswith("feedback")]
    assert (truth["request_id"], truth["truth"]) == (asked[0], 5)
    requests = [each["data"] for each in events.seen if each["type"].endswith("inference.request")]
    assert [{*each["instances"][0]} for each in requests] == [{"alcohol"}] * len(requests)
    server.stop()

    # By hand the same, and a sink by its name.
    said = wine_shop.ok("journal", "export", "--out", "copy/", "--json").document
    assert (said["requests"], said["outcomes"], said["dropped"]) == (5, 1, 0)
    jsonschema.validate(said, json.loads(SCHEMA.read_text()))
    # Each export has a folder of its own.
    (found,) = (wine_shop.folder / "copy").iterdir()
    assert said["to"] == str(found)
    copy = pyarrow.dataset.dataset(found / "wine/requests", partitioning="hive")
    assert sorted(copy.to_table()["request_id"].to_pylist()) == sorted(asked)
    assert "pH" in copy.schema.names
    assert "5 requests and 1 outcomes" in wine_shop.ok("journal", "export", "--sink", "lake").out
    (own,) = (wine_shop.folder / "lake").glob("export-*")
    again = pyarrow.dataset.dataset(own / "wine/requests", partitioning="hive")
    again = again.to_table().to_pylist()
    assert [{**row, "hour": ""} for row in again] == [{**row, "hour": ""} for row in rows]
    assert wine_shop.run("journal", "export", "--sink", "lakes").code == 2


def test_a_wrong_table_is_told_before_anything_is_done(wine_shop: Shop, tmp_path: Path) -> None:
    table = '[log.sinks.x]\nkind = "elasticsearch"\nto = "http://es:9200"\npassword = "env:NONE"\n'
    _append(wine_shop, table)
    said = wine_shop.run("deploy", "--model", "modelA", "--json")
    assert said.code == 3
    assert "[log.sinks.x]" in said.error["message"]
    assert "NONE" in said.error["message"]
    assert not wine_shop.where.state.exists()
