"""The verdict's sequence: values, invariances, and how often it is wrong or finds a lift."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from ville import AsymptoticCS

from mlops.stats.aipw import WARM_UP, overlap
from mlops.stats.difference import bonferroni, difference_sequence
from mlops.stats.sequence import ConfidenceSequence
from tests.stats.tolerance import fewest, most

Rewards = Callable[[np.random.Generator, tuple[int, ...]], NDArray[np.floating]]

REWARDS: dict[str, Rewards] = {
    "conversion 10 %": lambda rng, shape: (rng.random(shape) < 0.1) * 1.0,
    "conversion 1 %": lambda rng, shape: (rng.random(shape) < 0.01) * 1.0,
    "squared error": lambda rng, shape: -(rng.standard_normal(shape) ** 2),
    "lognormal": lambda rng, shape: np.exp(rng.standard_normal(shape)),
}


def compare(
    arms: NDArray[np.int64],
    rewards: NDArray[np.floating],
    share: float | NDArray[np.floating],
    importance: float | NDArray[np.floating] = 1.0,
) -> ConfidenceSequence:
    propensities = np.where(arms == 1, share, 1 - share)
    return difference_sequence(
        arms, rewards, propensities, candidate=1, baseline=0, importance=importance
    )


def draw(rng: np.random.Generator, share: float, shape: tuple[int, ...]) -> NDArray[np.int64]:
    return (rng.random(shape) < share).astype(np.int64)


def test_estimate_is_the_mean_of_scores_computed_one_by_one() -> None:
    rng = np.random.default_rng(0)
    arms, rewards = draw(rng, 0.3, (200,)), rng.normal(5.0, 1.0, 200)
    total = 0.0
    for i in range(WARM_UP, 200):
        pooled = rewards[:i].mean()
        plug_in = [
            (rewards[:i][arms[:i] == arm].sum() + 10 * pooled) / ((arms[:i] == arm).sum() + 10)
            for arm in (0, 1)
        ]
        residual = rewards[i] - plug_in[arms[i]]
        total += plug_in[1] - plug_in[0] + (residual / 0.3 if arms[i] else -residual / 0.7)

    assert compare(arms, rewards, 0.3).estimate[-1] == pytest.approx(total / (200 - WARM_UP))


def test_width_approaches_that_of_ville_on_the_same_scores() -> None:
    rng = np.random.default_rng(0)
    n = 20_000
    arms, rewards = draw(rng, 0.5, (n,)), rng.normal(size=n)
    ipw = rewards * np.where(arms == 1, 2.0, -2.0)

    ours = compare(arms, rewards, 0.5)
    theirs = AsymptoticCS(t_opt=5000).fit(ipw)

    lower, upper = theirs.interval()
    assert ours.upper[-1] - ours.lower[-1] == pytest.approx(upper - lower, rel=0.02)
    assert ours.estimate[-1] == pytest.approx(theirs.estimate_[-1], abs=2e-3)


def test_bounds_are_infinite_and_explained_during_burn_in() -> None:
    rng = np.random.default_rng(0)
    arms, rewards = draw(rng, 0.1, (300,)), rng.normal(size=300)

    found = compare(arms, rewards, 0.1)

    assert found.started is None
    assert np.isinf(found.lower).all()
    assert np.isinf(found.upper).all()
    assert (found.p_value == 1).all()
    assert found.waiting_for == f"needs 50 outcomes per arm, arm 1 has {arms.sum()}"


def test_bounds_are_finite_from_the_first_look_after_burn_in() -> None:
    rng = np.random.default_rng(0)
    found = compare(draw(rng, 0.5, (500,)), rng.normal(size=500), 0.5)

    assert found.waiting_for is None
    assert found.started is not None
    assert np.isinf(found.lower[: found.started]).all()
    assert np.isfinite(found.lower[found.started :]).all()


@pytest.mark.parametrize("n", [0, 1, WARM_UP, WARM_UP + 1])
def test_few_observations_are_no_error(n: int) -> None:
    found = compare(np.zeros(n, dtype=np.int64), np.ones(n), 0.5)

    assert found.started is None
    assert found.waiting_for is not None
    assert found.lower.shape == (n,)


def test_constant_rewards_never_open() -> None:
    found = compare(np.arange(5000) % 2, np.full(5000, 0.1), 0.5)

    assert found.started is None
    assert found.estimate[-1] == pytest.approx(0.0, abs=1e-12)


def test_adding_a_constant_or_changing_the_unit_changes_nothing_else() -> None:
    rng = np.random.default_rng(3)
    arms, rewards = draw(rng, 0.2, (3000,)), rng.lognormal(size=3000)

    plain, moved = compare(arms, rewards, 0.2), compare(arms, 1000 + 60 * rewards, 0.2)

    np.testing.assert_allclose(moved.lower, 60 * plain.lower, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(moved.p_value, plain.p_value, rtol=1e-5, atol=1e-12)


def test_swapping_the_arms_mirrors_the_interval() -> None:
    rng = np.random.default_rng(3)
    arms, rewards = draw(rng, 0.2, (3000,)), rng.lognormal(size=3000)

    one, other = compare(arms, rewards, 0.2), compare(1 - arms, rewards, 0.8)

    np.testing.assert_allclose(one.lower, -other.upper)


def test_a_batch_is_its_runs() -> None:
    rng = np.random.default_rng(3)
    arms, rewards = draw(rng, 0.5, (4, 900)), rng.normal(size=(4, 900))

    together = compare(arms, rewards, 0.5)

    for run in range(4):
        np.testing.assert_allclose(together.lower[run], compare(arms[run], rewards[run], 0.5).lower)


def test_the_past_does_not_change_when_more_arrives() -> None:
    rng = np.random.default_rng(3)
    arms, rewards = draw(rng, 0.5, (900,)), rng.normal(size=900)

    short, long = compare(arms[:500], rewards[:500], 0.5), compare(arms, rewards, 0.5)

    np.testing.assert_array_equal(short.upper, long.upper[:500])


def test_p_value_falls_below_alpha_exactly_when_zero_is_excluded() -> None:
    rng = np.random.default_rng(3)
    arms = draw(rng, 0.5, (20, 3000))

    found = compare(arms, rng.normal(0.1 * arms), 0.5)

    assert found.excludes().any()
    np.testing.assert_array_equal(found.excludes(), found.p_value < 0.05)


def test_a_third_arm_widens_but_does_not_move_the_estimate() -> None:
    rng = np.random.default_rng(4)
    runs, n = 300, 2000
    arms = rng.integers(0, 3, (runs, n))
    rewards = rng.normal(np.array([1.0, 1.2, 9.0])[arms])

    found = difference_sequence(
        arms, rewards, 1 / 3, candidate=1, baseline=0, shares=(1 / 3, 1 / 3)
    )

    last = found.estimate[:, -1]
    assert abs(last.mean() - 0.2) < 3 * last.std() / np.sqrt(runs)


@pytest.mark.parametrize("share", [0.5, 0.1])
@pytest.mark.parametrize("reward", REWARDS)
def test_equal_arms_rarely_have_a_winner_under_continuous_watching(
    reward: str, share: float
) -> None:
    runs, n = 200, 10_000
    rng = np.random.default_rng(5)
    arms = draw(rng, share, (runs, n))

    found = compare(arms, REWARDS[reward](rng, arms.shape), share)

    assert found.excludes().any(axis=1).sum() <= most(runs, 0.05)


@pytest.mark.parametrize("average", ["plain", "overlap"])
def test_changed_weights_and_a_moving_base_rate_make_no_winner(average: str) -> None:
    runs, n = 200, 10_000
    rng = np.random.default_rng(6)
    late = np.arange(n) >= n // 2
    share = np.where(late, 0.5, 0.1)
    arms = (rng.random((runs, n)) < share).astype(np.int64)
    rewards = (rng.random((runs, n)) < np.where(late, 0.15, 0.05)) * 1.0

    found = compare(
        arms, rewards, share, overlap(share, 1 - share) if average == "overlap" else 1.0
    )

    assert found.excludes().any(axis=1).sum() <= most(runs, 0.05)
    # What is avoided: the pooled means of the two arms differ by three to four points.
    pooled = [np.where(arms == arm, rewards, 0).sum() / (arms == arm).sum() for arm in (0, 1)]
    assert pooled[1] - pooled[0] > 0.03


def test_overlap_rescues_a_ramp_from_99_to_1() -> None:
    rng = np.random.default_rng(7)
    n = 10_000
    share = np.where(np.arange(n) >= n // 2, 0.5, 0.01)
    arms = (rng.random(n) < share).astype(np.int64)
    rewards = (rng.random(n) < 0.1 + 0.05 * arms) * 1.0

    plain = compare(arms, rewards, share)
    weighed = compare(arms, rewards, share, overlap(share, 1 - share))

    assert not plain.excludes()[-1]
    assert weighed.lower[-1] > 0


def test_a_stretch_with_one_arm_off_counts_for_nothing() -> None:
    rng = np.random.default_rng(8)
    n = 6000
    off = np.arange(n) >= n // 2
    share = np.where(off, 0.0, 0.5)
    arms = (rng.random(n) < share).astype(np.int64)
    rewards = rng.normal(0.3 * arms + 5.0 * off)

    found = compare(arms, rewards, share, overlap(share, 1 - share))

    np.testing.assert_allclose(found.lower[off], found.lower[n // 2 - 1], atol=1e-9)
    assert found.opening is not None
    baseline = found.opening.outcomes[1]
    assert baseline[-1] == baseline[n // 2 - 1]


def test_power_is_at_least_seven_tenths_of_the_planned_z_test() -> None:
    runs, n, base = 200, 20_000, 0.1
    lift = (1.959964 + 1.281552) * np.sqrt(2 * 2 * base * (1 - base) / n)
    rng = np.random.default_rng(9)
    arms = draw(rng, 0.5, (runs, n))
    rewards = (rng.random((runs, n)) < base + lift * arms) * 1.0

    found = (compare(arms, rewards, 0.5).lower > 0).any(axis=1).sum()

    assert found >= fewest(runs, 0.7 * 0.9)


def test_coverage_of_a_true_difference_at_every_look() -> None:
    runs, n = 300, 4000
    rng = np.random.default_rng(10)
    arms = draw(rng, 0.3, (runs, n))

    found = compare(arms, rng.normal(0.25 * arms, 1 + arms), 0.3)

    assert found.excludes(0.25).any(axis=1).sum() <= most(runs, 0.05)


def test_bonferroni_splits_alpha() -> None:
    assert bonferroni(0.05, 4) == pytest.approx(0.0125)
    with pytest.raises(ValueError, match="at least 1"):
        bonferroni(0.05, 0)


def test_an_arm_against_itself_is_an_error() -> None:
    with pytest.raises(ValueError, match="same arm"):
        difference_sequence(np.zeros(3, dtype=int), np.zeros(3), 0.5, candidate=1, baseline=1)


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_alpha_outside_the_unit_interval_is_an_error(alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha"):
        difference_sequence(
            np.zeros(3, dtype=int), np.zeros(3), 0.5, candidate=1, baseline=0, alpha=alpha
        )
