"""Which arm the refusal to promote offers."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from mlops.workflows.promotion import _refusal


@pytest.mark.parametrize(
    ("estimates", "arm"),
    [
        ({"b": 0.2}, "b"),
        ({"b": 0.1, "c": 0.3}, "c"),
        ({"b": -0.4, "c": 0.1}, "c"),
        ({"b": -0.4}, "NAME"),
        ({"b": math.nan}, "NAME"),
        ({}, "NAME"),
    ],
)
def test_the_better_arm_is_offered(estimates: dict[str, float], arm: str) -> None:
    report: Any = SimpleNamespace(
        name="wine",
        arms=[SimpleNamespace(name=name) for name in ("a", *estimates)],
        comparisons=[SimpleNamespace(arm=k, estimate=v) for k, v in estimates.items()],
        verdict=SimpleNamespace(reason="too early", decision="continue", hints=()),
    )
    assert f"`mlops promote wine --arm {arm} --force" in str(_refusal(report, "").hint)
    # Whoever named one meant it.
    assert "--arm a --force" in str(_refusal(report, "a").hint)
