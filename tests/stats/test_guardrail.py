"""Non-inferiority of several metrics, segments, and what was known before."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import integrate, stats

from mlops.stats.adjusted import adjusted_rewards, ratio_rewards
from mlops.stats.difference import difference_sequence
from mlops.stats.guardrail import Guardrail
from mlops.stats.segments import e_value, standing_out
from tests.stats.tolerance import most


@pytest.mark.parametrize(
    ("rail", "state"),
    [
        (Guardrail("latency", -0.5, 0.5, margin=1.0), "passes"),
        (Guardrail("errors", -2.0, 0.5, margin=1.0), "open"),
        (Guardrail("returns", -2.0, -0.1, margin=1.0), "fails"),
        (Guardrail("slower, by less than matters", -0.9, -0.1, margin=1.0), "passes"),
        (Guardrail("unknown", -math.inf, math.inf, margin=1.0), "open"),
    ],
)
def test_what_bounds_say_of_a_margin(rail: Guardrail, state: str) -> None:
    assert rail.state() == state


def test_margins_are_positive() -> None:
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


def orders_of(
    rng: np.random.Generator, arms: NDArray[np.int64], more: float = 0.0
) -> NDArray[np.float64]:
    """Orders of each user; those of arm 1 order more often."""
    return rng.poisson(2.0 * (1 + more * arms)).astype(np.float64)


def test_ratios_that_never_vary_are_met_exactly() -> None:
    rng = np.random.default_rng(5)
    arms = rng.integers(0, 2, 400)
    orders = orders_of(rng, arms, 0.5)

    values = ratio_rewards(np.where(arms == 1, 7.0, 5.0) * orders, orders, arms)

    for arm, ratio in ((0, 5.0), (1, 7.0)):
        own = values[arms == arm]
        # Without any order yet there is no ratio.
        assert own.mean() == pytest.approx(ratio, rel=0.02)
        assert own[-1] == pytest.approx(ratio, rel=0.02)


def test_a_ratio_has_the_spread_that_a_bootstrap_finds() -> None:
    rng = np.random.default_rng(6)
    arms = rng.integers(0, 2, 6000)
    orders = orders_of(rng, arms, 0.5)
    spent = orders * rng.normal(5.0, 1.0, 6000)

    found = difference_sequence(
        arms, ratio_rewards(spent, orders, arms), 0.5, candidate=1, baseline=0
    )

    variance = 0.0
    for arm in (0, 1):
        own = (spent[arms == arm], orders[arms == arm])
        drawn = stats.bootstrap(
            own, lambda n, d, axis=-1: n.sum(axis) / d.sum(axis), paired=True,
            n_resamples=400, random_state=rng, method="percentile",
        )  # fmt: skip
        variance += float(drawn.standard_error) ** 2
    ratios = [spent[arms == arm].sum() / orders[arms == arm].sum() for arm in (0, 1)]
    assert found.estimate[-1] == pytest.approx(ratios[1] - ratios[0], abs=0.01)
    assert np.sqrt(found.variance[-1]) / 6000 == pytest.approx(math.sqrt(variance), rel=0.1)


def test_equal_ratios_of_unequal_sums_name_no_winner_and_better_ones_do() -> None:
    runs, n = 100, 4000
    rng = np.random.default_rng(5)
    arms = rng.integers(0, 2, (runs, n))
    # Users of arm 1 order half as often again, at the same prices.
    orders = orders_of(rng, arms, 0.5)
    spent = orders * rng.normal(5.0, 1.0, (runs, n))

    equal, better = (
        difference_sequence(
            arms, ratio_rewards(spent + lift * arms * orders, orders, arms), 0.5,
            candidate=1, baseline=0,
        )
        for lift in (0.0, 0.5)
    )  # fmt: skip

    assert equal.excludes().any(axis=1).sum() <= most(runs, 0.05)
    assert better.estimate[:, -1].mean() == pytest.approx(0.5, rel=0.05)
