"""What an interval shows when small differences are not worth having."""

import math

import numpy as np
import pytest

from mlops.stats.difference import difference_sequence
from mlops.stats.worth import conclude
from tests.stats.tolerance import fewest, most


@pytest.mark.parametrize(
    ("lower", "upper", "worth", "expected"),
    [
        (0.001, 0.002, 0.01, "better"),
        (-0.03, -0.01, 0.01, "worse"),
        (-0.009, 0.009, 0.01, "equal"),
        (-0.009, 0.011, 0.01, "not worse"),
        (-0.011, 0.009, 0.01, "open"),
        (-0.01, 0.01, 0.01, "open"),
        (-0.001, 0.001, None, "open"),
        (-math.inf, math.inf, 1.0, "open"),
    ],
)
def test_conclusions(lower: float, upper: float, worth: float | None, expected: str) -> None:
    assert conclude(lower, upper, worth) == expected


def test_a_margin_is_positive() -> None:
    with pytest.raises(ValueError, match="positive"):
        conclude(0, 1, 0.0)


def test_arms_a_margin_apart_are_rarely_called_equal_and_equal_ones_are() -> None:
    runs, n, worth = 200, 6000, 0.2
    rng = np.random.default_rng(0)
    arms = rng.integers(0, 2, (runs, n))
    noise = rng.normal(size=(runs, n))

    apart, equal = (
        difference_sequence(arms, noise + gap * arms, 0.5, candidate=1, baseline=0)
        for gap in (-worth, 0.0)
    )

    def called(found: object) -> int:
        lower, upper = found.lower, found.upper  # type: ignore[attr-defined]
        return int(((lower > -worth) & (upper < worth)).any(axis=1).sum())

    assert called(apart) <= most(runs, 0.025)
    assert called(equal) >= fewest(runs, 0.95)


def test_keep_without_dividing_alpha_errs_rarely() -> None:
    runs, n = 200, 4000
    rng = np.random.default_rng(1)
    arms = rng.integers(0, 3, (runs, n))
    # One candidate is far worse, the other is equal: "all are worse" is false.
    rewards = rng.normal(size=(runs, n)) - 1.0 * (arms == 2)

    uppers = [
        difference_sequence(
            arms, rewards, 1 / 3, candidate=k, baseline=0, shares=(1 / 3, 1 / 3)
        ).upper
        for k in (1, 2)
    ]

    assert (np.maximum(*uppers) < 0).any(axis=1).sum() <= most(runs, 0.05)
