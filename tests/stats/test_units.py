"""A unit counts once, in its first revision."""

import numpy as np
import pytest

from mlops.stats.difference import difference_sequence
from mlops.stats.sample_ratio import sample_ratio
from mlops.stats.scores import overlap
from mlops.stats.units import new_units, once
from tests.stats.tolerance import most


def test_rewards_of_the_first_revision_are_averaged_in_order_of_first_decision() -> None:
    found = once(
        np.array([5, 3, 5, 3, 9, 4]),
        np.array([0, 0, 0, 1, 1, 1]),
        np.array([1.0, np.nan, 3.0, 7.0, 2.0, np.nan]),
    )

    # Unit 3 answered only in a later revision, unit 4 never.
    assert found.first.tolist() == [0, 4]
    assert found.rewards.tolist() == [2.0, 2.0]


def test_new_units_are_counted_where_they_were_drawn() -> None:
    counts = new_units(
        np.array([1, 2, 1, 3]), np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]), (2, 2)
    )

    assert counts.tolist() == [[1, 1], [0, 1]]


def test_a_broken_split_is_not_forgotten_when_weights_change() -> None:
    rng = np.random.default_rng(0)
    units = np.arange(6000)
    revisions = (units >= 4000) * 1
    arms = (rng.random(6000) < np.where(revisions == 0, 0.42, 0.3)) * 1

    counts = new_units(units, revisions, arms, (2, 2))

    assert sample_ratio(counts, [[0.5, 0.5], [0.7, 0.3]]).mismatch


@pytest.mark.parametrize("season", [False, True])
def test_a_sticky_ramp_names_no_winner_where_returning_units_differ(season: bool) -> None:
    runs, old, fresh = 60, 3000, 1000
    rng = np.random.default_rng(1)
    wrong = right = 0
    for _ in range(runs):
        # Everyone is drawn at 90/10; then most return under 50/50 with some new ones, and stay.
        arm = np.concatenate([rng.random(old) < 0.1, rng.random(fresh) < 0.5]) * 1
        units = np.concatenate([np.arange(old), rng.permutation(old + fresh)])
        revisions = (np.arange(units.size) >= old) * 1
        early, late = (0.05, 0.08) if season else (0.05, 0.1)
        rate = np.where(revisions == 0, early, np.where(units < old, late, 0.05))
        rewards = (rng.random(units.size) < rate) * 1.0
        found = once(units, revisions, rewards)
        drawn, at = arm[units[found.first]], revisions[found.first]
        share = np.where(at == 0, 0.1, 0.5)
        wrong_sequence = difference_sequence(
            arm[units], rewards, np.where(arm[units] == 1, *_shares(revisions)),
            candidate=1, baseline=0,
            importance=overlap(*_shares(revisions)),
        )  # fmt: skip
        sequence = difference_sequence(
            drawn, found.rewards, np.where(drawn == 1, share, 1 - share),
            candidate=1, baseline=0, importance=overlap(share, 1 - share),
        )  # fmt: skip
        wrong += bool(wrong_sequence.excludes().any())
        right += bool(sequence.excludes().any())

    assert right <= most(runs, 0.05)
    assert wrong > 2 * most(runs, 0.05)


def _shares(revisions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    share = np.where(revisions == 0, 0.1, 0.5)
    return share, 1 - share


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="one shape"):
        once(np.zeros(2, dtype=int), np.zeros(3, dtype=int), np.zeros(2))
