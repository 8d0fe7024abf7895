"""Inputs that the journal hides: deploy and doctor say what is lost, errors name the setting."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from tests.fixtures_deployment import Shop
from tests.waiting import wait_until

_SETTINGS = """
[journal]
hash = ["alcohol", "customer"]
drop = ["density"]
"""


def _count(shop: Shop) -> int:
    path = shop.folder / ".mlops/journal/wine.db"
    with closing(sqlite3.connect(path, timeout=60)) as connection:
        return int(connection.execute("select count(*) from decisions").fetchone()[0])


def test_what_is_hidden_is_said_and_each_error_names_its_setting(wine_shop: Shop) -> None:
    with (wine_shop.folder / "mlops.toml").open("a") as file:
        file.write(_SETTINGS)
    said = wine_shop.ok("deploy", "--ab", "modelA", "modelB", "--json").document
    (note,) = (each for each in said["warnings"] if "[journal] hash" in each)
    assert "take `alcohol`, `density`, and" in note
    for lost in ("explain", "audit replay", "evaluate MODEL", "monitor outliers"):
        assert f"`mlops {lost}`" in note
    checks = wine_shop.run("doctor", "--json").document["checks"]
    (check,) = (each for each in checks if each["name"] == "features wine")
    assert (check["state"], check["message"]) == ("warning", note)

    asked = [wine_shop.ask()[0] for _ in range(2)]
    wait_until(lambda: _count(wine_shop) == 2)
    hashed, dropped = (
        "`alcohol` as a hash only (`[journal] hash`)",
        "no `density` (`[journal] drop`",
    )
    explained = wine_shop.run("explain", "--request-id", asked[0], "--json")
    assert explained.code == 3
    message = explained.document["error"]["message"]
    assert hashed in message
    assert dropped in message
    assert "--data FILE" in explained.document["error"]["hint"]
    replayed = wine_shop.run("audit", "replay", "--request-id", asked[0], "--json").document
    assert hashed in replayed["answer"]["reason"]
    assert dropped in replayed["answer"]["reason"]
    # The models were trained before anything was hidden, so that their detectors need it.
    outliers = wine_shop.run("monitor", "outliers", "--json")
    assert outliers.code == 3
    message = outliers.document["error"]["message"]
    assert "`alcohol` (`[journal] hash`), `density` (`[journal] drop`)" in message
    assert "Train the models again" in outliers.document["error"]["hint"]
    for each in asked:
        wine_shop.ok("feedback", "--request-id", each, "--truth", "6")
    evaluated = wine_shop.run("evaluate", "wine/1", "--json")
    assert evaluated.code == 3
    assert hashed in evaluated.document["error"]["message"]
    assert dropped in evaluated.document["error"]["message"]
