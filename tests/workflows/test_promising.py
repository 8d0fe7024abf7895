"""What a promotion refuses, and which arm the refusal offers."""

from __future__ import annotations

import contextlib
import math
from types import SimpleNamespace
from typing import Any

import pytest

from mlops.errors import ConflictError
from mlops.workflows.promotion import _refusal, _require_about


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
    # One that was named was meant.
    assert "--arm a --force" in str(_refusal(report, "a").hint)


@pytest.mark.parametrize(
    ("live", "finished", "refused"), [(2, None, False), (3, None, True), (3, 3, False)]
)
def test_evidence_is_about_what_is_live(live: int, finished: int | None, refused: bool) -> None:
    over = SimpleNamespace(revision=finished) if finished else None
    report: Any = SimpleNamespace(name="wine", revisions=(1, 2), finished=over)
    entry: Any = SimpleNamespace(number=live)
    with (
        pytest.raises(ConflictError, match="Revision 3 of `wine` went live in the meantime")
        if refused
        else contextlib.nullcontext()
    ):
        _require_about(report, entry)
