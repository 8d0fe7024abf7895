"""A full disk stops feedback and nothing else, and is over as soon as there is space."""

from __future__ import annotations

import pytest

from tests.faults.benchmarks import judged
from tests.faults.mounts import way_to_mount
from tests.fixtures_deployment import Shop
from tests.requirements import require

_TMPFS = 'mount -t tmpfs -o size=4k probe "$0"'


@pytest.fixture(scope="module")
def mounting(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """What a command that mounts a tmpfs must be run under."""
    folder = tmp_path_factory.mktemp("tmpfs")
    way = way_to_mount(folder, _TMPFS)
    require("tmpfs", way is not None, "no small disk can be mounted here")
    assert way is not None
    return way


def test_predictions_go_on_and_nothing_is_lost(wine_shop: Shop, mounting: tuple[str, ...]) -> None:
    words = ["--disk-full", "--seconds", "1.5", "--project", str(wine_shop.folder)]
    figures = judged("durability.py", *words, under=mounting)
    assert figures["predictions meanwhile"] > 50
    assert figures["feedback acknowledged"] > 100
    assert figures["lost"] == figures["uninvited"] == figures["misfolded"] == 0
