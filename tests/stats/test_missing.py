"""Missing feedback: the test of rates, and the bounds."""

import math
import tracemalloc

import numpy as np
import pytest

from mlops.stats.missing import (
    lee_bounds,
    manski_bounds,
    missing_feedback,
    robust_interval,
    tipping_share,
    weighted_rates,
)
from mlops.stats.sample_ratio import log_evidence, tilted_evidence, tilted_log_evidence
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


@pytest.mark.parametrize("rates", [(0.5, math.nan), (math.nan, 0.5), (math.nan, math.nan)])
def test_an_unknown_rate_moves_nothing(rates: tuple[float, float]) -> None:
    rewards = np.arange(4.0)

    assert robust_interval((0.1, 0.2), rewards, rewards, rates) == (0.1, 0.2)
    with pytest.raises(ValueError, match="needs an answer"):
        lee_bounds(rewards, rewards, rates)


def learning_policy(
    rng: np.random.Generator, n: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Potential rewards and responses of n requests under two arms, the arms, and their weights.

    Answers get rarer, rewards better and the second arm more probable with time: pooled shares and
    means are wrong by far, and late epochs have no answer at all.
    """
    epochs = np.arange(n) // 20
    time = epochs / epochs.max()
    always = rng.random(n) < 0.9 - 1.2 * time
    # The second arm moves some of those who are pleased to answer, and nobody to be silent.
    rewards = (rng.random((2, n)) < np.stack([0.2 + 0.5 * time, 0.3 + 0.5 * time])).astype(float)
    answers = np.stack([always, always | ((rng.random(n) < 0.2 * (time < 0.6)) & (rewards[1] > 0))])
    weights = np.stack([0.8 - 0.6 * time, 0.2 + 0.6 * time])
    arms = (rng.random(n) < weights[1]).astype(np.int64)
    return rewards, answers, arms, weights, epochs


@pytest.mark.parametrize("seed", range(5))
def test_weighted_bounds_are_those_of_all_requests(seed: int) -> None:
    n = 20_000
    rewards, answers, arms, weights, epochs = learning_policy(np.random.default_rng(seed), n)
    # By brute force: every request under both arms, the silent ones at the ends of the range.
    low, high = (np.where(answers, rewards, end).mean(axis=1) for end in (0.0, 1.0))
    everybody = [rewards[arm][answers[arm]] for arm in (0, 1)]
    true_rates = answers.mean(axis=1)

    of = np.stack([weights[:, epochs == epoch][:, 0] for epoch in range(epochs.max() + 1)])
    asked, told = np.zeros(of.shape, dtype=np.int64), np.zeros(of.shape, dtype=np.int64)
    seen = answers[arms, np.arange(n)]
    np.add.at(asked, (epochs, arms), 1)
    np.add.at(told, (epochs[seen], arms[seen]), 1)
    base, candidate = weighted_rates(asked, told, of)
    own = [(arms == arm) & seen for arm in (0, 1)]
    theirs, ours = (rewards[arm][own[arm]] for arm in (0, 1))
    odds = [1 / weights[arm][own[arm]] for arm in (0, 1)]
    means = np.average(ours, weights=odds[1]), np.average(theirs, weights=odds[0])
    manski = manski_bounds((float(means[0]), float(means[1])), (candidate, base), (0, 1))
    lee = lee_bounds(ours, theirs, (candidate, base), (odds[1], odds[0]))

    # Four standard errors of a weighted mean of values in [0, 1] per arm.
    error = 4 * float(np.sqrt((1 / weights).mean(axis=1).sum() / 4 / n))
    assert (base, candidate) == pytest.approx(tuple(true_rates), abs=error)
    assert manski == pytest.approx((low[1] - high[0], high[1] - low[0]), abs=error)
    brute = lee_bounds(everybody[1], everybody[0], (true_rates[1], true_rates[0]))
    assert lee == pytest.approx(brute, abs=error / true_rates.min())
    # They hold the truth, which the shares and means as they came do not lead to.
    truth = rewards[1].mean() - rewards[0].mean()
    assert manski[0] < truth < manski[1]
    assert abs(own[1].sum() / (arms == 1).sum() - true_rates[1]) > 2 * error


def test_weights_of_one_stratum_cancel() -> None:
    candidate, baseline = np.arange(6.0), np.array([2.0, 3.0])
    alike = (np.full(6, 5.0), np.full(2, 1.25))

    assert lee_bounds(candidate, baseline, (0.6, 0.4), alike) == pytest.approx((-1.0, 1.0))
    assert robust_interval((0.1, 0.2), candidate, baseline, (0.6, 0.4), alike) == pytest.approx(
        robust_interval((0.1, 0.2), candidate, baseline, (0.6, 0.4))
    )


def test_weights_are_those_of_copies() -> None:
    values, copies = np.array([0.0, 3.0, 1.0, 7.0]), np.array([3, 1, 2, 2])
    other = np.array([1.0])

    weighted = lee_bounds(values, other, (0.8, 0.3), (copies.astype(float), np.ones(1)))

    assert weighted == pytest.approx(lee_bounds(np.repeat(values, copies), other, (0.8, 0.3)))


@pytest.mark.parametrize("rates", [(0.9, 0.6), (0.6, 0.9), (1.0, 1.0), (1e-9, 1.0)])
def test_trimming_keeps_that_part_of_the_weight(rates: tuple[float, float]) -> None:
    rng = np.random.default_rng(6)
    rewards = rng.integers(0, 5, (2, 50)).astype(float), rng.random((2, 50)) + 0.1
    for values, weights in (rewards, (rewards[0], np.ones((2, 50)))):
        found = lee_bounds(values[0], values[1], rates, (weights[0], weights[1]))

        kept = min(rates) / max(rates)
        ends = []
        for sign in (1, -1):
            more = 0 if rates[0] >= rates[1] else 1
            order = np.argsort(sign * values[more])
            ordered, of = values[more][order], weights[more][order]
            # Each weight counts as far as those before it leave something.
            of = np.clip(kept * of.sum() - (np.cumsum(of) - of), 0, of)
            trimmed = np.average(ordered, weights=of)
            other = np.average(values[1 - more], weights=weights[1 - more])
            ends.append(other - trimmed if more else trimmed - other)
        assert found == pytest.approx((min(ends), max(ends)))
    plain = lee_bounds(rewards[0][0], rewards[0][1], rates)
    assert plain == pytest.approx(found)


def test_bounds_of_many_requests_take_little_memory() -> None:
    rng = np.random.default_rng(7)
    ours, theirs = rng.random(200_000), rng.random(200_000)
    tracemalloc.start()
    robust_interval((0.1, 0.2), ours, theirs, (0.9, 0.8))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    # The rewards of one arm, in order.
    assert peak < 1.2 * ours.nbytes


def test_the_bet_over_strata_is_that_of_each_draw() -> None:
    rng = np.random.default_rng(4)
    of = rng.dirichlet(np.ones(3), size=40)
    strata = rng.integers(0, 40, 500)
    arms = np.array([rng.choice(3, p=of[stratum]) for stratum in strata])
    counts = np.zeros(of.shape, dtype=np.int64)
    np.add.at(counts, (strata, arms), 1)

    assert tilted_log_evidence(counts, of) == pytest.approx(tilted_evidence(arms, of[strata])[-1])


def test_with_a_second_stratum_the_evidence_stays_a_martingale() -> None:
    first, share = [60, 20], 0.3
    weights = [[0.5, 0.5], [1 - share, share]]

    def evidence(*asked: list[int]) -> float:
        # Nobody is silent, so that the mean of the three is (E + 1 + E) / 3.
        found = missing_feedback(list(asked), list(asked), weights[: len(asked)])
        assert found.p_value < 1
        return (3 / found.p_value - 1) / 2

    begun = evidence(first)
    assert evidence(first, [0, 0]) == pytest.approx(begun)
    # Its mean over all that six draws may come to.
    n = 6
    chances = [math.comb(n, x) * share**x * (1 - share) ** (n - x) for x in range(n + 1)]
    mean = sum(p * evidence(first, [n - x, x]) for x, p in enumerate(chances))
    assert mean == pytest.approx(begun)


@pytest.mark.parametrize("differs", [False, True])
def test_rates_are_compared_within_each_of_many_epochs(differs: bool) -> None:
    rng = np.random.default_rng(5)
    share = np.linspace(0.9, 0.1, 300)
    weights = np.stack([share, 1 - share], axis=1)
    asked = rng.multinomial(15, weights)
    # Everybody answers at first, and nobody in the end.
    rates = np.linspace(1, 0, 300)[:, None] * ([1.0, 0.7] if differs else [1.0, 1.0])
    found = missing_feedback(asked, rng.binomial(asked, rates), weights)

    assert found.differs is differs
    assert found.rates[0] - found.rates[1] > 0.2
    if not differs:
        assert found.weighted[0] == pytest.approx(found.weighted[1], abs=0.05)
