"""Weights and models change under load without a wrong or a lost answer."""

from __future__ import annotations

from tests.faults.benchmarks import judged


def test_swaps_disturb_no_request() -> None:
    figures = judged(
        "swaps.py", "--swaps", "5", "--seconds", "5", "--rate", "30", "--quick", "10"
    )  # fmt: skip
    assert figures["faults"] == 0
    assert figures["requests"] > 100
    assert figures["units that kept the growing arm"] > 100
