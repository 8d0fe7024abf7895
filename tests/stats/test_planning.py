"""Sample sizes and power, and forecasts as ranges."""

import math

import numpy as np
import pytest
from scipy import stats

from mlops.stats.arm_mean import mean_sequence
from mlops.stats.bayes import calibrated, posterior
from mlops.stats.difference import difference_sequence
from mlops.stats.paired import TIGHTEST_AT
from mlops.stats.planning import plan, power, score_variance, unit_variance
from mlops.stats.sample_size import remaining_range, shrunken
from tests.stats.tolerance import fewest, most


@pytest.mark.parametrize("horizon", [True, False])
@pytest.mark.parametrize("lift", [0.10, 0.16])
def test_power_is_that_of_simulated_tests(horizon: bool, lift: float) -> None:
    runs, n = 200, 4000
    rng = np.random.default_rng(0)
    arms = rng.integers(0, 2, (runs, n))

    found = difference_sequence(
        arms, rng.normal(lift * arms), 0.5,
        candidate=1, baseline=0, horizon=n if horizon else None,
    )  # fmt: skip
    hits = (found.lower > 0).any(axis=1).sum()
    said = power(lift, 4.0, n, horizon=horizon)

    assert fewest(runs, max(said - 0.05, 0)) <= hits <= most(runs, min(said + 0.05, 1))


def test_power_of_pairs() -> None:
    runs, n = 150, 400
    values = np.random.default_rng(1).normal(0.17, 1.0, (runs, n))

    hits = (mean_sequence(values, tightest_at=TIGHTEST_AT).lower > 0).any(axis=1).sum()
    said = power(0.17, 1.0, n, smallest_share=1.0, tightest_at=TIGHTEST_AT)

    assert fewest(runs, said - 0.06) <= hits <= most(runs, said + 0.06)


def test_a_horizon_needs_little_more_than_the_fixed_test() -> None:
    fixed = 4.0 * ((stats.norm.isf(0.025) + stats.norm.isf(0.2)) / 0.1) ** 2

    planned, open_end = (plan(0.1, 4.0, horizon=each).observations for each in (True, False))

    assert planned is not None
    assert open_end is not None
    assert 1.0 < planned / fixed < 1.08
    assert open_end > 1.3 * planned


def test_a_hopeless_test_is_called_so() -> None:
    assert plan(0.0, 1.0).observations is None
    assert plan(0.0, 1.0).hopeless
    slow = plan(0.001, 0.36, per_day=1000)
    assert slow.hopeless
    assert slow.days == pytest.approx((slow.observations or 0) / 1000)
    assert not plan(0.05, 0.36, per_day=1000).hopeless


def test_fewer_shares_and_shared_units_take_more() -> None:
    assert score_variance((1.0, 1.0), (0.05, 0.95)) == pytest.approx(1 / 0.0475)
    assert unit_variance(1.0, 0.0, 4) == pytest.approx(0.25)
    assert unit_variance(1.0, 1.0, 4) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="positive"):
        power(0.1, 0.0, 10)


def test_the_forecast_range_holds_the_truth_in_most_runs() -> None:
    runs, n, asked, lift = 60, 12_000, 1000, 0.15
    rng = np.random.default_rng(2)
    arms = rng.integers(0, 2, (runs, n))
    rewards = rng.normal(lift * arms)
    found = difference_sequence(arms, rewards, 0.5, candidate=1, baseline=0)
    inside = 0
    for run in range(runs):
        decided = np.flatnonzero(found.excludes()[run])
        real = decided[0] if decided.size else n
        low, high = remaining_range(
            float(found.estimate[run, asked]), (1.0, 1.0), (0.5, 0.5), asked
        )
        inside += low * 0.6 <= max(real - asked, 0) <= (math.inf if high is None else high)

    assert inside >= fewest(runs, 0.75)


def test_shrinking_pulls_towards_nothing() -> None:
    assert shrunken(0.2, 100.0, 0.01) == pytest.approx(0.1)
    assert shrunken(0.2, 1e9, 0.01) == pytest.approx(0.2)


def test_what_is_named_is_nearer_the_truth_when_shrunken() -> None:
    runs, n, lift = 100, 6000, 0.08
    rng = np.random.default_rng(3)
    arms = rng.integers(0, 2, (runs, n))
    found = difference_sequence(arms, rng.normal(lift * arms), 0.5, candidate=1, baseline=0)
    named, less = [], []
    for run in range(runs):
        wins = np.flatnonzero(found.lower[run] > 0)
        if wins.size:
            estimate = float(found.estimate[run, wins[0]])
            named.append(estimate)
            less.append(
                shrunken(
                    estimate, float(found.variance[run, wins[0]]), float(found.precision[run, 0])
                )
            )

    assert np.mean(named) > 1.3 * lift
    assert abs(np.mean(less) - lift) < abs(np.mean(named) - lift)


def test_beliefs_where_they_are_shown_are_right() -> None:
    runs = 120
    rng = np.random.default_rng(4)
    said, right = [], []
    assert calibrated([5700, 300], 15.0)
    assert not calibrated([5700, 200], 15.0)
    for _ in range(runs):
        n = [5700, 300]
        effect = rng.normal(0, 0.15)
        rewards = [-(rng.normal(size=size) ** 2) for size in n]
        rewards[1] = rewards[1] + effect
        p = posterior(
            n, [r.mean() for r in rewards], [r.var(ddof=1) for r in rewards], binary=False
        ).p_best[1]
        if max(p, 1 - p) > 0.95:
            said.append(max(p, 1 - p))
            right.append((p > 0.5) == (effect > 0))

    assert np.mean(right) > np.mean(said) - 0.06
