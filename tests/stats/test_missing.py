"""Missing feedback: the test of rates, and the bounds."""

import numpy as np
import pytest

from mlops.stats.missing import (
    lee_bounds,
    manski_bounds,
    missing_feedback,
    robust_interval,
    tipping_share,
)
from mlops.stats.sample_ratio import log_evidence
from tests.stats.tolerance import most

HALF = np.array([0.5, 0.5])


@pytest.mark.parametrize(
    ("asked", "answered", "differs"),
    [
        ([20_000, 20_000], [20_000, 19_600], True),
        ([6000, 6000], [300, 480], True),
        ([6000, 6000], [5760, 6000], True),
        ([6000, 6000], [300, 310], False),
        ([9500, 500], [9500, 500], False),
    ],
)
def test_differing_rates_are_seen(asked: list[int], answered: list[int], differs: bool) -> None:
    weights = np.array(asked) / sum(asked)

    assert missing_feedback(asked, answered, weights).differs is differs


def test_evidence_is_the_mean_of_three_martingales() -> None:
    spoke, silent = (float(log_evidence(np.array(x), HALF)) for x in ([30, 50], [70, 40]))

    found = missing_feedback([100, 90], [30, 50], HALF)

    expected = 3 / (np.exp(spoke) + np.exp(silent) + np.exp(spoke + silent))
    assert found.p_value == pytest.approx(min(expected, 1.0))
    assert found.rates.tolist() == pytest.approx([0.3, 50 / 90])


@pytest.mark.parametrize("rate", [0.05, 0.95])
@pytest.mark.parametrize("share", [0.5, 0.05])
def test_equal_rates_rarely_alarm_watched_all_the_time(rate: float, share: float) -> None:
    runs, n = 300, 4000
    rng = np.random.default_rng(0)
    ones, spoke = rng.random((runs, n)) < share, rng.random((runs, n)) < rate
    weights = np.array([1 - share, share])

    def path(mask: np.ndarray) -> np.ndarray:
        counts = np.stack([np.cumsum(mask & ~ones, axis=1), np.cumsum(mask & ones, axis=1)], -1)
        return log_evidence(counts.astype(np.int64), weights)

    one, other = path(spoke), path(~spoke)
    log_e = np.logaddexp(np.logaddexp(one, other), one + other) - np.log(3)

    assert (log_e.max(axis=1) >= np.log(100)).sum() <= most(runs, 0.01)


def test_impossible_counts_are_errors() -> None:
    with pytest.raises(ValueError, match="among asked"):
        missing_feedback([10, 10], [11, 0], HALF)


def test_manski_with_all_answers_is_the_difference() -> None:
    assert manski_bounds((0.7, 0.4), (1.0, 1.0), (0, 1)) == pytest.approx((0.3, 0.3))


def test_manski_holds_whatever_was_missing() -> None:
    rng = np.random.default_rng(1)
    ours, theirs = rng.random(1000), rng.random(1000)
    seen = ours > 0.2  # only the pleased answer

    low, high = manski_bounds((ours[seen].mean(), theirs.mean()), (seen.mean(), 1.0), (0, 1))

    assert low <= ours.mean() - theirs.mean() <= high


def test_lee_trims_by_the_known_share() -> None:
    # Half again as many answers in the candidate: a third of them is trimmed.
    candidate, baseline = np.arange(6.0), np.array([2.0, 3.0])

    assert lee_bounds(candidate, baseline, (0.6, 0.4)) == pytest.approx((1.5 - 2.5, 3.5 - 2.5))
    assert lee_bounds(baseline, candidate, (0.4, 0.6)) == pytest.approx((2.5 - 3.5, 2.5 - 1.5))
    assert lee_bounds(candidate, baseline, (0.5, 0.5)) == pytest.approx((0.0, 0.0))


def test_lee_holds_those_who_answer_anyway() -> None:
    rng = np.random.default_rng(2)
    satisfied, always = rng.random(4000), rng.random(4000) < 0.3
    # The candidate also moves some satisfied users to answer; it changes no one's satisfaction.
    extra = ~always & (satisfied > 0.7)

    ours, theirs = satisfied[always | extra], satisfied[always]
    low, high = lee_bounds(ours, theirs, ((always | extra).mean(), always.mean()))

    assert ours.mean() - theirs.mean() > 0.1
    assert low <= 0 <= high


def test_tipping_share() -> None:
    assert tipping_share(lead=0.1, mean=1.0, rate=0.5, bad=0.0) == pytest.approx(0.2)
    assert tipping_share(lead=0.6, mean=1.0, rate=0.5, bad=0.0) is None
    assert tipping_share(lead=0.1, mean=1.0, rate=1.0, bad=0.0) is None


def test_an_effect_made_by_who_is_missing_does_not_stand() -> None:
    rng = np.random.default_rng(3)
    ours, theirs = -(rng.normal(size=800) ** 2), -(rng.normal(size=800) ** 2)
    left = ours[ours > np.quantile(ours, 0.04)]
    gap = left.mean() - theirs.mean()

    low, high = robust_interval((gap - 0.1, gap + 0.1), left, theirs, (0.96, 1.0))

    assert gap - 0.1 > 0
    assert low < 0
    assert high > gap + 0.1
    assert robust_interval((0.1, 0.2), left, theirs, (0.5, 0.5)) == pytest.approx((0.1, 0.2))
    assert robust_interval((0.1, 0.2), left[:0], theirs, (0.0, 0.5)) == (0.1, 0.2)
