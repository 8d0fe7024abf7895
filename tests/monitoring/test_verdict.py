from __future__ import annotations

import math
from dataclasses import replace

import pytest

from mlops.monitoring.arm_lines import ArmLines, arm_lines
from mlops.monitoring.methods import ASYMPTOTIC
from mlops.monitoring.verdict import EXIT_CODES, Comparison, Method, decide, leading


def compared(
    arm: str,
    lower: float,
    upper: float,
    *,
    waiting: str | None = None,
    remaining: int | None = None,
    p: float = 0.5,
    span: tuple[int, int | None] | None = None,
) -> Comparison:
    estimate = (lower + upper) / 2 if math.isfinite(lower) else math.nan
    return Comparison(
        arm, "base", 500, estimate, lower, upper, p, 0.05, waiting, remaining, remaining_range=span
    )


BETTER, MUCH_BETTER = compared("b", 0.1, 0.3), compared("c", 0.2, 0.6)
WORSE, MUCH_WORSE = compared("b", -0.3, -0.1, p=0.001), compared("c", -0.6, -0.2, p=0.001)
OPEN = compared("c", -0.1, 0.2, remaining=1_200)
EARLY = compared("b", -math.inf, math.inf, waiting="needs 50 outcomes per arm, `b` has 3", p=1)
# An arm that was added later, and one without an estimate in an interval that is the range.
NEW = compared("d", -math.inf, math.inf, waiting="needs 50 outcomes per arm, `d` has 3", p=1)
UNSEEN = replace(compared("e", -1.0, 1.0), estimate=math.nan)


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
        ([WORSE, NEW], False, "continue", None, "for `d`: needs 50 outcomes per arm, `d` has 3. W"),
        ([WORSE, UNSEEN], False, "continue", None, "for `e`: nothing is known yet. Worse than"),
        ([OPEN, NEW], False, "continue", None, "contains 0. If the estimate is right, about 1,20"),
        ([NEW, OPEN], False, "continue", None, "Too early to tell for `d`."),
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


FIVE = (
    compared("stub", -0.42, 0.06, remaining=900, p=0.1, span=(788, 3_380)),
    compared("big", -0.23, 0.13, remaining=20_000, span=(700, None)),
    compared("tuned", -0.10, 0.11, remaining=12_345, p=1, span=(780, None)),
    compared("old", -0.4, -0.2),
)


def test_of_several_arms_the_leading_one_is_spoken_of() -> None:
    found = decide(
        FIVE, method=Method(ASYMPTOTIC, "it is so"), mismatch=False, mismatch_p=1.0, alpha=0.05,
        n=2_000, units="requests",
    )  # fmt: skip
    assert (found.decision, found.arm, found.remaining) == ("continue", "tuned", 12_345)
    assert found.reason == (
        "Not decided: `tuned` leads, and tuned - base = +0.005 reward [-0.1, +0.11] contains 0. "
        "If the estimate is right, about 12,000 more requests will decide; it takes at least 780, "
        "possibly far more. Worse than `base`: `old`. Behind so far: `stub`."
    )
    behind = decide(
        FIVE[:2], method=Method(ASYMPTOTIC, "it is so"), mismatch=False, mismatch_p=1.0, alpha=0.05,
        n=2_000,
    )  # fmt: skip
    assert behind.reason.startswith(
        "Not decided: no arm is ahead of `base`. The nearest is `big`: big - base = -0.05 reward"
    )


def test_each_of_several_arms_has_a_line_the_leading_one_first() -> None:
    assert arm_lines(FIVE, "requests").lines == (
        "`tuned`: +0.005 [-0.1, +0.11], about 12,000 more (at least 780)",
        "`big`: -0.05 [-0.23, +0.13], about 20,000 more (at least 700)",
        "`stub`: -0.18 [-0.42, +0.06] behind so far, about 900 more (788 to 3,380)",
        "`old`: -0.3 [-0.4, -0.2] worse",
    )
    ahead = compared("new", -0.01, 0.3, remaining=90, span=(40, 800))
    assert arm_lines((ahead, OPEN), "requests").lines[0] == (
        "`new`: +0.145 [-0.01, +0.3] ahead so far, about 90 more (40 to 800)"
    )
    assert arm_lines((EARLY, MUCH_BETTER), "requests").lines == (
        "`c`: +0.4 [+0.2, +0.6] better",
        "`b`: too early to tell, needs 50 outcomes per arm, `b` has 3",
    )
    assert arm_lines([OPEN], "requests") == ArmLines()


def test_the_lines_of_a_withheld_verdict_call_no_arm_better() -> None:
    said = arm_lines((BETTER, MUCH_WORSE, OPEN), "requests", withheld=True).lines
    assert said == (
        "`b`: +0.2 [+0.1, +0.3] decided, withheld",
        "`c`: +0.05 [-0.1, +0.2], about 1,200 more",
        "`c`: -0.4 [-0.6, -0.2] decided, withheld",
    )


def test_a_new_arm_leads_nothing_and_hides_nothing() -> None:
    early = replace(NEW, estimate=0.9)
    assert leading((early, OPEN)) is OPEN
    found = decide(
        (early, OPEN), method=Method(ASYMPTOTIC, "it is so"), mismatch=False, mismatch_p=1.0,
        alpha=0.05, n=500,
    )  # fmt: skip
    assert (found.arm, found.remaining) == ("c", 1_200)


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
