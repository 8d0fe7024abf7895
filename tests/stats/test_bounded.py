"""The exact sequence for rewards with a declared range."""

import numpy as np
import pytest
from numpy.typing import NDArray
from ville import EmpiricalBernsteinCS

from mlops.stats.aipw import overlap
from mlops.stats.bounded import bounded_difference_sequence, bounded_mean_sequence
from mlops.stats.capital import _G, _LOG_W, _U, bound, log_capital
from mlops.stats.difference import difference_sequence
from mlops.stats.sequence import ConfidenceSequence
from tests.stats.tolerance import fewest, most


def compare(
    arms: NDArray[np.int64], rewards: NDArray[np.floating], share: float | NDArray[np.floating]
) -> ConfidenceSequence:
    return bounded_difference_sequence(
        arms,
        rewards,
        np.where(arms == 1, share, 1 - share),
        candidate=1,
        baseline=0,
        reward_range=(0.0, 1.0),
        importance=overlap(share, 1 - share),
    )


def test_logarithm_of_a_bet_is_bounded_by_its_powers() -> None:
    for u, g in zip(_U, _G, strict=True):
        y = np.linspace(-u, 3.0, 4001)
        below = y - y**2 / 2 + y**3 / 3 - g * y**4
        assert (np.log1p(y) >= below - 1e-12).all()
        assert np.log1p(-u) == pytest.approx(below[0])


def test_capital_is_less_than_what_the_bets_would_earn() -> None:
    rng = np.random.default_rng(0)
    x = (rng.random(2000) < 0.02) * rng.choice([-1.0, 1.0], 2000, p=[0.4, 0.6])
    powers = tuple(np.asarray((x**power).sum()) for power in (2, 3, 4))

    found = float(log_capital(np.asarray(x.sum()), powers, 1.0))

    earned = np.logaddexp.reduce(_LOG_W + np.log1p(_U[:, None] * x).sum(axis=1))
    assert earned - 0.3 < found <= earned
    assert np.exp(_LOG_W).sum() == pytest.approx(1.0)


def test_bound_is_where_the_capital_reaches_one_over_alpha() -> None:
    second = np.array([0.0, 0.3, 17.0, 4000.0])
    powers = (second, 0.1 * second, 0.5 * second)

    reached = log_capital(bound(powers, 2.0, 0.025), powers, 2.0)

    assert (reached >= -np.log(0.025) - 1e-9).all()
    np.testing.assert_allclose(reached, -np.log(0.025), atol=0.02)


def test_is_about_as_wide_as_the_asymptotic_one_in_large_samples() -> None:
    rng = np.random.default_rng(0)
    arms = rng.integers(0, 2, 30_000)
    rewards = (rng.random(30_000) < 0.4) * 1.0

    exact = compare(arms, rewards, 0.5)
    asymptotic = difference_sequence(arms, rewards, 0.5, candidate=1, baseline=0)

    ratio = (exact.upper - exact.lower)[-1] / (asymptotic.upper - asymptotic.lower)[-1]
    assert 0.98 < ratio < 1.1
    assert exact.estimate[-1] == pytest.approx(asymptotic.estimate[-1])


def test_is_tighter_than_the_plug_in_bernstein_of_ville_on_raw_scores() -> None:
    rng = np.random.default_rng(0)
    n = 5000
    arms = rng.integers(0, 2, n)
    rewards = (rng.random(n) < 0.4) * 1.0
    ipw = rewards * np.where(arms == 1, 2.0, -2.0)

    ours = compare(arms, rewards, 0.5)
    lower, upper = EmpiricalBernsteinCS(bounds=(-2.0, 2.0)).fit(ipw).interval()

    assert max(ours.lower[-1], lower) < min(ours.upper[-1], upper)
    assert ours.upper[-1] - ours.lower[-1] < upper - lower


@pytest.mark.parametrize("share", [0.5, 0.05])
@pytest.mark.parametrize("rate", [0.5, 0.005])
def test_equal_arms_have_no_winner_however_small_the_sample(share: float, rate: float) -> None:
    runs, n = 100, 2000
    rng = np.random.default_rng(1)
    arms = (rng.random((runs, n)) < share).astype(np.int64)

    found = compare(arms, (rng.random((runs, n)) < rate) * 1.0, share)

    assert found.excludes().any(axis=1).sum() <= most(runs, 0.05)


def test_ramp_with_a_moving_base_rate() -> None:
    runs, n = 60, 4000
    rng = np.random.default_rng(2)
    late = np.arange(n) >= n // 2
    share = np.where(late, 0.5, 0.02)
    arms = (rng.random((runs, n)) < share).astype(np.int64)

    found = compare(arms, (rng.random((runs, n)) < np.where(late, 0.3, 0.1)) * 1.0, share)

    assert found.excludes().any(axis=1).sum() <= most(runs, 0.05)


def test_a_clear_difference_is_found_early() -> None:
    rng = np.random.default_rng(3)
    arms = rng.integers(0, 2, 1000)

    found = compare(arms, (rng.random(1000) < 0.2 + 0.5 * arms) * 1.0, 0.5)

    assert found.excludes()[-1]
    assert found.p_value[-1] < 0.05
    assert found.waiting_for is None


def test_p_value_is_at_most_alpha_when_zero_is_excluded() -> None:
    rng = np.random.default_rng(3)
    arms = rng.integers(0, 2, (5, 3000))

    found = compare(arms, (rng.random(arms.shape) < 0.4 + 0.1 * arms) * 1.0, 0.5)

    assert found.excludes().any()
    assert (found.p_value[found.excludes()] <= 0.05).all()
    # The interval is not quite as tight as the p-value.
    assert (found.p_value[~found.excludes()] > 0.04).all()


def test_a_range_in_other_units_rescales() -> None:
    rng = np.random.default_rng(4)
    arms, rewards = rng.integers(0, 2, 800), rng.random(800)

    unit = compare(arms, rewards, 0.5)
    moved = bounded_difference_sequence(
        arms, 10 * rewards - 5, 0.5, candidate=1, baseline=0, reward_range=(-5, 5), importance=0.5
    )

    np.testing.assert_allclose(moved.estimate, 10 * unit.estimate, atol=1e-9)


def test_undeclared_values_are_errors() -> None:
    arms, rewards = np.array([0, 1]), np.array([0.0, 1.5])
    with pytest.raises(ValueError, match=r"rewards must be in \[0, 1\]"):
        bounded_difference_sequence(
            arms, rewards, 0.5, candidate=1, baseline=0, reward_range=(0, 1), importance=0.5
        )
    with pytest.raises(ValueError, match="importance"):
        bounded_difference_sequence(
            arms, rewards, 0.5, candidate=1, baseline=0, reward_range=(0, 2), importance=0.6
        )


def test_a_stream_of_differences_has_an_exact_mean() -> None:
    runs, n = 100, 800
    rng = np.random.default_rng(5)
    # Better by 0.05 on nearly all rows and off by 1 on the few others: a mean of 0.
    rare = rng.random((runs, n)) < 1 / 21
    differences = np.where(rare, -1.0, 0.05)

    found = bounded_mean_sequence(differences, value_range=(-1, 1))

    assert found.excludes().any(axis=1).sum() <= most(runs, 0.05)
    assert found.ready[:, -1].all()
    with pytest.raises(ValueError, match="values must be in"):
        bounded_mean_sequence(2 * differences, value_range=(-1, 1))


def test_power_is_65_per_cent_of_the_fixed_test() -> None:
    runs, n, base = 60, 10_000, 0.02
    lift = (1.959964 + 1.281552) * np.sqrt(4 * base * (1 - base) / n)
    rng = np.random.default_rng(6)
    arms = rng.integers(0, 2, (runs, n))

    found = compare(arms, (rng.random((runs, n)) < base + lift * (arms - 0.5)) * 1.0, 0.5)

    assert (found.lower > 0).any(axis=1).sum() >= fewest(runs, 0.65 * 0.9)


def test_bounds_are_those_of_the_range_at_most() -> None:
    rng = np.random.default_rng(3)
    arms = rng.integers(0, 2, 400)
    rewards = (rng.random(400) < 0.2 + 0.6 * arms) * 1.0
    found = compare(arms, rewards, 0.5)
    opened = found.lower[found.ready], found.upper[found.ready]
    assert opened[0].min() == -1.0
    assert opened[1].max() == 1.0
    assert (opened[0] <= opened[1]).all()
    # It is decided when it was: 0 is inside of every range of a difference.
    assert found.excludes()[-1]
    assert np.isinf(found.lower[~found.ready]).all()
    paired = bounded_mean_sequence(rewards[:30], value_range=(0.0, 1.0))
    assert (paired.lower[paired.ready].min(), paired.upper[paired.ready].max()) == (0.0, 1.0)
    # An interval that lies outside of the range as a whole is its nearest end.
    outside = paired.within(2.0, 3.0)
    assert outside.lower[-1] == outside.upper[-1] == 2.0
