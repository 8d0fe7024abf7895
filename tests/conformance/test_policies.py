"""What every policy in the table `POLICIES` keeps to."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops.policies import POLICIES

NAMES = POLICIES.names()
weights = (
    st.lists(st.integers(0, 100), min_size=1, max_size=8)
    .filter(any)
    .map(lambda shares: [share / sum(shares) for share in shares])
)
draws = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize("name", NAMES)
@given(shares=weights, draw=draws | st.sampled_from([0.0, math.nextafter(1, 0)]))
def test_a_choice_is_an_arm_and_what_it_was_worth(
    name: str, shares: list[float], draw: float
) -> None:
    policy = POLICIES.load(name)(shares)
    choice = policy.choose(draw)
    assert 0 <= choice.arm < len(shares)
    assert 0 < choice.propensity <= 1
    assert policy.choose(draw) == choice
    assert POLICIES.load(name)(tuple(shares)).choose(draw) == choice


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shares", [(1.0,), (0.5, 0.5), (0.9, 0.1), (0.0, 1.0), (0.2, 0.3, 0.5)])
def test_arms_are_chosen_as_often_as_their_propensities_say(
    name: str, shares: Sequence[float]
) -> None:
    # Draws on a grid leave nothing to chance: a share is off by a step for each of its borders.
    n = 10_000
    policy = POLICIES.load(name)(shares)
    choices = [policy.choose((step + 0.5) / n) for step in range(n)]
    counts = Counter(choice.arm for choice in choices)
    propensities = {choice.arm: choice.propensity for choice in choices}
    assert {choice.propensity for choice in choices} == set(propensities.values())
    assert sum(propensities.values()) == pytest.approx(1)
    for arm, count in counts.items():
        assert count / n == pytest.approx(propensities[arm], abs=2 / n)
