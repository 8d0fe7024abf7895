"""Two models on the same rows."""

import numpy as np
import pytest
from scipy import stats

from mlops.stats.arm_mean import mean_sequence
from mlops.stats.paired import paired_sequence
from tests.stats.tolerance import most


def test_is_the_sequence_of_differences() -> None:
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(size=300), rng.normal(size=300)

    np.testing.assert_array_equal(
        paired_sequence(ours, theirs).lower, mean_sequence(ours - theirs).lower
    )


def test_pairing_removes_what_rows_share() -> None:
    rng = np.random.default_rng(1)
    row = rng.normal(0, 5, 500)
    ours, theirs = row + rng.normal(0.3, 1, 500), row + rng.normal(0, 1, 500)

    paired = paired_sequence(ours, theirs)
    apart = stats.ttest_ind(ours, theirs).confidence_interval()

    assert paired.lower[-1] > 0
    assert apart.low < 0


def test_equal_models_rarely_win() -> None:
    runs, n = 200, 4000
    rng = np.random.default_rng(2)

    found = paired_sequence(rng.lognormal(size=(runs, n)), rng.lognormal(size=(runs, n)))

    assert found.excludes().any(axis=1).sum() <= most(runs, 0.05)


def test_the_same_model_twice_never_opens() -> None:
    rewards = np.random.default_rng(3).normal(size=500)

    assert paired_sequence(rewards, rewards).started is None


def test_rows_must_pair() -> None:
    with pytest.raises(ValueError, match="pair"):
        paired_sequence(np.zeros(3), np.zeros(4))
