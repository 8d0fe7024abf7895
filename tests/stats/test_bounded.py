"""The exact sequence for rewards with a declared range."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import integrate
from ville import EmpiricalBernsteinCS

from mlops.stats.bounded import bounded_difference_sequence, curve, log_mixture
from mlops.stats.difference import difference_sequence
from mlops.stats.scores import overlap
from mlops.stats.sequence import ConfidenceSequence
from tests.stats.tolerance import most


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


@pytest.mark.parametrize(("total", "variance"), [(0.0, 4.0), (3.0, 0.5), (60.0, 400.0)])
@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_mixture_is_its_integral(total: float, variance: float, scale: float) -> None:
    rho = 7.0
    s, v, r = total / scale, variance / scale**2, rho / scale**2

    # Prior on u = 1 - slope: a gamma of shape and rate r, cut at 1.
    def prior(u: float) -> float:
        return float(u ** (r - 1) * np.exp(-r * u))

    def evidence(u: float) -> float:
        return float(np.exp((1 - u) * s - v * (-np.log(u) - (1 - u))) * prior(u))

    expected = integrate.quad(evidence, 0, 1)[0] / integrate.quad(prior, 0, 1)[0]

    found = log_mixture(np.array(total), np.array(variance), scale, rho)

    assert float(found) == pytest.approx(np.log(expected), abs=1e-6)


def test_curve_is_where_the_mixture_reaches_one_over_alpha() -> None:
    variance = np.array([0.0, 0.3, 17.0, 4000.0])

    edge = curve(variance, 1.0, 50.0, 0.025)

    reached = log_mixture(edge, variance, 1.0, 50.0)
    assert (reached >= -np.log(0.025)).all()
    # Rounding the variance up to its grid costs at most one per cent of variance.
    np.testing.assert_allclose(edge[1:], curve(variance[1:] * 1.01, 1.0, 50.0, 0.025), rtol=0.006)


def test_is_about_as_wide_as_the_asymptotic_one_in_large_samples() -> None:
    rng = np.random.default_rng(0)
    arms = rng.integers(0, 2, 50_000)
    rewards = (rng.random(50_000) < 0.4) * 1.0

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
    runs, n = 200, 4000
    rng = np.random.default_rng(1)
    arms = (rng.random((runs, n)) < share).astype(np.int64)

    found = compare(arms, (rng.random((runs, n)) < rate) * 1.0, share)

    assert found.excludes().any(axis=1).sum() <= most(runs, 0.05)


def test_ramp_with_a_moving_base_rate() -> None:
    runs, n = 100, 6000
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
    # The interval rounds the variance up, the p-value does not.
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
