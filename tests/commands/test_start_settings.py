"""Settings that a server reads when it starts: a deploy that cannot change them says so."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import replace

from mlops.deployment.start_settings import changed_since_start
from mlops.settings import Settings
from tests.fixtures_deployment import Shop

_HOST = "wine.example.com"
_SETTINGS = """
[deploy]
name = "wine"

[journal]
url = "env:WINE_JOURNAL"
hash = ["customer"]

[watch]
webhook = "env:WINE_HOOK"

[log.sinks.copy]
kind = "parquet"
to = "copies"
"""


def status_of(shop: Shop) -> int:
    """Ask the server under another host name; a refusal says what to do."""
    request = urllib.request.Request(f"{shop.state.url}/ready", headers={"host": _HOST})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        text, code = error.read().decode(), error.code
    assert "`mlops stop` and `mlops start`" in text
    return code


def test_a_setting_that_only_a_start_reads_is_named(wine_shop: Shop) -> None:
    shop = Shop(
        wine_shop.folder,
        environ={
            "WINE_JOURNAL": f"sqlite:///{wine_shop.folder}/elsewhere.db",
            "WINE_HOOK": "http://127.0.0.1:9/hook",
        },
    )
    file = shop.folder / "mlops.toml"
    file.write_text(_SETTINGS)
    shop.ok("deploy", "--model", "modelA", "--port", "0", "--workers", "1")
    before = shop.ok("deploy", "--json")
    assert before.document["change"] == "nothing"
    assert before.document["warnings"] == []
    assert not named_by_doctor(shop)
    others = other_settings(shop.settings)
    assert changed_since_start(others, "wine") == (
        "[deploy] hosts", "[report] alpha", "[journal] features", "[watch]", "[log.sinks]",
    )  # fmt: skip
    # What a server of an earlier version does not say is no difference.
    whole = shop.where.state.read_text()
    state = json.loads(whole)
    for field in ("hosts", "alpha", "watch", "sinks", "journal_max_mb"):
        del state["launch"][field]
    shop.where.state.write_text(json.dumps(state))
    assert changed_since_start(others, "wine") == ("[journal] features",)
    shop.where.state.write_text(whole)

    assert status_of(shop) == 403
    file.write_text(_SETTINGS.replace('name = "wine"', f'name = "wine"\nhosts = ["{_HOST}"]'))
    said = shop.ok("deploy")
    assert "nothing to change" in said.err
    words = " ".join(said.err.split())
    assert "started with other values of `[deploy] hosts`" in words
    assert "`mlops stop wine`, then `mlops start wine`" in words
    (warning,) = shop.ok("deploy", "--json").document["warnings"]
    assert "`[deploy] hosts`" in warning
    assert warning in shop.ok("deploy", "--dry-run", "--json").document["plan"]["notes"]
    assert "`[deploy] hosts`" in named_by_doctor(shop)

    shop.ok("stop")
    shop.ok("start")
    assert status_of(shop) == 200
    assert shop.ok("deploy", "--json").document["warnings"] == []


def named_by_doctor(shop: Shop) -> str:
    """Return what `mlops doctor` says about the server."""
    checks = shop.run("doctor", "--json").document["checks"]
    return "".join(check["message"] for check in checks if check["name"] == "server wine")


def other_settings(settings: Settings) -> Settings:
    """Change one setting of each kind."""
    return replace(
        settings,
        deploy=replace(settings.deploy, hosts=(_HOST,)),
        report=replace(settings.report, alpha=0.01),
        journal=replace(settings.journal, features=("alcohol",)),
        watch=replace(settings.watch, drift=False),
        log=replace(settings.log, sinks=()),
    )
