"""What every reward in the table `REWARDS` keeps to."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops.rewards import REWARDS, Answer, Terms

NAMES = REWARDS.names()
values = (
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64)
    | st.floats(allow_nan=True)
    | st.text(max_size=5)
    | st.sampled_from(["6", "1e400", "nan", "-0"])
    | st.just(10**400)
)
answers = values | st.lists(values, max_size=4) | st.dictionaries(st.text(max_size=3), values)


TERMS = Terms((0, "6"), {"6": {"0": 2.5}})


@pytest.mark.parametrize("name", NAMES)
@given(prediction=answers, truth=answers, terms=st.sampled_from([Terms(), TERMS]))
def test_a_reward_is_finite_and_in_its_range_or_says_why_there_is_none(
    name: str, prediction: Answer, truth: Any, terms: Terms
) -> None:
    reward = REWARDS.load(name)
    value, reason = None, ""
    try:
        value = reward(prediction, truth, terms)
    except ValueError as error:
        reason = str(error)
    if value is None:
        assert reason
        return
    assert isinstance(value, float)
    assert math.isfinite(value)
    assert reward(prediction, truth, terms) == value
    bounds = reward.natural_range(terms)
    if bounds is not None:
        assert bounds[0] <= value <= bounds[1]


@pytest.mark.parametrize("name", NAMES)
def test_everything_a_reward_says_of_itself_holds_together(name: str) -> None:
    reward = REWARDS.load(name)
    assert reward.name == name
    filled = reward.gain.format(winner="`b`", amount="0.1", unit="request", than="`a`")
    assert "`b`" in filled
    assert "`a`" in filled
    assert reward.meaning
    assert reward.compares >= reward.default_for - {""}
