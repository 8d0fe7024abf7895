from __future__ import annotations

import math

import pytest

from mlops.monitoring.verdict import ASYMPTOTIC, EXIT_CODES, Comparison, Method, decide


def compared(
    arm: str,
    lower: float,
    upper: float,
    *,
    waiting: str | None = None,
    remaining: int | None = None,
    p: float = 0.5,
) -> Comparison:
    estimate = (lower + upper) / 2 if math.isfinite(lower) else math.nan
    return Comparison(arm, "base", 500, estimate, lower, upper, p, 0.05, waiting, remaining)


BETTER, MUCH_BETTER = compared("b", 0.1, 0.3), compared("c", 0.2, 0.6)
WORSE, MUCH_WORSE = compared("b", -0.3, -0.1, p=0.001), compared("c", -0.6, -0.2, p=0.001)
OPEN = compared("c", -0.1, 0.2, remaining=1_200)
EARLY = compared("b", -math.inf, math.inf, waiting="needs 50 outcomes per arm, `b` has 3", p=1)


@pytest.mark.parametrize(
    ("comparisons", "mismatch", "decision", "winner", "says"),
    [
        ([BETTER], False, "promote", "b", "`b` is better than `base`"),
        ([BETTER, MUCH_BETTER], False, "promote", "c", "So are `b`"),
        ([BETTER, MUCH_WORSE], False, "promote", "b", "`b` is better"),
        ([BETTER, OPEN], False, "promote", "b", "`b` is better"),
        ([WORSE], False, "keep", "base", "`base` is better than every other arm"),
        ([WORSE, MUCH_WORSE], False, "keep", "base", "b - base"),
        ([WORSE, OPEN], False, "continue", None, "about 1,200 more"),
        ([OPEN], False, "continue", None, "contains 0"),
        ([compared("b", -0.1, 0.1)], False, "continue", None, "as good as equal"),
        ([EARLY], False, "continue", None, "Too early to tell: needs 50"),
        ([compared("b", 0.0, 0.3)], False, "continue", None, "contains 0"),
        ([compared("b", -0.3, 0.0)], False, "continue", None, "contains 0"),
        ([], False, "continue", None, "one arm"),
        ([BETTER], True, "invalid", None, "p = 0.001"),
        ([], True, "invalid", None, "did not follow the weights"),
    ],
)
def test_decisions(
    comparisons: list[Comparison], mismatch: bool, decision: str, winner: str | None, says: str
) -> None:
    found = decide(
        comparisons,
        method=Method(ASYMPTOTIC, "it is so"),
        mismatch=mismatch,
        mismatch_p=0.001,
        alpha=0.05,
        n=500,
    )
    assert (found.decision, found.winner) == (decision, winner)
    assert says in found.reason
    assert (found.alpha, found.n) == (0.05, 500)
    assert ("2103.06476" in found.method, found.because) == (True, "it is so")
    named = [c for c in comparisons if (c.arm, c.baseline) == (found.arm, found.baseline)]
    assert [c.estimate for c in named] == ([] if found.effect is None else [found.effect])
    if winner:
        assert found.effect is not None
        assert found.lower is not None
        assert found.upper is not None
        assert found.lower < found.effect < found.upper


def test_a_script_can_tell_them_apart() -> None:
    assert EXIT_CODES == {
        "promote": 0,
        "keep": 10,
        "continue": 11,
        "invalid": 12,
        "withheld": 13,
        "equal": 14,
        "not-worse": 15,
    }
