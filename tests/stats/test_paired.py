"""Two models on the same rows."""

import numpy as np
import pytest
from scipy import stats

from mlops.stats.arm_mean import mean_sequence
from mlops.stats.paired import TIGHTEST_AT, labels_depend, paired_sequence
from tests.stats.tolerance import fewest, most


def test_is_the_sequence_of_differences() -> None:
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(size=300), rng.normal(size=300)

    np.testing.assert_array_equal(
        paired_sequence(ours, theirs).lower,
        mean_sequence(ours - theirs, tightest_at=TIGHTEST_AT).lower,
    )


def test_pairing_removes_what_rows_share() -> None:
    rng = np.random.default_rng(1)
    row = rng.normal(0, 5, 500)
    ours, theirs = row + rng.normal(0.3, 1, 500), row + rng.normal(0, 1, 500)

    paired = paired_sequence(ours, theirs)
    apart = stats.ttest_ind(ours, theirs).confidence_interval()

    assert paired.lower[-1] > 0
    assert apart.low < 0


def test_equal_models_rarely_win() -> None:
    runs, n = 200, 2000
    rng = np.random.default_rng(2)

    found = paired_sequence(rng.lognormal(size=(runs, n)), rng.lognormal(size=(runs, n)))

    assert found.excludes().any(axis=1).sum() <= most(runs, 0.05)


def test_the_same_model_twice_never_opens() -> None:
    rewards = np.random.default_rng(3).normal(size=500)

    assert paired_sequence(rewards, rewards).started is None


def test_rows_must_pair() -> None:
    with pytest.raises(ValueError, match="pair"):
        paired_sequence(np.zeros(3), np.zeros(4))


def selective(
    runs: int, n: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Two equally good guesses of a profit, which is made and known only if the served one acts."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(0.5, 1.0, (runs, n))
    guesses = truth[..., None] + rng.normal(size=(runs, n, 2))
    arms = (rng.random((runs, n)) < 0.1) * 1
    acts = guesses > 0
    labelled = np.take_along_axis(acts, arms[..., None], axis=2)[..., 0]
    profit = acts * truth[..., None]
    return arms, profit[..., 1] - profit[..., 0], labelled, guesses


def test_selective_labels_mislead_and_are_noticed() -> None:
    runs, n = 60, 3000
    shares = np.tile([0.9, 0.1], (n, 1))
    plain = noticed = 0
    for arms, gap, labelled, guesses in zip(*selective(runs, n, 4), strict=True):
        plain += mean_sequence(gap[labelled], tightest_at=TIGHTEST_AT).excludes().any().item()
        pattern = np.where(labelled, np.sign(guesses[:, 1] - guesses[:, 0]), 0).astype(int)
        noticed += labels_depend(arms, shares, labelled, pattern).depend

    assert plain > runs / 2
    assert noticed >= fewest(runs, 0.9)


def test_labels_that_come_to_all_alike_rarely_alarm() -> None:
    runs, n = 200, 1000
    rng = np.random.default_rng(5)
    shares = np.tile([0.9, 0.1], (n, 1))

    alarms = sum(
        labels_depend(
            (rng.random(n) < 0.1) * 1, shares, rng.random(n) < 0.3, rng.integers(-1, 2, n)
        ).depend
        for _ in range(runs)
    )

    assert alarms <= most(runs, 0.01)
