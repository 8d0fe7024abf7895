"""A full disk stops feedback and nothing else, and is over as soon as there is space."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

import pytest

from tests.faults.benchmarks import judged
from tests.fixtures_deployment import Shop
from tests.requirements import require

# Whoever is not root may mount in a namespace of their own, where the system allows it.
_WAYS: tuple[tuple[str, ...], ...] = ((), ("unshare", "--map-root-user", "--mount"))


@pytest.fixture(scope="module")
def mounting(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """What a command that mounts a tmpfs must be run under."""
    folder = tmp_path_factory.mktemp("tmpfs")
    way = next((way for way in _WAYS if _can_mount(way, folder)), None)
    require("tmpfs", way is not None, "no small disk can be mounted here")
    assert way is not None
    return way


def _can_mount(way: tuple[str, ...], folder: Path) -> bool:
    script = 'mount -t tmpfs -o size=4k probe "$0" && umount "$0"'
    with contextlib.suppress(OSError):
        command = [*way, "sh", "-c", script, str(folder)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    return False


def test_predictions_go_on_and_nothing_is_lost(wine_shop: Shop, mounting: tuple[str, ...]) -> None:
    words = ["--disk-full", "--seconds", "1.5", "--project", str(wine_shop.folder)]
    figures = judged("durability.py", *words, under=mounting)
    assert figures["predictions meanwhile"] > 50
    assert figures["feedback acknowledged"] > 100
    assert figures["lost"] == figures["uninvited"] == figures["misfolded"] == 0
