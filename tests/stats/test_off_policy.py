"""Off-policy estimates: formulas of the papers by hand, limits, and seeded coverage."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from mlops.stats import off_policy
from mlops.stats.off_policy import Replayed, RunningMeans

PI = (0.2, 0.8)


def drawn(
    rng: np.random.Generator, n: int, p: tuple[float, float], means: tuple[float, float]
) -> Replayed:
    """Bernoulli rewards of two arms, seen by fixed weights."""
    arms = (rng.random(n) < p[1]).astype(np.int64)
    rewards = (rng.random(n) < np.array(means)[arms]).astype(np.float64)
    return seen_by(arms, rewards, np.tile(p, (n, 1)))


def seen_by(arms: np.ndarray, rewards: np.ndarray, p: np.ndarray) -> Replayed:
    n = arms.size
    known = RunningMeans(2).take(arms, rewards)
    rows = np.arange(n)
    return Replayed(
        arms, rewards, np.array(PI)[arms] / p[rows, arms], known[rows, arms], known @ PI,
        np.ones(n), (np.array(PI) / p).max(axis=1), n * np.array(PI),
    )  # fmt: skip


def test_formulas_of_the_papers() -> None:
    # Six decisions with propensities that move, worked out one by one.
    arms, rewards = [0, 1, 1, 0, 1, 0], [1.0, 0.0, 2.0, 3.0, 1.0, 0.0]
    p = [(0.5, 0.5)] * 3 + [(0.9, 0.1)] * 3
    seen = seen_by(np.array(arms), np.array(rewards), np.array(p))
    w = [PI[a] / each[a] for a, each in zip(arms, p, strict=True)]
    ips = sum(weight * r for weight, r in zip(w, rewards, strict=True)) / 6
    snips = ips * 6 / sum(w)
    direct = 0.0
    for at in range(6):
        before = list(zip(arms, rewards, strict=True))[:at]
        pooled = sum(r for _, r in before) / max(at, 1)
        m = [
            (sum(r for a, r in before if a == arm) + 10 * pooled)
            / (sum(a == arm for a, _ in before) + 10)
            for arm in (0, 1)
        ]
        direct += m[0] * PI[0] + m[1] * PI[1] + w[at] * (rewards[at] - m[arms[at]])
    found = {each.estimator: each for each in off_policy.estimate(seen, 0.05)}
    assert found["IPS"].value == pytest.approx(ips)
    assert found["SNIPS"].value == pytest.approx(snips)
    assert found["DR"].value == pytest.approx(direct / 6)
    # SWITCH-DR and DRos for a given tuning, with the arms' means in the whole log.
    means = (4 / 3, 1.0)
    for used in (
        [0.0 if weight > 1.0 else weight for weight in w],
        [4 * weight / (weight**2 + 4) for weight in w],
    ):
        by_hand = sum(
            PI[0] * means[0] + PI[1] * means[1] + weight * (r - means[a])
            for weight, r, a in zip(used, rewards, arms, strict=True)
        )
        got, _ = off_policy.doubly_robust(seen, np.array(used), "x", 0.05)
        assert got.value == pytest.approx(by_hand / 6)
    assert off_policy.switch(np.array(w), 1.0).tolist() == pytest.approx(
        [0.0 if weight > 1.0 else weight for weight in w]
    )
    assert off_policy.weights_of(seen).effective == pytest.approx(
        sum(w) ** 2 / sum(weight**2 for weight in w)
    )


def test_guesses_may_be_made_in_parts() -> None:
    rng = np.random.default_rng(1)
    arms, rewards = rng.integers(0, 3, 50), rng.normal(size=50)
    whole, parts = RunningMeans(3), RunningMeans(3)
    split = [parts.take(arms[a:b], rewards[a:b]) for a, b in ((0, 7), (7, 7), (7, 50))]
    np.testing.assert_allclose(np.concatenate(split), whole.take(arms, rewards))


def test_nothing_is_known_of_a_variance_that_few_decisions_carry() -> None:
    seen = drawn(np.random.default_rng(1), 300, (0.5, 0.5), (0.01, 0.01))
    assert not math.isfinite(off_policy.estimate(seen, 0.05)[0].lower)
    assert not math.isfinite(off_policy.at_every_look(seen, 0.05).lower)
    # A range makes up for that.
    exact = off_policy.dr_bounded(seen, (0.0, 1.0), 0.05)
    assert 0 < exact.upper - exact.lower < 0.6


def test_an_empty_log_is_no_estimate() -> None:
    none = drawn(np.random.default_rng(1), 0, (0.5, 0.5), (0.5, 0.5))
    for each in [*off_policy.estimate(none, 0.05), off_policy.at_every_look(none, 0.05),
                 off_policy.dr_bounded(none, (0, 1), 0.05)]:  # fmt: skip
        assert math.isnan(each.value)
    assert off_policy.weights_of(none).effective == 0


def test_scales_of_exact_bounds_are_fixed_before_the_first_draw() -> None:
    # Whatever weights come, the scales that may ever be used share alpha between them.
    shares: dict[float, float] = {}
    for top in np.geomspace(0.5, 1e6, 400):
        scale, share = off_policy._scale(np.array([0.0, 3.0, top]), 0.05)
        assert scale >= max(top, 3.0)
        assert math.log2(scale / 3).is_integer()
        assert shares.setdefault(scale, share) == share
    assert len(shares) > 15
    assert sum(shares.values()) <= 0.05


def test_wrong_propensities_show_in_the_mean_weight() -> None:
    rng = np.random.default_rng(3)
    alarms = {False: 0, True: 0}
    for _ in range(100):
        seen = drawn(rng, 1000, (0.5, 0.5), (0.3, 0.4))
        alarms[False] += not off_policy.weights_of(seen).plausible
        # Drawn at 50/50, logged as 60/40.
        wrong = replace(seen, weights=seen.weights * np.where(seen.arms == 1, 0.5 / 0.4, 0.5 / 0.6))
        alarms[True] += not off_policy.weights_of(wrong).plausible
    assert alarms[False] <= 4  # 1 % of 100, with 3 standard errors.
    assert alarms[True] >= 95


@pytest.mark.parametrize("p", [(0.5, 0.5), (0.9, 0.1)])
def test_intervals_hold_the_truth(p: tuple[float, float]) -> None:
    runs, n, means = 150, 2000, (0.3, 0.4)
    truth = PI[0] * means[0] + PI[1] * means[1]
    rng = np.random.default_rng([5, int(10 * p[0])])
    held: dict[str, int] = {}
    for _ in range(runs):
        seen = drawn(rng, n, p, means)
        for each in [*off_policy.estimate(seen, 0.05), off_policy.at_every_look(seen, 0.05),
                     off_policy.dr_bounded(seen, (0.0, 1.0), 0.05)]:  # fmt: skip
            name = f"{each.estimator}, {each.guarantee}"
            held[name] = held.get(name, 0) + (each.lower <= truth <= each.upper)
    # Three standard errors of a share of 95 % below it.
    least = runs * (0.95 - 3 * math.sqrt(0.95 * 0.05 / runs))
    assert len(held) == 7
    assert min(held.values()) >= least, held


def test_smaller_weights_are_refused_where_they_show_a_bias() -> None:
    # Weights and base rate move together: means of the whole log are wrong in either half, and an
    # estimate that leans on them is off by 0.02, three of its standard errors.
    rng, n = np.random.default_rng(4), 8000
    p = np.repeat([(0.9, 0.1), (0.5, 0.5)], n // 2, axis=0)
    means = np.repeat([(0.2, 0.25), (0.5, 0.55)], n // 2, axis=0)
    off: dict[str, list[float]] = {}
    for _ in range(20):
        arms = (rng.random(n) < p[:, 1]).astype(np.int64)
        rewards = (rng.random(n) < means[np.arange(n), arms]).astype(np.float64)
        seen = seen_by(arms, rewards, p)
        none, _ = off_policy.doubly_robust(seen, np.zeros(n), "none", 0.05)
        for each in [*off_policy.estimate(seen, 0.05), none]:
            off.setdefault(each.estimator, []).append(each.value - (0.2 * 0.35 + 0.8 * 0.4))
    rms = {name: float(np.sqrt(np.mean(np.square(each)))) for name, each in off.items()}
    assert rms["none"] > 2 * rms["DR"]
    assert max(rms["SWITCH-DR"], rms["DRos"]) < 1.3 * rms["DR"]


def test_gains_are_of_the_same_decisions() -> None:
    # Rewards that vary much between decisions and not between arms: the difference is sharper.
    rng = np.random.default_rng(2)
    seen = drawn(rng, 4000, (0.25, 0.75), (0.3, 0.5))
    served = np.full(4000, 0.45)
    now, always = off_policy.gains(seen, served, 0.05)
    whole = off_policy.estimate(seen, 0.05)[2]
    assert now.value == pytest.approx(whole.value - seen.rewards.mean())
    assert now.upper - now.lower < (whole.upper - whole.lower) / 3
    assert always.lower < now.lower < 0.01 < now.upper < always.upper
