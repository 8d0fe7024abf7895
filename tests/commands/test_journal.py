"""`mlops journal prune`, and `report` and `status` where there are shadows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pandas as pd
import pytest

from mlops.journal.sql import SqlJournal
from mlops.journal.url import journal_url
from mlops.protocols.base import Records
from tests.fixtures_deployment import Shop, open_shop, wait_until
from tests.fixtures_training import TrainedWine
from tests.journal.rows import decision


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
    wait_until(
        lambda: busy.ok("report", "--json").document["shadows"][0]["requests"] == 30, timeout_s=10
    )
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


def test_pruning(busy: Shop) -> None:
    """After the others, as it cannot be undone."""
    unsaid = busy.run("journal", "prune", "--json")
    assert (unsaid.code, unsaid.error["code"]) == (2, "usage")
    assert busy.run("journal", "prune", "--older-than", "0").code == 2
    young = busy.ok("journal", "prune", "--older-than", "1", "--json").document
    assert young["requests"] == 0
    old = ("journal", "prune", "--older-than", "0.0000001")
    dry = busy.ok(*old, "--dry-run", "--json").document
    assert (dry["requests"], dry["dry_run"], dry["name"]) == (31, True, "wine")
    assert "31 requests" in busy.ok(*old, "--dry-run").out
    before = busy.ok("report", "--json").document["arms"]
    done = busy.ok(*old, "--json").document
    assert (done["requests"], done["kept_space"]) == (31, True)
    assert busy.ok("report", "--json").document["arms"] == before
    busy.ok("stop")
    kept = replace(busy, environ={"MLOPS_JOURNAL_RETENTION_DAYS": "1"})
    assert kept.ok("journal", "prune", "--json").document["requests"] == 0


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

    # The watch is in a process beside the server, of a lower priority.
    def told() -> bool:
        return bool(strict.ok("status", "--json").document["deployments"][0]["warnings"])

    wait_until(told, 120)
    assert "journal takes" in strict.ok("status").out
    assert "more than `[journal] max_mb`" in strict.ok("logs").out


def test_a_reason_that_is_not_utf8(busy: Shop) -> None:
    request_id, _ = busy.ask()
    busy.post("/feedback", {"request_id": request_id, "truth": 6.0})
    # As the system hands over what a terminal in Latin-1 sends.
    said = busy.run("journal", "void", "--request-id", request_id, "--reason", "caf\udce9")
    assert said.code == 2
    assert r"`caf\xe9` is not UTF-8" in said.err
