"""The forecast of how long an experiment still takes."""

import numpy as np
import pytest

from mlops.stats.aipw import overlap
from mlops.stats.bounded import bounded_difference_sequence
from mlops.stats.difference import difference_sequence
from mlops.stats.sample_size import remaining_observations


@pytest.mark.parametrize("share", [0.5, 0.1])
@pytest.mark.parametrize("effect", [0.3, -0.15])
def test_is_the_median_time_of_the_sequence_it_forecasts(share: float, effect: float) -> None:
    forecast = remaining_observations(effect, (1.0, 1.0), (share, 1 - share), observed=0)
    assert forecast is not None
    runs = 40
    rng = np.random.default_rng(0)
    arms = (rng.random((runs, 3 * forecast)) < share).astype(np.int64)
    found = difference_sequence(
        arms,
        rng.normal(effect * arms),
        np.where(arms == 1, share, 1 - share),
        candidate=1,
        baseline=0,
    )

    first = np.argmax(found.excludes(), axis=1)

    # Random walks cross a curve they meet on average a little earlier than their mean does.
    assert 0.6 < np.median(first) / forecast < 1.15


def test_what_was_observed_is_subtracted() -> None:
    whole = remaining_observations(0.2, (1.0, 1.0), (0.5, 0.5), observed=0)
    part = remaining_observations(0.2, (1.0, 1.0), (0.5, 0.5), observed=100)

    assert whole is not None
    assert part == whole - 100
    assert remaining_observations(0.2, (1.0, 1.0), (0.5, 0.5), observed=10**6) == 0


def test_no_difference_has_no_end() -> None:
    assert remaining_observations(0.0, (1.0, 1.0), (0.5, 0.5), observed=500) is None
    assert remaining_observations(1e-9, (1.0, 1.0), (0.5, 0.5), observed=500) is None


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_is_the_median_time_of_the_bounded_sequence_too(share: float) -> None:
    variances, weights = (0.24, 0.21), (share, 1 - share)
    forecast = remaining_observations(0.1, variances, weights, observed=0, reward_range=(0, 1))
    assert forecast is not None
    rng = np.random.default_rng(0)
    arms = (rng.random((40, 3 * forecast)) < share).astype(np.int64)
    found = bounded_difference_sequence(
        arms,
        (rng.random(arms.shape) < 0.3 + 0.1 * arms) * 1.0,
        np.where(arms == 1, share, 1 - share),
        candidate=1,
        baseline=0,
        reward_range=(0, 1),
        importance=overlap(share, 1 - share),
    )

    first = np.argmax(found.excludes(), axis=1)

    assert 0.6 < np.median(first) / forecast < 1.15


@pytest.mark.parametrize("better", [True, False])
def test_a_smaller_alpha_or_a_rarer_arm_takes_longer(better: bool) -> None:
    usual = remaining_observations(0.2, (1.0, 1.0), (0.5, 0.5), observed=0)
    other = (
        remaining_observations(0.2, (1.0, 1.0), (0.5, 0.5), observed=0, alpha=0.01)
        if better
        else remaining_observations(0.2, (1.0, 1.0), (0.1, 0.9), observed=0)
    )

    assert usual is not None
    assert other is not None
    assert other > usual


def test_impossible_inputs_are_errors() -> None:
    with pytest.raises(ValueError, match="positive"):
        remaining_observations(0.1, (0.0, 0.0), (0.5, 0.5), observed=0)
    with pytest.raises(ValueError, match="positive"):
        remaining_observations(0.1, (1.0, 1.0), (0.0, 1.0), observed=0)
