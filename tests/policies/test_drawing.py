"""Draws: frequencies, propensities, and who moves when a weight changes."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops.policies.drawing import Draws

weights = (
    st.lists(st.integers(0, 100), min_size=1, max_size=8)
    .filter(any)
    .map(lambda shares: [share / sum(shares) for share in shares])
)
draws = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.9, 0.1), (0.99, 0.01), (0.2, 0.3, 0.5)])
def test_arms_are_drawn_as_often_as_their_weights_say(shares: tuple[float, ...]) -> None:
    generator, n = random.Random(5), 100_000
    policy = Draws(shares)
    counts = Counter(policy.choose(generator.random()).arm for _ in range(n))
    for arm, share in enumerate(shares):
        assert abs(counts[arm] - n * share) < 5 * math.sqrt(n * share * (1 - share))


@given(weights, draws)
def test_the_propensity_is_the_weight(shares: list[float], draw: float) -> None:
    choice = Draws(shares).choose(draw)
    assert choice.propensity == shares[choice.arm]
    # So a weight of 0 is never chosen.
    assert choice.propensity > 0


@given(weights)
def test_no_draw_is_beyond_the_last_arm(shares: list[float]) -> None:
    last = max(arm for arm, share in enumerate(shares) if share)
    assert Draws(shares).choose(math.nextafter(1, 0)).arm == last
    # Weights that sum to 0.999…
    assert Draws([share * 0.999999 for share in shares]).choose(math.nextafter(1, 0)).arm == last


@given(draws, st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_a_unit_stays_with_an_arm_that_grows(draw: float, before: float, after: float) -> None:
    low, high = sorted((before, after))
    for grown, old, new in (
        (0, (low, 1 - low), (high, 1 - high)),
        (1, (1 - low, low), (1 - high, high)),
    ):
        if Draws(old).choose(draw).arm == grown:
            assert Draws(new).choose(draw).arm == grown


@given(weights, draws)
def test_the_same_draw_gives_the_same_choice(shares: list[float], draw: float) -> None:
    assert Draws(shares).choose(draw) == Draws(tuple(shares)).choose(draw)
