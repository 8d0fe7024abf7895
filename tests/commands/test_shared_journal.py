"""Two servers of a deployment, each in a folder of its own, and the journal that they share."""

from __future__ import annotations

import json
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlops.journal.sql import SqlJournal
from mlops.spec.request_id import fingerprint
from tests.fixtures_deployment import Shop, open_shop
from tests.fixtures_training import TrainedWine

_AB = ("deploy", "--ab", "modelA", "modelB")


@pytest.fixture
def both(trained_wine: TrainedWine, tmp_path: Path) -> Iterator[tuple[Shop, Shop]]:
    """Two projects with one journal; nothing is deployed."""
    shops = []
    for name in ("one", "two"):
        opened = open_shop(trained_wine, tmp_path / name / "wine")
        opened.environ["MLOPS_JOURNAL_URL"] = f"sqlite:///{tmp_path / 'shared.db'}"
        shops.append(opened)
    yield shops[0], shops[1]
    for each in shops:
        each.close()


def fates(shop: Shop, request_id: str) -> int:
    """Send feedback to one of them; return the status of the answer."""
    try:
        shop.post("/feedback", {"request_id": request_id, "truth": 6.0})
    except urllib.error.HTTPError as error:
        return error.code
    return 200


def warnings(shop: Shop) -> list[str]:
    (found,) = shop.ok("status", "--json").document["deployments"]
    told: list[str] = found["warnings"]
    return told


def revisions(shop: Shop) -> list[Any]:
    return [entry.state for entry in shop.ledger.history()]


def test_servers_that_share_a_journal_share_the_key(both: tuple[Shop, Shop]) -> None:
    one, two = both
    one.ok(*_AB)
    request_id, _ = one.ask()
    refused = two.run(*_AB, "--json")
    assert (refused.code, refused.error["code"]) == (7, "conflict")
    assert "is not there" in refused.error["message"]
    assert ".mlops/run/wine.key` of the other server" in refused.error["hint"]
    assert "--new-key" in refused.error["hint"]
    # Neither a key nor a revision is made.
    assert not two.where.key.exists()
    assert revisions(two) == []

    two.where.folder.mkdir(parents=True, exist_ok=True)
    two.where.key.write_bytes(one.where.key.read_bytes())
    two.ok(*_AB)
    assert fates(two, request_id) == 200
    assert warnings(one) == warnings(two) == []

    # The first goes on while the second starts: that is no crash.
    served = one.ok("history", "--json").document["served"]["1"]
    assert [(span["ended"], bool(span["elsewhere"])) for span in served] == [
        ("", False), ("unknown", True),
    ]  # fmt: skip
    said = one.ok("history").out
    assert "a crash" not in said
    assert "no recorded end at" in said
    two.ok("stop")
    assert one.ok("history", "--json").document["served"]["1"][1]["ended"] == "stopped"
    assert one.run("history").out.splitlines()[1].split()[1] == "live"


def test_a_key_that_was_replaced(both: tuple[Shop, Shop]) -> None:
    one, two = both
    one.ok(*_AB)
    request_id, _ = one.ask()
    key = one.where.key.read_bytes()
    # While the server runs it takes effect with a restart, and everybody says so.
    one.where.key.write_bytes(bytes(32))
    (warning,) = warnings(one)
    assert "was replaced" in warning
    assert "has read another key" in one.ok(*_AB).err
    assert any("mlops stop wine" in text for text in one.ok(*_AB, "--json").document["warnings"])
    assert fates(one, request_id) == 200

    one.ok("stop")
    for words in (("start",), _AB):
        refused = one.run(*words, "--json")
        assert refused.code == 7, refused
        assert "is not the key" in refused.error["message"]
    # The journal of an older version has no fingerprint; it gets that of the next start.
    journal = SqlJournal(one.environ["MLOPS_JOURNAL_URL"])
    assert journal.remembered("request ids", ["key/wine"]) == {"key/wine": fingerprint(key)}
    assert key.hex() not in json.dumps(journal.remembered("request ids", ["key/wine"]))
    # On purpose.
    one.ok(*_AB, "--new-key")
    assert warnings(one) == []
    assert journal.remembered("request ids", ["key/wine"]) == {"key/wine": fingerprint(bytes(32))}
    journal.close()
    assert fates(one, request_id) == 400
    one.ok("stop")
    one.ok("start")
    # The key before is another now.
    two.where.folder.mkdir(parents=True, exist_ok=True)
    two.where.key.write_bytes(key)
    assert two.run(*_AB).code == 7


def test_a_new_key_for_one_that_has_become_known(both: tuple[Shop, Shop]) -> None:
    one, two = both
    one.ok(*_AB)
    request_id, _ = one.ask()
    key = one.where.key.read_bytes()
    # A server that runs would not read it; pods have it from a Secret.
    refused = one.run(*_AB, "--new-key", "--json")
    assert (refused.code, "mlops stop wine" in refused.error["hint"]) == (7, True)
    refused = one.run(*_AB, "--target", "kubernetes", "--new-key", "--json")
    assert (refused.code, "MLOPS_DEPLOY_NEW_KEY" in refused.error["hint"]) == (2, True)

    one.where.key.unlink()
    (warning,) = warnings(one)
    assert "is gone" in warning
    assert "back from a backup" in one.ok(*_AB).err
    one.where.key.write_bytes(key)

    one.ok("stop")
    said = one.ok(*_AB, "--new-key", "--dry-run")
    assert "A new key is made" in said.out + said.err
    assert one.where.key.read_bytes() == key
    one.ok(*_AB, "--new-key")
    new = one.where.key.read_bytes()
    assert new != key
    (aside,) = one.where.folder.glob("wine.key.until-*")
    assert aside.read_bytes() == key
    assert fates(one, request_id) == 400
    assert warnings(one) == []

    # A file that differs was put there to continue with.
    one.ok("stop")
    one.where.key.write_bytes(key)
    said = one.ok(*_AB, "--new-key")
    assert "is kept" in said.out + said.err
    assert one.where.key.read_bytes() == key
    assert fates(one, request_id) == 200

    # Deployments of other names have keys of their own.
    two.ok(*_AB, "--name", "other")
    assert one.where.key.read_bytes() not in [
        path.read_bytes() for path in two.where.folder.glob("*.key")
    ]
