"""What each design needs, against textbooks and simulated tests."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from mlops.stats.bounded import bounded_difference_sequence
from mlops.stats.designs import Basis, Goal, designs, observed_per_day
from mlops.stats.difference import difference_sequence
from mlops.stats.paired import paired_sequence
from tests.stats.tolerance import fewest, most

CONVERSION = Basis(0.05, 0.0475, (0.5, 0.5), per_day=2000, binary=True, pair_correlation=0.8)


def test_a_horizon_needs_what_the_fixed_test_does() -> None:
    # The textbook's two proportions, 5 and 6 %: 16,310 for both arms with 80 % power.
    spread = 0.05 * 0.95 + 0.06 * 0.94
    fixed = 2 * spread * ((stats.norm.isf(0.025) + stats.norm.isf(0.2)) / 0.01) ** 2
    assert fixed == pytest.approx(16_310, rel=1e-3)

    (_, planned, *_) = designs(CONVERSION, Goal(0.01))

    assert planned.observations == pytest.approx(1.055 * fixed, rel=0.01)
    assert planned.days == pytest.approx((planned.observations or 0) / 2000)


@pytest.mark.parametrize("horizon", [False, True])
def test_requests_are_those_of_simulated_tests(horizon: bool) -> None:
    runs, lift = 150, 0.03
    basis = replace(CONVERSION, mean=0.1, variance=0.09)
    n = designs(basis, Goal(lift))[int(horizon)].observations
    assert n is not None
    rng = np.random.default_rng(0)
    arms = rng.integers(0, 2, (runs, n))
    rewards = (rng.random((runs, n)) < 0.1 + lift * arms) * 1.0

    found = difference_sequence(
        arms, rewards, 0.5, candidate=1, baseline=0, horizon=n if horizon else None
    )

    hits = (found.lower > 0).any(axis=1).sum()
    assert fewest(runs, 0.75) <= hits <= most(runs, 0.85)


def test_requests_with_a_range_are_those_of_simulated_tests() -> None:
    runs, lift = 60, 0.06
    basis = replace(CONVERSION, mean=0.2, variance=0.16, reward_range=(0.0, 1.0))
    n = designs(basis, Goal(lift))[0].observations
    assert n is not None
    rng = np.random.default_rng(1)
    arms = rng.integers(0, 2, (runs, n))
    rewards = (rng.random((runs, n)) < 0.2 + lift * arms) * 1.0

    found = bounded_difference_sequence(
        arms, rewards, 0.5, candidate=1, baseline=0, reward_range=(0, 1), importance=0.25
    )

    assert fewest(runs, 0.72) <= (found.lower > 0).any(axis=1).sum() <= most(runs, 0.88)


def test_units_are_those_of_simulated_people() -> None:
    runs, lift, visits, correlation = 120, 0.2, 4, 0.25
    basis = Basis(0.0, 1.0, (0.5, 0.5), visits=visits, unit_correlation=correlation)
    units = designs(basis, Goal(lift))[2]
    assert (units.kind, units.horizon, units.days) == ("units", False, None)
    n = units.observations
    assert n is not None
    rng = np.random.default_rng(2)
    arms = rng.integers(0, 2, (runs, n))
    means = rng.normal(0, np.sqrt(correlation), (runs, n)) + rng.normal(
        0, np.sqrt((1 - correlation) / visits), (runs, n)
    )

    found = difference_sequence(arms, means + lift * arms, 0.5, candidate=1, baseline=0)

    assert fewest(runs, 0.74) <= (found.lower > 0).any(axis=1).sum() <= most(runs, 0.86)


def test_pairs_are_those_of_simulated_rows() -> None:
    runs, lift, correlation = 120, 0.15, 0.8
    basis = Basis(0.0, 1.0, (0.5, 0.5), pair_correlation=correlation)
    n = designs(basis, Goal(lift))[2].observations
    assert n is not None
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(runs):
        row = rng.normal(0, np.sqrt(correlation), n)
        ours, theirs = row + rng.normal(0, np.sqrt(1 - correlation), (2, n))
        hits += int((paired_sequence(ours + lift, theirs).lower > 0).any())

    assert fewest(runs, 0.74) <= hits <= most(runs, 0.86)


def test_the_smallest_lift_is_the_one_with_the_power_asked_for() -> None:
    for basis in (CONVERSION, replace(CONVERSION, shares=(0.9, 0.1), reward_range=(0.0, 1.0))):
        for each in designs(basis, Goal(0.01, days=7)):
            assert each.smallest_lift is not None
            again = designs(basis, Goal(each.smallest_lift, days=7))
            same = next(d for d in again if (d.kind, d.horizon) == (each.kind, each.horizon))
            assert same.power == pytest.approx(0.8, abs=1e-3)


def test_more_arms_and_uneven_shares_take_more() -> None:
    def needed(*shares: float) -> int:
        return designs(replace(CONVERSION, shares=shares), Goal(0.01))[0].observations or 0

    assert needed(0.5, 0.5) < needed(0.9, 0.1)
    # A third of the traffic for each, and half of alpha for each comparison.
    assert 1.5 * needed(0.5, 0.5) < needed(1 / 3, 1 / 3, 1 / 3) < 2.2 * needed(0.5, 0.5)


def test_labels_that_are_missing_take_time_and_no_more_labels() -> None:
    whole, part = (
        designs(replace(CONVERSION, answered=share), Goal(0.01))[0] for share in (1.0, 0.25)
    )
    assert whole.observations == part.observations
    assert part.days == pytest.approx(4 * (whole.days or 0))
    assert observed_per_day(replace(CONVERSION, visits=2, answered=0.5), "units") == 750


@pytest.mark.parametrize("wrong", [{"shares": (1.0,)}, {"shares": (1.0, 0.0)}, {"variance": 0.0}])
def test_what_cannot_be_planned(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="positive"):
        designs(replace(CONVERSION, **wrong), Goal(0.01))  # type: ignore[arg-type]
