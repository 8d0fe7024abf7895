"""Models that were trained elsewhere are loaded once somebody said so, and that is remembered."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.fixtures_deployment import Shop

LOADS = ("models", "compare", "--data", "rows.csv", "--target", "quality")


@pytest.fixture
def stranger(wine_shop: Shop, ready_folder: Path) -> Shop:
    """Return a project that trained nothing and has rows to predict."""
    rows = wine_shop.folder / "wine.csv"
    data = rows if rows.is_file() else next(wine_shop.folder.rglob("*.csv"))
    folder = ready_folder / "stranger"
    folder.mkdir()
    shutil.move(ready_folder / ".mlops" / "mlflow.db", folder / "mlflow.db")
    (folder / ".mlops").mkdir()
    shutil.move(folder / "mlflow.db", folder / ".mlops" / "mlflow.db")
    (folder / "mlops.toml").write_text("")
    lines = data.read_text().splitlines(keepends=True)[:40]
    for project in (folder, wine_shop.folder):
        (project / "rows.csv").write_text("".join(lines))
    return Shop(folder, "stranger")


def pushed(shop: Shop, ref: str, place: Path, *words: str) -> str:
    shop.ok("models", "push", ref, str(place), *words)
    return str(place)


def test_a_foreign_model_is_loaded_once_somebody_said_so(
    wine_shop: Shop, stranger: Shop, tmp_path: Path
) -> None:
    place = pushed(wine_shop, "modelA", tmp_path / "pushed")
    # It comes back to the project that trained it.
    wine_shop.ok(*LOADS, place, place)
    refused = stranger.run(*LOADS, place, place, "--json")
    assert refused.code == 4
    assert "was not trained in this project" in refused.error["message"]
    assert "`--trust`" in refused.error["hint"]
    deploy = ("deploy", "--model", place, "--name", "taken", "--json")
    assert stranger.run(*deploy).error["exit_code"] == 4
    assert stranger.run("status", "taken").code == 5
    stranger.ok(*LOADS, place, place, "--trust")
    stranger.ok(*LOADS, place, place)
    # Other files at the same place are another model.
    pushed(wine_shop, "modelB", tmp_path / "pushed", "--force")
    assert stranger.run(*LOADS, place, place).code == 4
    allowed = Shop(stranger.folder, environ={"MLOPS_ARTIFACTS_TRUST": "true"})
    allowed.ok(*LOADS, place, place)
    memory = (stranger.folder / ".mlops/trusted.jsonl").read_text().splitlines()
    assert [list(json.loads(line)) for line in memory] == [["trusted"], ["trusted"]]


def test_a_registered_version_whose_files_were_exchanged_is_refused(
    wine_shop: Shop, stranger: Shop, tmp_path: Path
) -> None:
    from mlops.registry import open_registry

    place = pushed(wine_shop, "modelA", tmp_path / "pushed")
    client = open_registry(stranger.settings)
    client.create_registered_model("bought")
    client.create_model_version("bought", place)
    assert stranger.run(*LOADS, "bought/1", "bought/1").code == 4
    stranger.ok(*LOADS, "bought/1", "bought/1", "--trust")
    pushed(wine_shop, "modelB", tmp_path / "pushed", "--force")
    # What is in the cache is what was trusted.
    stranger.ok(*LOADS, "bought/1", "bought/1")
    stranger.ok("cache", "clear")
    refused = stranger.run(*LOADS, "bought/1", "bought/1", "--trust", "--json")
    assert refused.code == 7
    assert "it was deployed as" in refused.error["message"]
