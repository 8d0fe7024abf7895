"""The sequential sample-ratio test."""

import math

import numpy as np
import pytest
from scipy import stats

from mlops.stats.sample_ratio import (
    ALPHA,
    CONCENTRATIONS,
    TILTS,
    largest_by_stratum,
    largest_evidence,
    latched_at,
    log_evidence,
    sample_ratio,
    sample_ratio_path,
    tilted_evidence,
)
from tests.stats.tolerance import fewest, most

HALF = np.array([0.5, 0.5])


def test_one_observation_is_no_evidence() -> None:
    assert float(log_evidence(np.array([1, 0]), HALF)) == pytest.approx(0.0)


def test_two_alike_by_hand() -> None:
    # Under Dirichlet(c/2, c/2) the second is like the first with probability (c/2 + 1) / (c + 1).
    each = [(c / 2 + 1) / (c + 1) / 0.5 for c in CONCENTRATIONS]

    assert float(log_evidence(np.array([2, 0]), HALF)) == pytest.approx(math.log(np.mean(each)))


@pytest.mark.parametrize("weights", [[0.5, 0.5], [0.9, 0.1], [0.2, 0.3, 0.5]])
def test_agrees_with_the_dirichlet_multinomial_of_scipy(weights: list[float]) -> None:
    share = np.array(weights)
    counts = np.array([40, 25, 35][: share.size])
    n = int(counts.sum())
    null = stats.multinomial.pmf(counts, n, share)
    each = [stats.dirichlet_multinomial.pmf(counts, c * share, n) / null for c in CONCENTRATIONS]

    assert float(log_evidence(counts, share)) == pytest.approx(math.log(np.mean(each)))


def test_path_ends_at_the_value_of_the_counts() -> None:
    rng = np.random.default_rng(0)
    strata = np.repeat([0, 1, 0], 300)
    weights = [[0.9, 0.1], [0.5, 0.5]]
    arms = (rng.random(900) < np.where(strata == 1, 0.5, 0.1)).astype(np.int64)

    path = sample_ratio_path(arms, strata, weights)

    counts = [[(arms[strata == s] == a).sum() for a in (0, 1)] for s in (0, 1)]
    expected = sum(
        float(log_evidence(np.array(row), np.array(share)))
        for row, share in zip(counts, weights, strict=True)
    )
    assert path[-1] == pytest.approx(expected)
    assert sample_ratio(counts, weights).p_value == pytest.approx(math.exp(-max(expected, 0)))


def test_changed_weights_are_not_pooled() -> None:
    counts, weights = [[9000, 1000], [5000, 5000]], [[0.9, 0.1], [0.5, 0.5]]

    assert not sample_ratio(counts, weights).mismatch
    assert sample_ratio([14_000, 6000], HALF).mismatch


def test_a_visit_to_an_arm_that_was_off_is_a_mismatch() -> None:
    assert sample_ratio([50, 1], [1.0, 0.0]).p_value == 0.0
    assert sample_ratio([50, 0], [1.0, 0.0]).p_value == 1.0
    path = sample_ratio_path(np.array([0, 1, 0, 0]), np.array([0, 0, 0, 0]), [[1.0, 0.0]])
    assert path.tolist() == [0.0, math.inf, math.inf, math.inf]


def test_nothing_seen_is_no_mismatch() -> None:
    assert sample_ratio([0, 0], HALF).p_value == 1.0


@pytest.mark.parametrize("share", [0.5, 0.1, 0.01])
def test_false_alarms_under_continuous_watching(share: float) -> None:
    runs, n = 400, 3000
    ones = np.cumsum(np.random.default_rng(1).random((runs, n)) < share, axis=1)
    counts = np.stack([np.arange(1, n + 1) - ones, ones], axis=-1)

    path = log_evidence(counts, np.array([1 - share, share]))

    assert (path.max(axis=1) >= -math.log(ALPHA)).sum() <= most(runs, ALPHA)


def test_evidence_has_mean_one_under_the_promise() -> None:
    # An e-value's defining property, checked exactly: all outcomes of 12 draws.
    share = np.array([0.7, 0.3])
    x = np.arange(13)
    counts = np.stack([12 - x, x], axis=-1)

    mean = (np.exp(log_evidence(counts, share)) * stats.binom.pmf(x, 12, 0.3)).sum()

    assert mean == pytest.approx(1.0)


def test_finds_52_to_48_within_20000() -> None:
    runs, n = 100, 20_000
    ones = np.cumsum(np.random.default_rng(2).random((runs, n)) < 0.48, axis=1)
    counts = np.stack([np.arange(1, n + 1) - ones, ones], axis=-1)

    path = log_evidence(counts, HALF)

    assert (path.max(axis=1) >= -math.log(ALPHA)).sum() >= fewest(runs, 0.95)


def test_finds_a_gross_fault_within_dozens() -> None:
    assert sample_ratio([30, 0], HALF).mismatch


@pytest.mark.parametrize("weights", [[0.5, 0.6], [-0.5, 1.5]])
def test_weights_must_be_a_distribution(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="distribution"):
        sample_ratio([1, 1], weights)


def test_shapes_must_match() -> None:
    with pytest.raises(ValueError, match="match"):
        sample_ratio([1, 1, 1], HALF)
    with pytest.raises(ValueError, match="one shape"):
        sample_ratio_path(np.array([0]), np.array([0, 0]), [HALF])


def test_a_mismatch_stays_when_later_counts_hide_it() -> None:
    # For a moment only: 60 in a row of the first arm, and then all that they lack.
    arms = np.repeat([0, 1, 0, 1], [60, 60, 5000, 5000])
    arms[120:] = np.tile([0, 1], 5000)
    strata = np.zeros(arms.size, dtype=np.int64)

    found = latched_at(largest_evidence([(arms, strata)], [[0.5, 0.5]]))

    assert found.mismatch
    assert found.p_value == pytest.approx(sample_ratio([60, 0], [0.5, 0.5]).p_value)
    assert not sample_ratio(np.bincount(arms), [0.5, 0.5]).mismatch
    rest = [(arms[120:], strata[120:])]
    assert not latched_at(largest_evidence(rest, [[0.5, 0.5]])).mismatch


def test_betting_is_the_likelihood_ratio_of_tilted_odds() -> None:
    arms, p = np.array([0, 1]), np.array([[0.8, 0.2], [0.5, 0.5]])
    expected = []
    for tilt in TILTS:
        for arm in (0, 1):
            odds = np.exp(tilt * (arms == arm)) / (1 - p[:, arm] + p[:, arm] * np.exp(tilt))
            expected.append(odds.prod())

    assert tilted_evidence(arms, p)[-1] == pytest.approx(np.log(np.mean(expected)))


def test_a_learning_policy_rarely_alarms_and_a_broken_one_does() -> None:
    runs, n = 200, 2000
    rng = np.random.default_rng(0)
    alarms = found = 0
    for _ in range(runs):
        share = np.clip(0.5 + 0.4 * np.sin(np.arange(n) / 150 + rng.random()), 0.05, 0.95)
        p = np.stack([1 - share, share], axis=1)
        fair = (rng.random(n) < share) * 1
        broken = (rng.random(n) < 0.85 * share) * 1
        alarms += tilted_evidence(fair, p).max() >= np.log(100)
        found += tilted_evidence(broken, p).max() >= np.log(100)

    assert alarms <= most(runs, 0.01)
    assert found >= fewest(runs, 0.9)


def test_an_impossible_arm_is_certain() -> None:
    assert tilted_evidence(np.array([0, 1]), np.array([[1.0, 0.0], [1.0, 0.0]])).tolist() == [
        0.0,
        np.inf,
    ]


def test_doubt_comes_before_proof_and_passes() -> None:
    early = sample_ratio([215, 285], HALF)

    assert early.doubtful
    assert not early.mismatch
    assert not sample_ratio([4980, 5020], HALF).doubtful


def test_the_largest_of_each_stratum_is_as_if_it_were_alone() -> None:
    rng = np.random.default_rng(3)
    weights = [[0.5, 0.5], [0.9, 0.1], [0.2, 0.8]]
    strata = np.repeat([0, 1, 2], [300, 500, 200])
    arms = (rng.random(strata.size) < np.repeat([0.6, 0.3, 0.8], [300, 500, 200])).astype(int)
    pieces = [
        (arms[start : start + 70], strata[start : start + 70]) for start in range(0, 1000, 70)
    ]

    together, each = largest_by_stratum(pieces, weights)

    assert together == pytest.approx(max(sample_ratio_path(arms, strata, weights)))
    for stratum, largest in enumerate(each):
        own = arms[strata == stratum]
        alone = [(own, np.zeros(own.size, dtype=np.int64))]
        assert largest == pytest.approx(largest_evidence(alone, [weights[stratum]]))
