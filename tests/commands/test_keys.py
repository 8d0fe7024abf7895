"""`mlops keys`, as somebody types it, with a server that runs."""

from __future__ import annotations

import time
import urllib.error
from typing import Any

import pytest

import mlops
from tests.commands.schemas import fits
from tests.explaining.over_http import check_explain
from tests.fixtures_deployment import Shop
from tests.warm_start import set_in_servers


def _status(shop: Shop, **headers: Any) -> int:
    try:
        shop.ask(**headers)
    except urllib.error.HTTPError as error:
        return error.code
    return 200


def _wait_for(shop: Shop, status: int, **headers: Any) -> None:
    deadline = time.monotonic() + 120
    while _status(shop, **headers) != status:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_key_from_its_making_to_its_end(wine_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = wine_shop
    set_in_servers(monkeypatch, {"mlops.serving.explaining._TIMEOUT_S": 150.0})
    assert shop.run("keys", "create", "web", "--scope", "predict").code == 5  # nothing is deployed
    shop.ok("deploy", "--ab", "modelA", "modelB")
    assert _status(shop) == 200
    assert "no API keys" in shop.ok("keys", "list").out

    made = shop.ok(
        "keys", "create", "web", "--deployment", "wine", "--scope", "predict,feedback",
        "--rate", "100/s", "--expires", "90d",
    )  # fmt: skip
    (secret,) = made.out.splitlines()
    assert secret.startswith("mlops_")
    assert made.err.splitlines()[0].startswith("warning: this is the first key")
    assert "every caller needs a key" in " ".join(made.err.split())
    assert secret not in made.err
    bearer = {"authorization": f"Bearer {secret}"}
    _wait_for(shop, 401)
    _wait_for(shop, 200, **bearer)
    assert shop.where.keys.stat().st_mode & 0o777 == 0o600
    assert not any(secret.encode() in file.read_bytes() for file in _files(shop))

    # The commands of this machine have a key of their own.
    (shop.folder / "row.json").write_text(_rows(shop))
    answer = shop.ok("predict", "--data", "row.json", "--json").document
    shop.ok("feedback", "--request-id", answer["request_id"], "--reward", "1")
    with mlops.connect(project=shop.folder) as client:
        assert client.predict(shop.state.request).values
    assert (
        "Authorization: Bearer $(cat"
        in shop.ok("deploy", "--ab", "modelA", "modelB", "--split", "60/40", "--json").document[
            "curl"
        ]
    )
    (shop.folder / "key").write_text(secret)
    elsewhere = ("--url", shop.state.url, "--token", "file:key")
    shop.ok("predict", "--data", "row.json", *elsewhere)
    refused = shop.run("predict", "--data", "row.json", "--arm", "modelA", *elsewhere, "--json")
    assert refused.error["code"] == "not_allowed"
    assert "force-arm" in refused.error["message"]
    assert shop.run("report", *elsewhere).code == 4

    document = shop.ok("keys", "list", "--json").document
    fits("keys", document)
    assert [key["name"] for key in document["keys"]] == ["owner", "web"]
    assert "digest" not in document["keys"][0]
    assert "web" in shop.ok("keys", "list").out

    scopes = ("--scope", "predict,feedback,score")
    (asks,) = shop.ok("keys", "create", "asks", *scopes).out.splitlines()
    _wait_for(shop, 200, authorization=f"Bearer {asks}")
    check_explain(shop, authorization=f"Bearer {asks}")
    shop.ok("keys", "revoke", "asks")

    again = shop.run("keys", "create", "web", "--scope", "read", "--json")
    assert again.error["code"] == "conflict"
    shop.ok("keys", "revoke", "web")
    _wait_for(shop, 401, **bearer)
    assert shop.run("keys", "revoke", "web").code == 5
    by_certificate = ("keys", "create", "web", "--scope", "read", "--subject", "DNS:web", "--json")
    fits("keys-create", shop.ok(*by_certificate).document)
    fits("keys", shop.ok("keys", "revoke", "web", "--json").document)
    assert shop.run("keys", "revoke", "ovner", "--json").error["hint"].endswith("`owner`?")
    assert "revoked" in shop.ok("keys", "list").out
    trail = shop.ok("audit", "show", "wine", "--action", "key", "--json").document
    told = [each for each in trail["entries"] if "API key web" in str(each)]
    assert len(told) == 4  # each made, and revoked
    assert secret not in str(trail)

    # A server that starts again asks for keys from its first request on.
    shop.ok("stop")
    shop.ok("start")
    assert _status(shop) == 401
    assert _status(shop, **bearer) == 401
    shop.ok("predict", "--data", "row.json")

    # Nor does it take a file that was lost for "no keys".
    shop.ok("stop")
    content = shop.where.keys.read_bytes()
    shop.where.keys.unlink()
    lost = shop.run("start", "--json")
    assert lost.code == 3
    assert "`wine` has `owner` by its audit trail" in lost.error["message"]
    shop.where.keys.write_bytes(content)
    shop.ok("start")
    assert _status(shop) == 401


def test_an_open_start_says_nothing_about_keys_that_are_made_later(wine_shop: Shop) -> None:
    shop = wine_shop
    deploy = ("deploy", "--ab", "modelA", "modelB")
    shop.ok(*deploy, "--insecure-no-auth")
    shop.ok("keys", "create", "web", "--deployment", "wine", "--scope", "predict")
    shop.where.keys.unlink()
    shop.ok("stop")
    # Before a revision is recorded, and in a dry run, too.
    newest = shop.ledger.standings()[0].number
    for words in (("start",), (*deploy, "--split", "60/40"), (*deploy, "--dry-run")):
        refused = shop.run(*words, "--json")
        assert refused.code == 3, words
        assert "is gone. `wine` has `owner`, `web`" in refused.error["message"]
        assert "--insecure-no-auth" in refused.error["hint"]
    assert shop.ledger.standings()[0].number == newest
    # Once a command line says that they are not needed, later starts need not say so.
    shop.ok(*deploy, "--insecure-no-auth")
    assert _status(shop) == 200
    shop.ok("stop")
    shop.ok("start")
    assert _status(shop) == 200


def _rows(shop: Shop) -> str:
    import json

    return json.dumps(shop.state.request)


def _files(shop: Shop) -> list[Any]:
    return [file for file in (shop.folder / ".mlops" / "run").iterdir() if file.is_file()]


def test_what_is_wrong_is_said(shop: Shop) -> None:
    for words, reason in (
        (("--scope", "predct"), "`predct` is not a scope"),
        (("--scope", ""), "needs a scope"),
        (("--scope", "read", "--rate", "fast"), "not a rate"),
        (("--scope", "read", "--expires", "soon"), "not a duration"),
        (("--scope", "read", "--subject", "shop"), "subject of a certificate"),
    ):
        said = shop.run("keys", "create", "web", *words, "--json")
        assert said.code == 3
        assert reason in said.error["message"]
    assert shop.run("keys", "create", "../web", "--scope", "read").code == 3
    assert shop.run("keys", "create", "web", "--scope", "read", "-d", "beer").code == 5
    assert not shop.where.keys.exists()
