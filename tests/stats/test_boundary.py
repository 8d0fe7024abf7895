"""The curve: its value, its inverse, and how often a random walk crosses it."""

import numpy as np
import pytest
from scipy import integrate
from ville._boundaries import best_rho, normal_mixture

from mlops.stats.boundary import p_value, radius, tightest_time
from tests.stats.tolerance import fewest, most


def test_is_the_square_root_of_two_times_log_800_at_one() -> None:
    found = radius(np.array(1.0), np.array(1.0), 0.05)

    assert float(found) == pytest.approx(np.sqrt(2 * np.log(2 / 0.05**2)))


@pytest.mark.parametrize("variance", [0.5, 10.0, 1e4])
@pytest.mark.parametrize("rho2", [1e-3, 1.0])
def test_agrees_with_ville(variance: float, rho2: float) -> None:
    expected = normal_mixture(np.array([variance]), 0.05, 1 / rho2)

    found = radius(np.array([variance]), np.array(rho2), 0.05)

    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_tightest_time_agrees_with_ville(alpha: float) -> None:
    assert tightest_time(alpha) == pytest.approx(1 / best_rho(1.0, alpha), rel=1e-3)


def test_p_value_is_the_inverse_of_the_mixture_integral() -> None:
    total, variance, rho2 = 7.0, 5.0, 0.3

    def martingale(slope: float) -> float:
        prior = np.exp(-(slope**2) / (2 * rho2)) / np.sqrt(2 * np.pi * rho2)
        return float(np.exp(slope * total - slope**2 * variance / 2) * prior)

    mixed, _ = integrate.quad(martingale, -20, 20)

    assert float(p_value(np.array(total), np.array(variance), np.array(rho2))) == pytest.approx(
        1 / mixed, rel=1e-6
    )


@pytest.mark.parametrize("alpha", [0.05, 0.001])
def test_p_value_equals_alpha_on_the_curve(alpha: float) -> None:
    variance, rho2 = np.array([0.1, 3.0, 500.0]), np.array(0.2)

    found = p_value(radius(variance, rho2, alpha), variance, rho2)

    np.testing.assert_allclose(found, alpha)


def test_p_value_is_never_above_one() -> None:
    assert float(p_value(np.array(0.0), np.array(9.0), np.array(1.0))) == 1.0


def test_gaussian_walks_cross_about_as_often_as_promised() -> None:
    runs, steps, alpha = 2000, 2000, 0.2
    rng = np.random.default_rng(1)
    walks = np.cumsum(rng.standard_normal((runs, steps)), axis=1)

    crossed = (np.abs(walks) > radius(np.arange(1.0, steps + 1), np.array(0.3), alpha)).any(axis=1)

    # Within 2,000 steps only a part of the eventual crossings has happened.
    assert fewest(runs, 0.5 * alpha) <= crossed.sum() <= most(runs, alpha)
