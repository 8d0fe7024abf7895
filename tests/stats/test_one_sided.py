"""Worse, or not worse by more than a margin: exact, at every look."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from mlops.stats.one_sided import (
    Losses,
    Side,
    beyond,
    bounds,
    count,
    evidence_path,
    log_evidence,
    thresholds,
)
from tests.stats.tolerance import most

_RAMP = np.array([[0.95, 0.05], [0.75, 0.25], [0.5, 0.5]])
_ALPHA, _RUNS = 0.05, 150


def drawn(
    rng: np.random.Generator, n: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Arms along a ramp, the step of each, and both probabilities, (2, n)."""
    strata = np.repeat(np.arange(3), n // 3)
    arms = (rng.random(strata.size) < _RAMP[strata, 1]).astype(np.int64)
    return arms, strata, _RAMP[strata][:, [1, 0]].T


@pytest.mark.parametrize(
    ("side", "rates", "margin"),
    [
        ("worse", (0.002, 0.002), 0.0),
        # The rate moves with the step: pooled, the canary would look bad.
        ("worse", (0.02, 0.02), 0.0),
        ("worse", (0.02, 0.05), 0.03),
        ("not worse", (0.02, 0.05), 0.03),
        ("not worse", (0.0, 0.01), 0.01),
    ],
)
def test_at_the_border_it_speaks_up_at_most_so_often(
    side: Side, rates: tuple[float, float], margin: float
) -> None:
    false = 0
    for seed in range(_RUNS):
        rng = np.random.default_rng(seed)
        arms, strata, shares = drawn(rng, 6_000)
        season = 1.0 if margin else np.array([1.0, 3.0, 0.2])[strata]
        lost = rng.random(arms.size) < np.array(rates)[arms] * season
        path = evidence_path(
            Losses(lost.astype(float), arms == 1, shares, np.ones(arms.size, np.int64)),
            side,
            margin,
        )
        false += bool(path.max() >= -math.log(_ALPHA))
    assert false <= most(_RUNS, _ALPHA)


def test_counts_say_what_the_path_ends_with() -> None:
    rng = np.random.default_rng(1)
    arms, strata, shares = drawn(rng, 3_000)
    for losses in (rng.random(arms.size), (rng.random(arms.size) < 0.1).astype(float)):
        one_by_one = Losses(losses, arms == 1, shares, np.ones(arms.size, np.int64))
        counted = count(losses, arms, strata, _RAMP, (1, 0))
        assert int(counted.counts.sum()) == arms.size
        for side, margin in (("worse", 0.0), ("worse", -0.2), ("not worse", 0.1)):
            path = evidence_path(one_by_one, side, margin)  # type: ignore[arg-type]
            assert log_evidence(counted, side, margin) == pytest.approx(path[-1])  # type: ignore[arg-type]


def test_units_of_others_and_of_an_arm_that_is_off_say_nothing() -> None:
    weights = np.array([[0.4, 0.4, 0.2], [1.0, 0.0, 0.0]])
    arms, strata = np.array([0, 1, 2, 0]), np.array([0, 0, 0, 1])
    with_all = count(np.array([1.0, 1, 1, 1]), arms, strata, weights, (1, 0))
    without = count(np.array([1.0, 1, np.nan, np.nan]), arms, strata, weights, (1, 0))
    assert log_evidence(with_all, "worse") == log_evidence(without, "worse")
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        count(np.array([1.5]), np.array([1]), np.array([0]), weights, (1, 0))


def test_a_threshold_is_known_before_what_is_compared_with_it() -> None:
    rng = np.random.default_rng(2)
    values, is_baseline = rng.lognormal(3, 1, 4_000), rng.random(4_000) < 0.9
    tau = thresholds(values, is_baseline, 0.95)
    assert np.isnan(tau[:50]).all()
    changed = values.copy()
    changed[2_000:] *= 100
    same = thresholds(changed, is_baseline, 0.95)[:2_001]
    np.testing.assert_array_equal(tau[:2_001], same)
    assert tau[-1] == pytest.approx(np.quantile(values[is_baseline], 0.95), rel=0.1)
    lost = beyond(values, tau, ~is_baseline, 5.0)
    assert np.isnan(lost).sum() == np.isnan(tau).sum()


@pytest.mark.parametrize(("slower_ms", "inside"), [(0.0, 0.0), (30.0, 30.0)])
def test_bounds_of_a_quantile_hold_its_difference(slower_ms: float, inside: float) -> None:
    missed = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        arms, strata, _ = drawn(rng, 9_000)
        values = rng.lognormal(3.5, 1.0, arms.size) + slower_ms * arms
        tau = thresholds(values, arms == 0, 0.5)

        def log_e(side: Side, margin: float) -> float:
            lost = beyond(values, tau, arms == 1, margin)  # noqa: B023 - called here
            return log_evidence(count(lost, arms, strata, _RAMP, (1, 0)), side)  # noqa: B023

        lower, upper = bounds(log_e, _ALPHA, (-200.0, 200.0))
        missed += not lower <= inside <= upper
        assert upper - lower < 25
    assert missed <= most(40, 2 * _ALPHA)


def test_what_is_far_outside_has_no_bound() -> None:
    nothing = count(np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.int64), _RAMP, (1, 0))
    assert bounds(lambda s, m: log_evidence(nothing, s, m), 0.05, (-1, 1)) == (-np.inf, np.inf)
