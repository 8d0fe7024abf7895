"""Effective outcomes, and the words for what is missing."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from mlops.stats.arm_mean import mean_sequence
from mlops.stats.burn_in import MIN_OUTCOMES, Opening, effective_outcomes
from mlops.stats.difference import difference_sequence
from tests.stats.tolerance import most


def counted(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return effective_outcomes(values**2, values**2)


def opening(outcomes: float, effective: float, least: float = 20.0) -> Opening:
    return Opening((1,), (np.array([outcomes]),), np.array([effective]), least)


def test_conversions_count_about_as_many_as_there_were() -> None:
    visits = np.zeros(10_000)
    visits[::500] = 1.0

    assert counted(visits - visits.mean())[-1] == pytest.approx(20, rel=0.01)


@pytest.mark.parametrize("seed", range(3))
def test_is_n_over_the_kurtosis_of_scipy(seed: int) -> None:
    values = np.random.default_rng(seed).lognormal(size=2000)

    expected = 2000 / stats.kurtosis(values, fisher=False)

    assert counted(values - values.mean())[-1] == pytest.approx(expected, rel=1e-9)


def test_says_how_many_outcomes_are_missing() -> None:
    assert opening(12, 6).shortfall() == f"needs {MIN_OUTCOMES} outcomes per arm, arm 1 has 12"


def test_says_when_outcomes_are_too_alike() -> None:
    said = opening(1200, 3.25).shortfall()

    assert said is not None
    assert said.startswith("needs 20 effective outcomes, the 1,200 so far weigh 3.2")


def test_it_closes_again_when_the_variance_turns_out_unknown() -> None:
    found = Opening((0,), (np.array([50.0, 51.0]),), np.array([20.0, 2.0]), 20.0)

    assert found.ready().tolist() == [True, False]


@pytest.mark.parametrize("level", [0.0, 1e6])
def test_a_large_mean_does_not_hide_the_variation(level: float) -> None:
    values = level + np.random.default_rng(0).normal(size=400)

    found = mean_sequence(values)

    assert found.started is not None
    assert found.opening is not None
    # Residuals are taken from the mean so far, not from that of all.
    assert found.opening.effective[-1] == pytest.approx(
        400 / stats.kurtosis(values - level, fisher=False), rel=0.1
    )


Rewards = Callable[[np.random.Generator, tuple[int, ...]], NDArray[np.floating]]

RARE: dict[str, Rewards] = {
    "a loss in 1,000": lambda rng, shape: (
        rng.normal(1, 0.3, shape) - 100.0 * (rng.random(shape) < 1e-3)
    ),
    "a loss in 100": lambda rng, shape: (
        rng.normal(1, 0.3, shape) - 100.0 * (rng.random(shape) < 1e-2)
    ),
    "a gain in 1,000": lambda rng, shape: (
        rng.normal(1, 0.3, shape) + 100.0 * (rng.random(shape) < 1e-3)
    ),
    "Pareto, index 2.1": lambda rng, shape: rng.pareto(2.1, shape),
    "few buyers": lambda rng, shape: np.where(
        rng.random(shape) < 0.005, rng.lognormal(3, 1.5, shape), 0.0
    ),
}


@pytest.mark.parametrize("share", [0.2, 0.05])
@pytest.mark.parametrize("kind", RARE)
def test_rare_losses_name_no_winner_at_unequal_splits(kind: str, share: float) -> None:
    runs, n = 60, 10_000
    rng = np.random.default_rng(11)
    arms = (rng.random((runs, n)) < share).astype(np.int64)

    found = difference_sequence(
        arms, RARE[kind](rng, arms.shape), np.where(arms == 1, share, 1 - share),
        candidate=1, baseline=0,
    )  # fmt: skip

    assert found.excludes().any(axis=1).sum() <= most(runs, 0.05)


def test_the_large_arm_lends_what_it_has_seen_to_the_small_one() -> None:
    rng = np.random.default_rng(0)
    n, share = 6000, 0.05
    arms = (rng.random(n) < share).astype(np.int64)
    rewards = rng.normal(1, 0.3, n)
    rewards[np.flatnonzero(arms == 0)[[1000, 2000, 3000, 4000, 5000]]] -= 100

    found = difference_sequence(
        arms, rewards, np.where(arms == 1, share, 1 - share), candidate=1, baseline=0
    )

    # What the canary has seen itself puts the standard error of its mean at 0.017.
    assert found.ready[-1]
    assert found.upper[-1] - found.lower[-1] > 2 * 100 / n / share


def test_three_arms_need_the_shares_of_the_two_compared() -> None:
    rng = np.random.default_rng(0)
    arms = rng.choice(3, 4000, p=[0.6, 0.3, 0.1])
    rewards, shares = rng.normal(size=4000), np.array([0.6, 0.3, 0.1])

    with pytest.raises(ValueError, match="give the shares"):
        difference_sequence(arms, rewards, shares[arms], candidate=2, baseline=0)
    found = difference_sequence(
        arms, rewards, shares[arms], candidate=2, baseline=0, shares=(0.1, 0.6)
    )

    assert np.isfinite(found.lower[-1])
