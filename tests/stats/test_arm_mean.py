"""One arm's mean, and a stream's."""

import numpy as np
import pytest
from ville import AsymptoticCS

from mlops.stats.aipw import WARM_UP, overlap
from mlops.stats.arm_mean import arm_sequence, mean_sequence
from mlops.stats.difference import difference_sequence
from tests.stats.tolerance import most


def test_a_stream_of_one_arm_averages_its_values() -> None:
    values = np.arange(100.0)

    # With propensity 1 the plug-in cancels.
    assert mean_sequence(values).estimate[-1] == pytest.approx(values[WARM_UP:].mean())


def test_agrees_with_ville_on_a_stream() -> None:
    values = np.random.default_rng(0).normal(2.0, 3.0, 30_000)

    ours = mean_sequence(values)
    lower, upper = AsymptoticCS(t_opt=2500).fit(values).interval()

    assert ours.lower[-1] == pytest.approx(lower, abs=2e-3)
    assert ours.upper[-1] == pytest.approx(upper, abs=2e-3)


def test_estimates_of_arms_subtract_to_the_estimate_of_the_difference() -> None:
    rng = np.random.default_rng(0)
    share = np.where(np.arange(2000) < 1000, 0.1, 0.5)
    arms = (rng.random(2000) < share).astype(np.int64)
    rewards, propensities = rng.normal(size=2000), np.where(arms == 1, share, 1 - share)
    weight = overlap(share, 1 - share)

    one, other = (
        arm_sequence(arms, rewards, propensities, arm=arm, importance=weight) for arm in (1, 0)
    )
    both = difference_sequence(
        arms, rewards, propensities, candidate=1, baseline=0, importance=weight
    )

    np.testing.assert_allclose(one.estimate - other.estimate, both.estimate, atol=1e-12)


@pytest.mark.parametrize("share", [1.0, 0.5, 0.1])
def test_coverage_at_every_look(share: float) -> None:
    runs, n = 300, 6000
    rng = np.random.default_rng(1)
    arms = (rng.random((runs, n)) < share).astype(np.int64)

    found = arm_sequence(
        arms, rng.exponential(2.0, (runs, n)), np.where(arms == 1, share, 1 - share * 0.999), arm=1
    )

    assert found.ready[:, -1].all()
    assert found.excludes(2.0).any(axis=1).sum() <= most(runs, 0.05)


def test_empty_streams_say_what_they_need() -> None:
    assert mean_sequence(np.empty(0)).waiting_for == "needs 50 outcomes per arm, arm 0 has 0"
