"""Personal data: hashed or dropped before it is stored, and forgotten wherever it was."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import urllib.request
from pathlib import Path
from typing import Any

import pyarrow.dataset
import pytest

from mlops.journal.sql import SqlJournal
from tests.commands.schemas import fits
from tests.fixtures_deployment import Shop
from tests.sinks.receivers import Bulk, Receiver
from tests.waiting import wait_until

# Digits that are in no other request.
_SECRET, _OTHER = 7.7654321987, 6.6543219876
_SETTINGS = """
[journal]
hash = ["alcohol"]
drop = ["density"]

[log.sinks.lake]
kind = "parquet"
to = "lake"
wait_s = 0.1

[log.sinks.search]
kind = "elasticsearch"
to = "{url}"
"""


def _ask(shop: Shop, unit: str, acid: float) -> None:
    request = shop.state.request
    assert request is not None
    split = request["dataframe_split"]
    row = [acid, *split["data"][0][1:]]
    shop.post("/invocations", {"dataframe_split": {**split, "data": [row]}}, X_Customer=unit)


def _documented(url: str) -> list[dict[str, Any]]:
    """Return the rows of every `dataframe_split` of the server's OpenAPI document."""
    with urllib.request.urlopen(f"{url}/openapi.json", timeout=60) as answer:
        left: list[Any] = [json.load(answer)]
    found: list[dict[str, Any]] = []
    while left:
        some = left.pop()
        left += some if isinstance(some, list) else some.values() if isinstance(some, dict) else []
        if isinstance(some, dict) and isinstance(some.get("data"), list) and "columns" in some:
            found += [dict(zip(some["columns"], row, strict=True)) for row in some["data"]]
    return found


def audited(shop: Shop) -> list[str]:
    entries = shop.ok("audit", "show", "--json").document["entries"]
    return [each["action"] for each in entries]


def _rows(folder: Path) -> list[dict[str, Any]]:
    files = folder / "lake/wine/requests"
    if not files.is_dir():
        return []
    found: list[dict[str, Any]] = (
        pyarrow.dataset.dataset(files, partitioning="hive").to_table().to_pylist()
    )
    return found


@pytest.mark.usefixtures("eager_consumers")
def test_a_unit_is_forgotten_wherever_it_was(wine_shop: Shop) -> None:
    asked: list[tuple[str, dict[str, Any]]] = []
    bulk = Bulk()

    def reply(headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        path = headers[":path"]
        if "_refresh" in path:
            return 200, b"{}"
        if "_search" in path:
            asked.append((path, query := json.loads(body)))
            return 200, json.dumps({"hits": {"hits": hits(query)}}).encode()
        if b'{"index"' in body:
            lines = [json.loads(line) for line in body.splitlines()]
            for action, document in zip(lines[::2], lines[1::2], strict=True):
                bulk.documents[action["index"]["_index"], action["index"]["_id"]] = document
            return 200, json.dumps({"items": [{"index": {"status": 200}}] * 2}).encode()
        return bulk(headers, body)

    def hits(query: dict[str, Any]) -> list[dict[str, Any]]:
        (theirs,) = query["query"]["bool"]["must"]
        units = [each["match"]["unit"] for each in theirs["bool"]["should"]]
        return [
            {"_index": index, "_id": name, "_seq_no": 1, "_primary_term": 1, "_source": each}
            for (index, name), each in bulk.documents.items()
            if "features" in each and each["unit"] in units
        ]

    search = Receiver(reply)
    with (wine_shop.folder / "mlops.toml").open("a") as file:
        file.write(_SETTINGS.format(url=search.url))
    wine_shop.ok("deploy", "--ab", "modelA", "modelB", "--sticky-by", "header:X-Customer")
    # The request that is shown, as the state file and the pages have it, is a row of training data.
    shown = wine_shop.state.request["dataframe_split"]  # type: ignore[index]
    row = dict(zip(shown["columns"], shown["data"][0], strict=True))
    assert (row["alcohol"], row["density"]) == (0, 0)
    assert row["pH"] > 0
    documented = _documented(wine_shop.state.url)
    assert documented
    assert all((row["alcohol"], row["density"]) == (0, 0) for row in documented)
    name = next(iter(wine_shop.state.request["dataframe_split"]["columns"]))  # type: ignore[index]
    for _ in range(2):
        _ask(wine_shop, "ann", _SECRET)
        _ask(wine_shop, "bob", _OTHER)
    wait_until(lambda: len(bulk.documents) == 4)
    wait_until(lambda: len(_rows(wine_shop.folder)) == 4)
    database = wine_shop.folder / ".mlops/journal/wine.db"
    journal = SqlJournal(f"sqlite:///{database}")
    kept = journal.decisions(0, 10, 10).kept(0)
    assert kept is not None
    assert kept.names is not None
    row = dict(zip(kept.names, kept.rows[0], strict=True))
    assert "density" not in row
    assert "alcohol" not in row
    assert len(row["alcohol#"]) == 32

    before = audited(wine_shop)
    nobody = wine_shop.run("journal", "forget", "--unit", "nobody", "--json")
    assert nobody.code == 5
    assert "no request of the unit `nobody`" in nobody.document["error"]["message"]
    assert audited(wine_shop) == before
    done = wine_shop.run("journal", "forget", "--unit", "ann", "--unit", "nobody", "--json")
    assert done.code == 5
    said = done.document
    fits("journal-forget", said)
    assert (said["units"], said["not_found"], said["requests"]) == (2, ["nobody"], 2)
    assert audited(wine_shop)[len(before) :] == ["forget, begun", "forget"]
    # A second time it is still known, and has no features left.
    assert wine_shop.ok("journal", "forget", "--unit", "ann", "--json").document["requests"] == 0
    assert {each["sink"]: each["requests"] for each in said["sinks"]} == {"lake": 2, "search": 2}
    assert all("/mlops-wine-requests/_search" in path for path, _ in asked)
    left = [each["features"][0][name] for each in bulk.documents.values() if "features" in each]
    assert left == [_OTHER, _OTHER]
    lake = _rows(wine_shop.folder)
    assert sorted(line[name] is None for line in lake) == [False, False, True, True]
    assert {line[name] for line in lake} == {None, _OTHER}
    assert all(line["prediction"] is not None for line in lake)

    # Not in the bytes of the file either, once its log is empty; no other unit is touched.
    wine_shop.ok("stop")
    assert str(_OTHER).encode() in database.read_bytes()
    assert str(_SECRET).encode() not in database.read_bytes()
    assert journal.totals()["requests"] == 4

    # In the archive, too.
    archive = wine_shop.folder / "archive"
    wine_shop.ok("journal", "archive", "--older-than", "0", "--to", str(archive))
    said = wine_shop.ok("journal", "forget", "--unit", "bob", "--json").document
    search.stop()
    # The last request always stays in the journal; the other of bob's was archived.
    assert said["requests"] == 2
    # A batch ends where the archive does.
    for batch in (journal.decisions(0, 10, 10), journal.decisions(3, 10, 10)):
        assert not any(batch.kept(at) for at in range(len(batch)))
    assert journal.totals()["requests"] == 4
    journal.close()
    spool = wine_shop.folder / ".mlops/run/wine.spool"
    spool.mkdir()
    (spool / "a.refused").write_bytes(b"[]")
    gone = wine_shop.run("journal", "forget", "--unit", "ann", "--unit", "[nobody]")
    assert gone.code == 5
    assert "the features of 1 unit are gone" in gone.out
    assert "no request of the unit [nobody] was found" in gone.out
    assert "0 requests" in gone.out
    assert "requests in 1 files of" in " ".join(gone.out.split())
    assert "not reached" in gone.out
    none = wine_shop.run("journal", "forget", "--unit", "nobody")
    assert none.code == 5
    assert "requests in 1 files of" in " ".join(none.err.split())
    trail = wine_shop.ok("audit", "show", "--json").out
    assert "forget, begun" in trail
    assert "ann" not in trail


@pytest.mark.usefixtures("eager_consumers")
def test_sinks_forget_units_that_the_journal_does_not_know(wine_shop: Shop) -> None:
    with (wine_shop.folder / "mlops.toml").open("a") as file:
        file.write('\n[log.sinks.lake]\nkind = "parquet"\nto = "lake"\nwait_s = 0.1\n')
    wine_shop.ok("deploy", "--ab", "modelA", "modelB", "--sticky-by", "header:X-Customer")
    for unit in ("ann", "bob", "eve"):
        _ask(wine_shop, unit, _SECRET)
    wait_until(lambda: len(_rows(wine_shop.folder)) == 3)
    wine_shop.ok("stop")
    # As after a backup was put back: the journal has only eve's request.
    with contextlib.closing(sqlite3.connect(wine_shop.folder / ".mlops/journal/wine.db")) as rows:
        rows.execute("DELETE FROM decisions WHERE seq < (SELECT max(seq) FROM decisions)")
        rows.commit()

    done = wine_shop.ok("journal", "forget", "--unit", "ann", "--json").document
    assert (done["units"], done["not_found"], done["requests"]) == (1, [], 0)
    assert [each["requests"] for each in done["sinks"]] == [1]
    forget = ("journal", "forget", "--unit", "eve", "--unit", "bob", "--unit", "nobody", "--json")
    some = wine_shop.run(*forget)
    assert some.code == 5
    assert (some.document["not_found"], some.document["requests"]) == (["nobody"], 1)
    assert [each["requests"] for each in some.document["sinks"]] == [2]
    acid = next(iter(wine_shop.state.request["dataframe_split"]["columns"]))  # type: ignore[index]
    assert [line[acid] for line in _rows(wine_shop.folder)] == [None] * 3
    entries = wine_shop.ok("audit", "show", "--json").document["entries"]
    told = [(each["action"], each["evidence"]) for each in entries if "forget" in each["action"]]
    assert told == [
        ("forget", {"units": 1}), ("forget, begun", {"units": 1}), ("forget", {"units": 2})
    ]  # fmt: skip


def test_without_sticky_units_no_unit_is_known(shop: Shop) -> None:
    said = shop.run("journal", "forget", "--unit", "ann")
    assert said.code == 3
    assert "sticky" in said.err
