"""Non-inferiority of several metrics, segments, and what was known before."""

import math

import numpy as np
import pytest
from scipy import integrate

from mlops.stats.adjusted import adjusted_rewards, history, ratio_rewards
from mlops.stats.difference import difference_sequence
from mlops.stats.guardrail import Guardrail, guardrail_power, may_ship
from mlops.stats.segments import e_value, standing_out
from tests.stats.tolerance import most

OK = Guardrail("latency", -0.5, 0.5, margin=1.0)
OPEN = Guardrail("errors", -2.0, 0.5, margin=1.0)
BAD = Guardrail("returns", -2.0, -0.1, margin=1.0)


@pytest.mark.parametrize(
    ("success", "rails", "expected"),
    [
        (True, [OK, OK], "passes"),
        (False, [OK], "open"),
        (True, [OK, OPEN], "open"),
        (True, [OK, BAD], "fails"),
        (False, [BAD], "fails"),
        (True, [], "passes"),
        (True, [Guardrail("slower, by less than matters", -0.9, -0.1, margin=1.0)], "passes"),
        (True, [Guardrail("unknown", -math.inf, math.inf, margin=1.0)], "open"),
    ],
)
def test_the_rule_over_all_metrics(success: bool, rails: list[Guardrail], expected: str) -> None:
    assert may_ship(success, rails) == expected


def test_power_is_divided_and_margins_are_positive() -> None:
    assert guardrail_power(0.8, 0) == pytest.approx(0.8)
    assert guardrail_power(0.9, 4) == pytest.approx(0.98)
    with pytest.raises(ValueError, match="margin of x"):
        Guardrail("x", 0, 1, margin=0).state()


@pytest.mark.parametrize("p", [0.9, 0.05, 1e-4])
def test_calibrator_is_its_integral(p: float) -> None:
    expected = integrate.quad(lambda a: a * p ** (a - 1), 0, 1)[0]

    assert float(e_value(p)) == pytest.approx(expected, rel=1e-6)
    assert float(e_value(1.0)) == pytest.approx(0.5)


def test_segments_without_effects_are_rarely_listed() -> None:
    runs = 400
    p = np.random.default_rng(0).random((runs, 20))

    assert sum(standing_out(row).any() for row in p) <= most(runs, 0.1)
    assert standing_out([1e-5] * 3 + [0.5] * 7).tolist() == [True] * 3 + [False] * 7


def test_adjustment_keeps_the_difference_and_takes_the_noise() -> None:
    rng = np.random.default_rng(1)
    n = 4000
    arms, past = rng.integers(0, 2, n), rng.normal(3.0, 1.0, n)
    rewards = 0.1 * arms + 2 * past + rng.normal(0, 0.5, n)

    plain, less = (
        difference_sequence(arms, values, 0.5, candidate=1, baseline=0)
        for values in (rewards, adjusted_rewards(rewards, past))
    )

    assert not plain.excludes()[-1]
    assert less.lower[-1] > 0
    assert not less.excludes(0.1)[-1]
    # The slope comes from the past, and R^2 is 16 / 17.
    ratio = (less.upper - less.lower)[-1] / (plain.upper - plain.lower)[-1]
    assert ratio == pytest.approx(math.sqrt(1 / 17), rel=0.25)


def test_adjustment_of_equal_arms_names_no_winner() -> None:
    runs, n = 100, 3000
    rng = np.random.default_rng(2)
    arms, past = (rng.random((runs, n)) < 0.2) * 1, rng.lognormal(size=(runs, n))
    rewards = past + rng.normal(size=(runs, n))

    found = difference_sequence(
        arms, adjusted_rewards(rewards, past), np.where(arms == 1, 0.2, 0.8),
        candidate=1, baseline=0,
    )  # fmt: skip

    assert found.excludes().any(axis=1).sum() <= most(runs, 0.05)


def test_adjustment_sees_only_the_past() -> None:
    rng = np.random.default_rng(3)
    rewards, past = rng.normal(size=90), rng.normal(size=90)

    np.testing.assert_array_equal(
        adjusted_rewards(rewards, past)[:50], adjusted_rewards(rewards[:50], past[:50])
    )
    np.testing.assert_array_equal(adjusted_rewards(rewards, np.ones(90)), rewards)


def test_history_is_the_mean_before() -> None:
    rng = np.random.default_rng(4)
    units, rewards = rng.integers(0, 9, 60), rng.normal(size=60)

    expected = [
        rewards[:i][units[:i] == unit].mean() if (units[:i] == unit).any() else 0.0
        for i, unit in enumerate(units)
    ]

    np.testing.assert_allclose(history(units, rewards), expected, atol=1e-12)


def test_a_ratio_is_estimated_and_equal_ones_name_no_winner() -> None:
    runs, n = 100, 4000
    rng = np.random.default_rng(5)
    arms = rng.integers(0, 2, (runs, n))
    orders = rng.poisson(2.0, (runs, n)) * 1.0
    # A heavy buyer spends more in all orders: numerator and denominator go together.
    spent = orders * rng.normal(5.0, 1.0, (runs, n))

    equal, better = (
        difference_sequence(
            arms, ratio_rewards(spent + lift * arms * orders, orders), 0.5, candidate=1, baseline=0
        )
        for lift in (0.0, 0.5)
    )

    assert equal.excludes().any(axis=1).sum() <= most(runs, 0.05)
    assert better.estimate[:, -1].mean() == pytest.approx(0.5, rel=0.1)
