"""How-to guides whose fenced blocks are run."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.docs.generated import ROOT
from tests.docs.pages import Reader, blocks
from tests.fixtures_deployment import open_shop
from tests.fixtures_training import TrainedWine
from tests.requirements import require


def test_feedback_by_order_numbers(trained_wine: TrainedWine, tmp_path: Path) -> None:
    require("sed", shutil.which("sed"), "there is no sed")
    page = ROOT / "docs" / "feedback.md"
    assert [block.title for block in blocks(page) if block.title] == ["orders.py", "orders.csv"]
    reader = Reader(open_shop(trained_wine, tmp_path / "wine").folder, tmp_path)
    try:
        reader.follow(page)
    finally:
        reader.close()
