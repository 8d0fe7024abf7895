"""What every policy in the table `POLICIES` keeps to."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mlops.policies import POLICIES
from mlops.policies.base import Credit, State
from mlops.policies.drawing import Draws

NAMES = POLICIES.names()
weights = (
    st.lists(st.integers(0, 100), min_size=1, max_size=8)
    .filter(any)
    .map(lambda shares: tuple(share / sum(shares) for share in shares))
)
rewards = st.lists(st.tuples(st.integers(0, 7), st.floats(-10, 10)), max_size=20)


def _check(shares: list[float], k: int) -> None:
    assert len(shares) == k
    assert all(0 <= share <= 1 for share in shares)
    assert sum(shares) == pytest.approx(1)


@pytest.mark.parametrize("name", NAMES)
@given(start=weights, earned=rewards, draw=st.floats(0, 1, exclude_max=True))
def test_every_state_gives_a_distribution_that_can_be_drawn_from(
    name: str, start: tuple[float, ...], earned: list[tuple[int, float]], draw: float
) -> None:
    # Nothing can be learnt of an arm that is never drawn.
    assume(name == "weighted" or all(start))
    policy, k = POLICIES.load(name)(start), len(start)
    state = State(0, start)
    for _ in range(3):
        shares = list(policy.probabilities({}, state))
        _check(shares, k)
        # In every process, whatever was drawn before.
        assert list(POLICIES.load(name)(start).probabilities({}, state)) == shares
        choice = Draws(shares, state.epoch).choose(draw)
        assert choice.propensity == shares[choice.arm] > 0
        assert choice.epoch == state.epoch
        credits_ = [Credit(arm, shares[arm], r) for arm, r in earned if arm < k and shares[arm] > 0]
        after = policy.update(state, credits_)
        assert after.epoch == state.epoch + (after != state)
        assert policy.learns or after == state
        # As the journal keeps it.
        kept = json.loads(json.dumps(dict(after.parameters)))
        assert State(after.epoch, after.probabilities, kept) == after
        state = after


@pytest.mark.parametrize("name", NAMES)
@given(start=weights, earned=rewards, cut=st.integers(0, 20))
def test_rewards_may_come_in_parts(
    name: str, start: tuple[float, ...], earned: list[tuple[int, float]], cut: int
) -> None:
    assume(name == "weighted" or all(start))
    policy, state = POLICIES.load(name)(start), State(0, start)
    shares = policy.probabilities({}, state)
    credits_ = [
        Credit(arm, shares[arm], r) for arm, r in earned if arm < len(start) and shares[arm] > 0
    ]
    whole = policy.update(state, credits_)
    parts = policy.update(policy.update(state, credits_[:cut]), credits_[cut:])
    for once, twice in zip(
        policy.probabilities({}, whole), policy.probabilities({}, parts), strict=True
    ):
        assert math.isclose(once, twice, abs_tol=1e-9)
