"""A test with a planned end: its boundary, its error, its power, and what comes after the end."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from mlops.stats.aipw import overlap
from mlops.stats.arm_mean import mean_sequence
from mlops.stats.difference import difference_sequence
from mlops.stats.horizon import crossing_probability, final_level
from mlops.stats.sequence import ConfidenceSequence
from tests.stats.tolerance import fewest, most

LIFT = 1.959964 + 1.281552  # standard errors that a z-test finds with 90 % power


def compare(
    arms: NDArray[np.int64], rewards: NDArray[np.floating], horizon: float
) -> ConfidenceSequence:
    return difference_sequence(arms, rewards, 0.5, candidate=1, baseline=0, horizon=horizon)


@pytest.mark.parametrize(("alpha", "level"), [(0.05, 2.2414), (0.01, 2.8070), (0.1, 1.9600)])
def test_level_is_the_known_one(alpha: float, level: float) -> None:
    assert final_level(alpha) == pytest.approx(level, abs=2e-4)


@pytest.mark.parametrize("level", [0.4, 1.0, 2.5])
def test_crossing_probability_is_the_other_series(level: float) -> None:
    # The distribution of the range of a Brownian motion by eigenfunctions.
    k = np.arange(50)
    inside = (
        4 / np.pi * ((-1.0) ** k / (2 * k + 1)
        * np.exp(-((2 * k + 1) ** 2) * np.pi**2 / (8 * level**2))).sum()
    )  # fmt: skip

    assert float(crossing_probability(level)) == pytest.approx(1 - inside, abs=1e-9)


def test_spends_what_the_function_of_lan_and_demets_spends() -> None:
    level = final_level(0.05)
    share = np.array([0.25, 0.5, 0.75, 1.0])

    spent = crossing_probability(level / np.sqrt(share))

    # gsDesign's sfLDOF per side, 2 (1 - Phi(z / sqrt(t))), with alpha 0.025 a side.
    lan_demets = 2 * 2 * stats.norm.sf(stats.norm.isf(0.0125) / np.sqrt(share))
    np.testing.assert_allclose(spent, lan_demets, rtol=1e-4)


@pytest.mark.parametrize("kind", ["conversion", "season"])
def test_equal_arms_rarely_have_a_winner_watched_to_the_end_and_after(kind: str) -> None:
    runs, n, horizon = 300, 6000, 5000
    rng = np.random.default_rng(1)
    arms = rng.integers(0, 2, (runs, n))
    rate = 0.1 if kind == "conversion" else np.where(np.arange(n) < 2500, 0.05, 0.15)

    found = compare(arms, (rng.random((runs, n)) < rate) * 1.0, horizon)

    assert found.excludes().any(axis=1).sum() <= most(runs, 0.05)


def test_power_is_at_least_95_per_cent_of_the_fixed_test() -> None:
    runs, n, base = 300, 5000, 0.3
    lift = LIFT * np.sqrt(4 * base * (1 - base) / n)
    rng = np.random.default_rng(2)
    arms = rng.integers(0, 2, (runs, n))
    rewards = (rng.random((runs, n)) < base + lift * (arms - 0.5)) * 1.0

    found = (compare(arms, rewards, n).lower > 0).any(axis=1).sum()

    assert found >= fewest(runs, 0.95 * 0.9)


def test_past_the_horizon_the_bounds_stay() -> None:
    rng = np.random.default_rng(3)
    arms, rewards = rng.integers(0, 2, 3000), rng.normal(size=3000)

    found = compare(arms, rewards, 2000)

    assert (found.lower[1999:] == found.lower[1999]).all()
    assert (found.p_value[1999:] == found.p_value[1999]).all()
    # At the end it is as wide as 2.24 standard errors.
    error = np.sqrt(4 * rewards[:2000].var() / 2000)
    assert found.upper[-1] - found.estimate[-1] == pytest.approx(2.2414 * error, rel=0.02)


def test_p_value_falls_below_alpha_exactly_when_zero_is_excluded() -> None:
    rng = np.random.default_rng(3)
    arms = rng.integers(0, 2, (20, 3000))

    found = compare(arms, rng.normal(0.1 * arms), 2500)

    assert found.excludes().any()
    np.testing.assert_array_equal(found.excludes(), found.p_value < 0.05)


def test_changed_weights_bring_the_end_nearer() -> None:
    rng = np.random.default_rng(4)
    n = 4000
    share = np.where(np.arange(n) >= 1000, 0.5, 0.1)
    arms = (rng.random(n) < share).astype(np.int64)
    weight = overlap(share, 1 - share)

    found = difference_sequence(
        arms, rng.normal(size=n), np.where(arms == 1, share, 1 - share),
        candidate=1, baseline=0, importance=weight, horizon=4000 * 0.09,
    )  # fmt: skip

    end = int(np.argmax(np.cumsum(weight) >= 360))
    assert end == 1000 + 1079
    assert found.lower[end] == found.lower[-1] != found.lower[end - 1]


def test_a_stream_has_one_too() -> None:
    values = np.random.default_rng(5).normal(0.2, 1.0, 400)

    assert mean_sequence(values, horizon=400).lower[-1] > mean_sequence(values).lower[-1]


def test_an_empty_horizon_is_an_error() -> None:
    with pytest.raises(ValueError, match="horizon must be positive"):
        mean_sequence(np.zeros(100), horizon=0)
