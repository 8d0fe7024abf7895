"""What the journal acknowledged survives kill -9, each time, and is credited where it belongs."""

from __future__ import annotations

from tests.faults.benchmarks import judged
from tests.fixtures_deployment import Shop

_KILLS = 3


def test_kills_lose_double_and_misplace_nothing(wine_shop: Shop) -> None:
    words = ["--kills", str(_KILLS), "--seconds", "1", "--project", str(wine_shop.folder)]
    figures = judged("durability.py", *words)
    # The script has judged; this is that there was something to judge.
    assert figures["kills"] == _KILLS
    assert figures["feedback acknowledged"] > 100
    assert figures["reports held against a fold of what was acknowledged, after a kill"] == _KILLS
    assert figures["reports that differed from it"] == 0
    promises = ("lost", "doubled", "altered", "miscredited", "uninvited", "misfolded")
    assert [figures[name] for name in promises] == [0] * len(promises)
