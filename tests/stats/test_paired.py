"""Two models on the same rows."""

import numpy as np
import pytest
from scipy import stats

from mlops.stats.arm_mean import mean_sequence
from mlops.stats.fixed import Sample, welch_interval
from mlops.stats.paired import paired_interval, paired_sequence
from tests.stats.tolerance import most


def test_is_the_sequence_of_differences() -> None:
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(size=300), rng.normal(size=300)

    np.testing.assert_array_equal(
        paired_sequence(ours, theirs).lower, mean_sequence(ours - theirs).lower
    )


def test_interval_agrees_with_scipy() -> None:
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(0.2, 1, 40), rng.normal(size=40)

    found = paired_interval(ours, theirs)

    expected = stats.ttest_rel(ours, theirs).confidence_interval()
    assert (found.lower, found.upper) == pytest.approx((expected.low, expected.high))


def test_pairing_removes_what_rows_share() -> None:
    rng = np.random.default_rng(1)
    row = rng.normal(0, 5, 500)
    ours, theirs = row + rng.normal(0.3, 1, 500), row + rng.normal(0, 1, 500)

    paired = paired_interval(ours, theirs)
    apart = welch_interval(
        Sample(500, float(ours.mean()), float(ours.var(ddof=1))),
        Sample(500, float(theirs.mean()), float(theirs.var(ddof=1))),
    )

    assert paired.lower > 0
    assert apart.lower < 0


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
    with pytest.raises(ValueError, match="two rows"):
        paired_interval(np.zeros(1), np.zeros(1))
