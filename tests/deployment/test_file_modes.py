"""Files of the project's state are closed to other users by themselves, beside their folder."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from mlops.registry.cache import Cache
from tests.fixtures_deployment import Shop
from tests.waiting import wait_until


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_logs_launches_and_exports_are_of_mode_0600(shop: Shop, tmp_path: Path) -> None:
    where = shop.where
    assert {mode(path) for path in (where.log, where.launch, where.state)} == {0o600}
    shop.ask()
    made = tmp_path / "table.csv"
    wait_until(lambda: shop.run("journal", "export", "--out", str(made)).code == 0)
    made.unlink()
    shop.ok("journal", "export", "--out", str(made))
    assert mode(made) == 0o600
    # One that is there is as open as its owner made it.
    made.chmod(0o644)
    shop.ok("journal", "export", "--out", str(made))
    assert mode(made) == 0o644


@pytest.mark.parametrize("before", [None, 0o755])
def test_no_other_user_may_enter_the_cache(tmp_path: Path, before: int | None) -> None:
    folder = tmp_path / "cache"
    if before is not None:
        folder.mkdir(mode=before)
    with Cache(folder, 1_000).part("model"):
        assert mode(folder) == 0o700
