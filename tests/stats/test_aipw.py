"""Scores: their values by hand, predictability, and unbiasedness under any logged policy."""

import numpy as np
import pytest

from mlops.stats.aipw import PRIOR_OUTCOMES, WARM_UP, arm_scores, observations, overlap


def test_plug_in_is_the_past_mean_pulled_towards_all_arms() -> None:
    arms = np.array([0, 1] * 6)
    rewards = np.array([1.0, 3.0] * 6)

    found = arm_scores(observations(arms, rewards, 0.5, 1.0), 1)

    # Before the last observation: five rewards of 3 in the arm, pooled mean of six 1 and five 3.
    pooled = (6 * 1 + 5 * 3) / 11
    expected = (5 * 3 + PRIOR_OUTCOMES * pooled) / (5 + PRIOR_OUTCOMES)
    assert found.plug_in[-1] == pytest.approx(expected)
    assert found.residuals[-1] == pytest.approx((3 - expected) / 0.5)
    assert found.residuals[-2] == 0.0


def test_warm_up_gets_no_score() -> None:
    found = arm_scores(observations(np.zeros(20, dtype=int), np.arange(20.0), 1.0, 1.0), 0)

    assert not found.plug_in[:WARM_UP].any()
    assert not found.residuals[:WARM_UP].any()
    assert found.residuals[WARM_UP:].all()


def test_plug_in_does_not_know_its_own_outcome() -> None:
    rng = np.random.default_rng(0)
    arms, rewards = rng.integers(0, 2, 50), rng.normal(size=50)
    changed = rewards.copy()
    changed[30] += 100

    before, after = (arm_scores(observations(arms, r, 0.5, 1.0), 1) for r in (rewards, changed))

    assert (before.plug_in[:31] == after.plug_in[:31]).all()
    assert (before.plug_in[31:] != after.plug_in[31:]).all()


def test_scores_are_unbiased_while_weights_follow_the_rewards() -> None:
    runs, n, rate = 4000, 60, 0.3
    rng = np.random.default_rng(2)
    arms, rewards = np.zeros((runs, n), dtype=int), (rng.random((runs, n)) < rate) * 1.0
    propensities = np.zeros((runs, n))
    for i in range(n):
        # A policy that runs after whichever arm happens to have earned more.
        earned = [np.where(arms[:, :i] == arm, rewards[:, :i], 0).sum(axis=1) for arm in (0, 1)]
        share = np.where(earned[1] > earned[0], 0.8, 0.2)
        arms[:, i] = rng.random(runs) < share
        propensities[:, i] = np.where(arms[:, i] == 1, share, 1 - share)

    found = arm_scores(observations(arms, rewards, propensities, 1.0), 1)
    scores = (found.plug_in + found.residuals)[:, WARM_UP:].mean(axis=1)

    error = scores.std() / np.sqrt(runs)
    assert abs(scores.mean() - rate) < 3 * error
    # The naive mean of the arm is biased: an unlucky start is never made up for.
    naive = np.where(arms == 1, rewards, 0).sum(axis=1) / np.maximum(arms.sum(axis=1), 1)
    assert naive.mean() < rate - 3 * error


def test_overlap_is_the_precision_of_the_pair() -> None:
    assert float(overlap(0.1, 0.9)) == pytest.approx(0.09)
    assert float(overlap(0.2, 0.3, 0.5)) == pytest.approx(1 / (5 + 1 / 0.3 + 2))
    assert float(overlap(0.0, 1.0)) == 0.0


@pytest.mark.parametrize(
    ("arms", "rewards", "propensities", "importance", "message"),
    [
        ([0, 1], [1.0], 0.5, 1.0, "one shape"),
        ([0, 1], [1.0, np.nan], 0.5, 1.0, "finite"),
        ([0, 1], [1.0, 2.0], [0.5, 0.0], 1.0, "propensities"),
        ([0, 1], [1.0, 2.0], [0.5, 1.1], 1.0, "propensities"),
        ([0, 1], [1.0, 2.0], 0.5, -1.0, "importance"),
    ],
)
def test_impossible_observations_are_errors(
    arms: list[int],
    rewards: list[float],
    propensities: float | list[float],
    importance: float,
    message: str,
) -> None:
    with pytest.raises(ValueError, match=message):
        observations(np.array(arms), np.array(rewards), np.array(propensities), importance)
