"""`mlops journal prune`, and `report` and `status` where there are shadows."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pandas as pd
import pytest

from mlops.journal.sql import SqlJournal
from mlops.journal.url import journal_url
from mlops.protocols.base import Records
from tests.commands.schemas import fits
from tests.fixtures_deployment import Shop, open_shop
from tests.fixtures_training import TrainedWine
from tests.gcs import Gcs
from tests.journal.rows import decision
from tests.minio import Minio
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def busy(trained_wine: TrainedWine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Model A serves, model B is its shadow; thirty requests, ten of them with their truth."""
    shop = open_shop(trained_wine, tmp_path_factory.mktemp("shadowed") / "wine")
    try:
        said = shop.ok("deploy", "--model", "modelA", "--shadow", "modelB", "--json")
        assert [each["share"] for each in said.document["shadows"]] == [1.0]
        ids = [shop.ask()[0] for _ in range(30)]
        for request_id in ids[:10]:
            shop.post("/feedback", {"request_id": request_id, "truth": 6.0})
        wait_until(lambda: _shadow(shop)["requests"] == 30)
        yield shop
    finally:
        shop.close()


def _shadow(shop: Shop) -> dict[str, object]:
    (shadow,) = shop.ok("status", "--json").document["deployments"][0]["shadows"]
    found: dict[str, object] = shadow
    return found


def test_a_shadow_in_status_and_report(busy: Shop) -> None:
    assert "shadow modelB" in busy.ok("status").out
    wait_until(lambda: _recorded(busy, 30))
    document = busy.ok("report", "--json").document
    (shadow,) = document["shadows"]
    assert (shadow["name"], shadow["rows"], shadow["errors"]) == ("modelB", 30, 0)
    assert shadow["agreement"] == 0.0
    assert shadow["difference"] > 0
    assert shadow["quality"]["n"] == shadow["served_quality"]["n"] == 10
    assert shadow["quality"]["rmse"] != shadow["served_quality"]["rmse"]
    # It is no arm.
    assert [arm["name"] for arm in document["arms"]] == ["modelA"]
    assert document["arms"][0]["requests"] == 30
    text = busy.ok("report").out
    assert "their answers are not returned" in text
    page = busy.folder / "report.html"
    busy.ok("report", "--html", str(page))
    assert 'id="h-shadows"' in page.read_text()


def test_the_same_again_changes_nothing(busy: Shop) -> None:
    again = busy.ok("deploy", "--model", "modelA", "--shadow", "modelB", "--json")
    assert again.document["change"] == "nothing"
    # A shadow stays until its end is asked for.
    kept = busy.ok("deploy", "--model", "modelA", "--dry-run")
    assert "nothing to change" in kept.err
    assert "shadow of 100 %" in kept.err
    without = busy.ok("deploy", "--model", "modelA", "--reset", "shadow", "--dry-run")
    assert "- modelB" in without.err


def test_export(busy: Shop) -> None:
    request_id, arm = busy.ask()
    wait_until(lambda: busy.ok("report", "--json").document["arms"][0]["requests"] == 31)
    frames = {}
    # Else pandas reads 1.7 in JSON as 1.7000000000000002.
    exact_json = partial(pd.read_json, precise_float=True)
    for form, read in (("csv", pd.read_csv), ("json", exact_json), ("parquet", pd.read_parquet)):
        said = busy.ok("journal", "export", "--out", f"x.{form}", "--json").document
        assert (said["lines"], said["format"]) == (31, form)
        frames[form] = frame = read(busy.folder / f"x.{form}")
        assert list(frame.columns) == said["columns"]
        assert frame["request_id"].iloc[-1] == request_id
        assert set(frame["arm"]) == {arm}
        assert set(frame["epoch"]) == {0}
        told = frame[frame["truth"].notna()]
        assert len(told) == 10
        squared = (told["prediction"] - told["truth"]) ** 2
        assert told["reward"].to_numpy() == pytest.approx(-squared.to_numpy())
        reported = busy.ok("report", "--json").document["arms"][0]
        assert reported["mean"] == pytest.approx(told["reward"].mean())
        quality = reported["quality"]
        assert quality["rmse"] == pytest.approx(squared.mean() ** 0.5)
        for name, value in zip(*_asked(busy), strict=True):
            assert frame[name].iloc[-1] == value
    assert str(frames["parquet"]["time"].dtype) == "datetime64[ms, UTC]"
    assert frames["parquet"]["alcohol"].dtype == "float64"
    assert busy.run("journal", "export", "--out", "x.txt").code == 2
    assert busy.run("journal", "export", "--out", "no/x.csv").code == 3
    assert not list(busy.folder.glob(".x*"))


def _asked(busy: Shop) -> tuple[list[str], list[float]]:
    assert busy.state.request is not None
    split = busy.state.request["dataframe_split"]
    return split["columns"], split["data"][0]


def test_archiving(busy: Shop, minio: Minio, gcs: Gcs) -> None:
    """Report, export, replay and late feedback are the same; the server needs no store for it."""
    busy = replace(busy, environ=minio.environ | gcs.environ)
    asked = busy.ok("report", "--json").document["arms"][0]["requests"]
    # One that is archived, with feedback to come; and one that stays as the last.
    request_id, _ = busy.ask()
    busy.ask()
    wait_until(lambda: _recorded(busy, asked + 2))
    before = _told(busy)
    replayed = busy.ok("audit", "replay", "--request-id", request_id, "--json").document
    place = f"s3://{minio.bucket()}/archives"
    now = ("journal", "archive", "--older-than", "0", "--to", place)
    dry = busy.ok(*now, "--dry-run", "--json").document
    assert (dry["requests"], dry["parts"], dry["archived"]) == (asked + 1, 1, 0)
    done = busy.ok(*now, "--json").document
    fits("journal-archive", done)
    assert (done["requests"], done["outcomes"], done["parts"]) == (asked + 1, 9, 1)
    assert (done["location"], done["archived"], done["kept_space"]) == (place, asked + 1, True)
    assert f"{asked + 1} requests in all" in busy.ok(*now).out
    assert _told(busy) == before
    assert busy.ok("audit", "replay", "--request-id", request_id, "--json").document == replayed
    assert '"action": "archive"' in busy.ok("audit", "show", "--json").out
    late = {"request_id": request_id, "truth": 5.0}
    for counts in ({"accepted": 1}, {"duplicate": 1}):
        assert busy.post("/feedback", late)[0]["counts"] == counts
    # What has come since goes to another store.
    in_gcs = f"gs://{gcs.bucket()}/archives"
    for _ in range(2):
        busy.ask()
    wait_until(lambda: _recorded(busy, asked + 4))
    before = _told(busy)
    more = busy.ok("journal", "archive", "--older-than", "0", "--to", in_gcs, "--json").document
    assert (more["location"], more["parts"], more["requests"], more["left"]) == (in_gcs, 1, 2, 0)
    kept = busy.folder / ".mlops/journal/wine.db-archive"
    assert len(list(kept.iterdir())) == 5
    shutil.rmtree(kept)
    assert _told(busy) == before
    assert busy.ok("report", "--json").document["arms"][0]["quality"]["n"] == 11
    assert busy.run("journal", "archive", "--to", "ftp://x/y").code == 3


def _recorded(busy: Shop, requests: int) -> bool:
    """Whether so many requests are in the journal, each with the answer of the shadow."""
    document = busy.ok("report", "--json").document
    both = document["arms"][0], document["shadows"][0]
    return all(each["requests"] == requests for each in both)


def _told(busy: Shop) -> dict[str, object]:
    """What is read of the whole journal, but for the time of asking."""
    document = busy.ok("report", "--json").document
    busy.ok("journal", "export", "--out", "all.csv")
    told = {"requests": document["arms"][0]["requests"]}
    told |= {key: document[key] for key in ("arms", "verdict", "shadows", "last_ms")}
    status = busy.ok("status", "--json").document["deployments"][0]["shadows"]
    return {**told, "status": status, "csv": (busy.folder / "all.csv").read_bytes()}


def test_pruning(busy: Shop, minio: Minio, gcs: Gcs) -> None:
    """After the others, as it cannot be undone; of what is archived too."""
    busy = replace(busy, environ=minio.environ | gcs.environ)
    unsaid = busy.run("journal", "prune", "--json")
    assert (unsaid.code, unsaid.error["code"]) == (2, "usage")
    young = busy.ok("journal", "prune", "--older-than", "1", "--json").document
    assert young["requests"] == 0
    old = ("journal", "prune", "--older-than", "0.0000001")
    dry = busy.ok(*old, "--dry-run", "--json").document
    assert (dry["requests"], dry["dry_run"], dry["name"]) == (35, True, "wine")
    # 0 is every one, as with `archive`.
    every = busy.ok("journal", "prune", "--older-than", "0", "--dry-run", "--json").document
    assert every["requests"] == 35
    assert "35 requests" in busy.ok(*old, "--dry-run").out
    before = busy.ok("report", "--json").document["arms"]
    done = busy.ok(*old, "--json").document
    assert (done["requests"], done["kept_space"]) == (35, True)
    assert busy.ok("report", "--json").document["arms"] == before
    busy.ok("stop")
    kept = replace(busy, environ={**busy.environ, "MLOPS_JOURNAL_RETENTION_DAYS": "1"})
    assert kept.ok("journal", "prune", "--json").document["requests"] == 0


@pytest.mark.usefixtures("eager_consumers")
def test_a_journal_that_is_too_large_is_told(busy: Shop) -> None:
    journal = SqlJournal(journal_url(f"sqlite:///{busy.folder / '.mlops/journal/wine.db'}", "wine"))
    rows = [decision(n, features=Records([{"note": "x" * 10_000}])) for n in range(200)]
    journal.append(rows, [])
    journal.close()
    strict = replace(busy, environ={"MLOPS_JOURNAL_MAX_MB": "1"})
    hint = "`mlops journal prune wine --older-than DAYS`"
    (note,) = [each for each in strict.ok("report", "--json").document["notes"] if hint in each]
    assert "more than `[journal] max_mb`, 1" in note
    assert hint not in " ".join(busy.ok("report", "--json").document["notes"])
    strict.ok("stop")
    strict.ok("deploy", "--model", "modelA", "--shadow", "modelB")

    # The watch is in a process beside the server, of a lower priority; others there warn, too.
    wait_until(lambda: "journal takes" in strict.ok("status").out)
    wait_until(lambda: "more than `[journal] max_mb`" in strict.ok("logs").out)


def test_a_reason_that_is_not_utf8(busy: Shop) -> None:
    request_id, _ = busy.ask()
    busy.post("/feedback", {"request_id": request_id, "truth": 6.0})
    # As the system hands over what a terminal in Latin-1 sends.
    said = busy.run("journal", "void", "--request-id", request_id, "--reason", "caf\udce9")
    assert said.code == 2
    assert r"`caf\xe9` is not UTF-8" in said.err
