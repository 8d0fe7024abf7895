"""What a server does not take from around it."""

from __future__ import annotations

import stat
from pathlib import Path

from tests.fixtures_deployment import Shop

_SHADOWS = ("uvicorn", "queue", "secrets", "select", "mlflow")


def test_a_folder_that_wants_in(wine_shop: Shop) -> None:
    """One deployment, since each costs seconds: shadowed libraries, modes, and client ids."""
    marker = wine_shop.folder / "executed"
    for name in _SHADOWS:
        (wine_shop.folder / f"{name}.py").write_text(f"open({str(marker)!r}, 'a').write(__name__)")
    config = wine_shop.folder / "mlops.toml"
    text = config.read_text()
    assert "[feedback]" in text
    config.write_text(text.replace("[feedback]", "[feedback]\nclient_ids = false"))
    wine_shop.ok("deploy", "--ab", "modelA", "modelB", "--shadow", "modelB")
    request_id, _ = wine_shop.ask()
    assert not marker.exists()
    assert _mode(wine_shop.folder / ".mlops") == 0o700
    assert _mode(wine_shop.folder / ".mlops/journal/wine.db") == 0o600
    order = {"client_id": "order-1001", "reward": 1}
    lines = wine_shop.folder / "outcomes.ndjson"
    lines.write_text('{"client_id": "order-1001", "reward": 1}\n')
    refused = wine_shop.run("feedback", "--data", str(lines))
    assert refused.code == 3
    assert "switched off; send the request id" in refused.err
    said, _ = wine_shop.post("/feedback", {"outcomes": [order, order]})
    assert said["counts"] == {"not_allowed": 2}
    wine_shop.ok("feedback", "--request-id", request_id, "--reward", "1")


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)
