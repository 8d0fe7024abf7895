"""Effective outcomes, and the words for what is missing."""

import numpy as np
import pytest
from scipy import stats

from mlops.stats.arm_mean import mean_sequence
from mlops.stats.burn_in import MIN_EFFECTIVE, MIN_OUTCOMES, Progress, effective_outcomes


def counted(values: np.ndarray, leverage: np.ndarray | None = None) -> np.ndarray:
    weights = np.ones(len(values)) if leverage is None else leverage
    return effective_outcomes(values, weights, np.ones(len(values), dtype=bool))


def test_conversions_count_about_as_many_as_there_were() -> None:
    visits = np.zeros(10_000)
    visits[::500] = 1.0

    assert counted(visits)[-1] == pytest.approx(20, rel=0.01)


def test_equal_outcomes_count_nothing() -> None:
    assert counted(np.full(1000, 0.1)).tolist() == [0.0] * 1000


@pytest.mark.parametrize("seed", range(3))
def test_is_n_over_the_kurtosis_of_scipy(seed: int) -> None:
    values = np.random.default_rng(seed).lognormal(size=2000)

    expected = 2000 / stats.kurtosis(values, fisher=False)

    assert counted(values)[-1] == pytest.approx(expected, rel=1e-9)


def test_each_look_sees_only_its_past() -> None:
    values = np.random.default_rng(0).normal(size=300)

    assert counted(values)[149] == pytest.approx(counted(values[:150])[-1], rel=1e-9)


def test_one_outcome_of_huge_leverage_leaves_one() -> None:
    values = np.random.default_rng(0).normal(size=500)
    leverage = np.ones(500)
    leverage[7] = 1e4

    # The mean is drawn to the heavy outcome, so that the others carry what variance is left.
    assert counted(np.append(values, values[7] + 5), np.append(leverage, 1e4))[-1] < 3


def test_says_how_many_outcomes_are_missing() -> None:
    progress = Progress(1, np.array([11.0, 12.0]), np.array([5.0, 6.0]))

    assert progress.shortfall() == f"needs {MIN_OUTCOMES} outcomes per arm, arm 1 has 12"


def test_says_when_outcomes_are_too_alike() -> None:
    progress = Progress(1, np.array([1200.0]), np.array([3.25]))

    said = progress.shortfall()

    assert said is not None
    assert said.startswith("needs 20 effective outcomes per arm, the 1,200 of arm 1 weigh 3.2")


def test_once_met_it_stays_met() -> None:
    progress = Progress(0, np.array([50.0, 51.0]), np.array([MIN_EFFECTIVE, 2.0]))

    assert progress.done().tolist() == [True, True]
    assert progress.shortfall() is None


def test_nothing_seen_is_said_too() -> None:
    assert Progress(2, np.empty(0), np.empty(0)).shortfall() == (
        "needs 50 outcomes per arm, arm 2 has 0"
    )


def test_a_large_mean_does_not_hide_the_variation() -> None:
    values = 1e6 + np.random.default_rng(0).normal(size=400)

    found = mean_sequence(values)

    assert found.started is not None
    assert found.progress[0].effective[-1] == pytest.approx(
        400 / stats.kurtosis(values - 1e6, fisher=False), rel=1e-6
    )
