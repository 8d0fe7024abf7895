"""The small plot of intervals in the terminal."""

from __future__ import annotations

import pytest

from mlops.commands.forest_plot import forest, newest
from mlops.monitoring.comparing import Look


def test_long_names_fit_and_keep_their_ends() -> None:
    names = [f"wine-quality-by-gradient-boosting-trees-v{number}" for number in (1, 2, 3)]
    looks = {name: [Look(900, 0, -0.123, -0.234, -0.012)] for name in names}
    drawn = [line.plain for line in newest(looks, 80)]
    assert [len(line) <= 80 for line in drawn] == [True] * 3
    assert [line.strip().startswith("wine-") for line in drawn] == [True] * 3
    assert [f"-v{number}  " in line for number, line in enumerate(drawn, 1)] == [True] * 3


@pytest.mark.parametrize("width", [40, 80, 200])
def test_an_interval_of_no_width_at_0_is_a_point(width: int) -> None:
    look = Look(900, 0, 0.0, 0.0, 0.0)
    (alone,) = forest([look], width)
    (first, _) = newest({"b": [look], "c": [look]}, width)
    assert "●" in alone.plain
    assert "●" in first.plain
