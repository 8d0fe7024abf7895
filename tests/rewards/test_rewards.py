"""Rewards: higher is better, finite, or a reason why there is none."""

from __future__ import annotations

import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops.rewards import REWARDS
from mlops.rewards.base import Value

values = (
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64)
    | st.floats(allow_nan=True)
    | st.text(max_size=5)
    | st.sampled_from(["6", "1e400", "nan", "-0"])
    | st.just(10**400)
)


@pytest.mark.parametrize("name", list(REWARDS))
@given(prediction=values, truth=values)
def test_a_reward_is_finite_or_says_why_not(name: str, prediction: Value, truth: Value) -> None:
    reward = 0.0
    with contextlib.suppress(ValueError):
        reward = REWARDS.load(name)(prediction, truth)
    assert isinstance(reward, float)
    assert math.isfinite(reward)


@pytest.mark.parametrize(
    ("name", "prediction", "truth", "reward"),
    [
        ("squared-error", 5.5, 6, -0.25),
        ("squared-error", "5.5", 6, -0.25),
        ("squared-error", 6, 6, 0),
        ("squared-error", True, 0, -1),
        ("absolute-error", 5.5, 6, -0.5),
        ("absolute-error", 8, 6, -2),
        ("exact", "red", "red", 1),
        ("exact", "red", "white", 0),
        ("exact", 6, 6.0, 1),
        ("exact", "6", 6, 1),
        ("exact", 6, "6.0", 1),
        ("exact", "six", 6, 0),
        ("exact", True, 1, 1),
        ("exact", True, "true", 1),
        ("exact", "False", False, 1),
        ("exact", False, "true", 0),
        ("exact", None, "red", 0),
    ],
)
def test_known_rewards(name: str, prediction: Value, truth: Value, reward: float) -> None:
    assert REWARDS.load(name)(prediction, truth) == reward


@given(st.floats(-1e100, 1e100), st.floats(-1e100, 1e100), st.floats(-1e100, 1e100))
def test_less_error_is_more_reward(truth: float, one: float, other: float) -> None:
    near, far = sorted((one, other), key=lambda prediction: abs(prediction - truth))
    for name in ("squared-error", "absolute-error"):
        reward = REWARDS.load(name)
        assert reward(near, truth) >= reward(far, truth)


@pytest.mark.parametrize(
    ("name", "prediction", "truth"),
    [
        ("squared-error", "red", 6),
        ("squared-error", None, 6),
        ("squared-error", 1e200, -1e200),
        ("squared-error", 10**400, 1),
        ("absolute-error", 1.7e308, -1.7e308),
        ("absolute-error", "nan", 1),
        ("given", 1, 1),
    ],
)
def test_there_is_no_reward(name: str, prediction: Value, truth: Value) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        REWARDS.load(name)(prediction, truth)
