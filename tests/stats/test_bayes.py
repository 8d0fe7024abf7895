"""P(best) and expected loss, and why they are no stopping rule."""

import numpy as np
import pytest
from bayesian_testing.metrics import eval_bernoulli_agg
from scipy import special, stats

from mlops.stats.bayes import posterior
from tests.stats.tolerance import fewest


def test_two_normal_arms_have_the_closed_form() -> None:
    n, means, variances = np.array([400, 400]), np.array([1.0, 1.1]), np.array([1.0, 2.0])

    found = posterior(n, means, variances, binary=False)

    error = np.sqrt(variances / n)
    spread = np.hypot(*error)
    gap = 0.1 / spread
    # The prior weighs one outcome in 400.
    assert found.p_best[1] == pytest.approx(stats.norm.cdf(gap), abs=2e-3)
    loss = spread * (stats.norm.pdf(gap) - gap * stats.norm.sf(gap))
    assert found.expected_loss[1] == pytest.approx(loss, rel=0.03)
    np.testing.assert_allclose(found.mean, means, atol=1e-3)


def test_two_beta_arms_have_the_exact_sum() -> None:
    # Evan Miller's closed form for P(B > A) with integer parameters.
    a_successes, b_successes, n = 12, 18, 100
    a, b = (1 + a_successes, 1 + n - a_successes), (1 + b_successes, 1 + n - b_successes)
    i = np.arange(b[0])
    exact = np.exp(
        special.betaln(a[0] + i, b[1] + a[1])
        - np.log(b[1] + i)
        - special.betaln(1 + i, b[1])
        - special.betaln(*a)
    ).sum()

    found = posterior([n, n], [0.12, 0.18], [0, 0], binary=True)

    assert found.p_best[1] == pytest.approx(exact, abs=2e-4)
    assert found.mean[0] == pytest.approx(13 / 102)
    assert found.lower[0] == pytest.approx(stats.beta.ppf(0.025, *a))


def test_agrees_with_bayesian_testing() -> None:
    totals, positives, draws = [1000, 900, 1100], [100, 105, 118], 200_000

    found = posterior(totals, np.divide(positives, totals), [0, 0, 0], binary=True)
    p_best, loss, _ = eval_bernoulli_agg(
        totals, positives, [1] * 3, [1] * 3, sim_count=draws, seed=1
    )

    np.testing.assert_allclose(found.p_best, p_best, atol=4 * np.sqrt(0.25 / draws))
    np.testing.assert_allclose(found.expected_loss, loss, atol=4 * 0.02 / np.sqrt(draws) + 1e-4)


def test_probabilities_sum_to_one_and_equal_arms_share() -> None:
    found = posterior([50] * 4, [2.0] * 4, [1.0] * 4, binary=False)

    np.testing.assert_allclose(found.p_best, 0.25, atol=1e-3)
    assert found.p_best.sum() == pytest.approx(1.0)


def test_very_different_sample_sizes_stay_accurate() -> None:
    found = posterior([1_000_000, 20], [0.10, 0.10], [0, 0], binary=True)

    exact = stats.beta.sf(0.10, 3, 19)
    assert found.p_best[1] == pytest.approx(exact, abs=1e-3)


@pytest.mark.parametrize("binary", [True, False])
def test_an_arm_without_outcomes_is_allowed(binary: bool) -> None:
    found = posterior([100, 0], [0.2, np.nan], [0.16, np.nan], binary=binary)

    assert np.isfinite(found.p_best).all()
    assert np.isfinite(found.expected_loss).all()


def test_equal_rewards_decide_nothing() -> None:
    found = posterior([5, 5], [3.0, 3.0], [0.0, 0.0], binary=False)

    np.testing.assert_allclose(found.p_best, 0.5, atol=1e-3)
    np.testing.assert_allclose(found.expected_loss, 0.0, atol=1e-6)


def test_no_outcomes_decide_nothing() -> None:
    found = posterior([0, 0], [0.0, 0.0], [0.0, 0.0], binary=True)

    np.testing.assert_allclose(found.p_best, 0.5, atol=1e-3)
    with pytest.raises(ValueError, match="no arm has an outcome"):
        posterior([0, 0], [0.0, 0.0], [0.0, 0.0], binary=False)


def test_stopping_at_95_per_cent_declares_far_too_many_winners() -> None:
    runs, looks, batch = 300, 30, 200
    rng = np.random.default_rng(3)
    successes = np.cumsum(rng.binomial(batch, 0.1, (runs, looks, 2)), axis=1)
    n = batch * np.arange(1, looks + 1)[:, None]
    rates = successes / n
    # The normal approximation of P(best), close at these counts, to spare 9,000 integrals.
    error = np.sqrt((rates * (1 - rates) / n).sum(axis=-1))
    p_best = stats.norm.cdf(np.abs(rates[..., 1] - rates[..., 0]) / error)

    winners = (p_best > 0.95).any(axis=1).sum()

    assert winners >= fewest(runs, 0.46)
    one = posterior([n[9, 0]] * 2, rates[0, 9], [0, 0], binary=True)
    assert one.p_best.max() == pytest.approx(p_best[0, 9], abs=0.01)


def test_impossible_statistics_are_errors() -> None:
    with pytest.raises(ValueError, match="one shape"):
        posterior([1, 2], [0.5], [0.1, 0.1], binary=False)
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        posterior([10, 10], [0.5, 1.5], [0, 0], binary=True)
