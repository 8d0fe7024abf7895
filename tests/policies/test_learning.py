"""Policies that learn: what each does, what all promise, and how much they lose by it."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.errors import InvalidInputError
from mlops.policies import POLICIES
from mlops.policies.base import Credit, Policy, State
from mlops.policies.making import make_policy, read_policy, write_policy

LEARNERS = [name for name in POLICIES if name != "weighted"]
#: Without features these learn what is best for all requests.
LINEAR = [name for name in LEARNERS if name.startswith("linear")]
EVEN = [0.5, 0.5]


def _credits(*earned: tuple[int, float]) -> list[Credit]:
    return [Credit(arm, 0.5, reward) for arm, reward in earned]


def _after(text: str, earned: Sequence[Credit], weights: Sequence[float] = EVEN) -> State:
    policy = make_policy(text, weights)
    return policy.update(State(0, tuple(weights)), earned)


def test_names_are_read_and_written_in_one_form() -> None:
    text = write_policy(*read_policy("thompson  window=500 rewards=real floor=0.02"))
    assert text == "thompson floor=0.02 rewards=real window=500"
    assert write_policy(*read_policy(text)) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("thompson flor=0.1", "has no option `flor`"),
        ("thompson floor", "`floor` of the policy"),
        ("thompson floor=0.1 floor=0.2", "is not an option"),
        ("thompson floor=0.6", "at most 0.5"),
        ("thompson floor=0", "above 0"),
        ("ucb1 discount=0.9 window=10", "choose one"),
        ("epsilon-greedy epsilon=2", "at most 1"),
        ("softmax temperature=0", "above 0"),
        ("thompson rewards=bad", "`auto`, `binary` or `real`"),
        ("thompson explore=much", "`floor` or `mad`"),
        *(
            (f"thompson {option}={value}", "numbers of rewards")
            for option in ("window", "warm-up")
            for value in ("1.5", "true", "-1", "1e400")
        ),
        *((f"ucb1 range={value}", "0 or more and finite") for value in ("nan", "inf", "-1")),
        *((f"softmax half-life={value}", "0 or more and finite") for value in ("nan", "-1")),
        ("epsilon-greedy half-life=inf", "0 or more and finite"),
        ("ucb1 c=inf", "above 0"),
        ("softmax temperature=nan", "above 0"),
        ("weighted floor=0.1", "no option"),
        ("linear-greedy window=100", "no window"),
        ("linear-greedy 'features=a", "without its end"),
        ("linear-thompson features=" + ",".join("abcdefghijklmnopq"), "up to 16 features, not 17"),
        ("linear-thompson features=a scale=0", "above 0"),
        ("linear-ucb features=a c=0", "above 0"),
        ("tompson", "no policy called"),
    ],
)
def test_what_will_not_do_is_said(text: str, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        make_policy(text, EVEN)


@pytest.mark.parametrize("name", LEARNERS)
def test_an_arm_without_a_weight_cannot_be_learnt_of(name: str) -> None:
    with pytest.raises(InvalidInputError, match="weight above 0"):
        make_policy(name, [1.0, 0.0])


def test_epsilon_greedy_by_hand() -> None:
    earned = _credits(*[(0, 1.0)] * 10, *[(1, 2.0)] * 10)
    state = _after("epsilon-greedy epsilon=0.2 floor=0.01", earned)
    assert state.probabilities == pytest.approx((0.01 + 0.98 * 0.1, 0.01 + 0.98 * 0.9))
    later = _after("epsilon-greedy epsilon=0.2 floor=0.01 half-life=20", earned)
    assert later.probabilities == pytest.approx((0.01 + 0.98 * 0.05, 0.01 + 0.98 * 0.95))


def test_ucb1_by_hand() -> None:
    earned = _credits(*[(0, 1.0)] * 90, *[(0, 0.0)] * 10, *[(1, 1.0)] * 8, *[(1, 0.0)] * 2)
    bounds = [
        0.9 + math.sqrt(2 * math.log(110) / 100), 0.8 + math.sqrt(2 * math.log(110) / 10),
    ]  # fmt: skip
    assert bounds[1] > bounds[0]
    assert _after("ucb1", earned).probabilities == pytest.approx((0.05, 0.95))
    assert _after("ucb1 c=0.01", earned).probabilities == pytest.approx((0.95, 0.05))


def test_softmax_by_hand() -> None:
    earned = _credits(*[(0, r) for r in (0.0, 2.0)] * 5, *[(1, r) for r in (1.0, 3.0)] * 5)
    # Means 1 and 2, standard deviation 1: a difference of one, in units of half of that.
    share = 1 / (1 + math.exp(-2))
    state = _after("softmax temperature=0.5 floor=0.01", earned)
    assert state.probabilities[1] == pytest.approx(0.01 + 0.98 * share)


def test_thompson_by_hand() -> None:
    earned = _credits(*[(0, 1.0)] * 3, *[(0, 0.0)] * 7, *[(1, 1.0)] * 5, *[(1, 0.0)] * 5)
    # P(Beta(6, 6) > Beta(4, 8)), by Miller's closed form.
    assert _after("thompson floor=1e-9", earned).probabilities[1] == pytest.approx(
        0.8065015, abs=1e-6
    )
    real = _after("thompson floor=1e-9 rewards=real", earned).probabilities[1]
    assert real == pytest.approx(0.80, abs=0.03)


def test_one_reward_that_is_not_binary_does_not_end_the_learning() -> None:
    """Anybody who may send feedback could stop a policy for good."""
    earned = [*_credits(*[(0, 0.0), (1, 1.0)] * 40), *_credits((0, 0.5), (0, 1e60), (1, -1e60))]
    state = _after("thompson rewards=binary", earned)
    assert state.probabilities[1] > 0.9
    half = _after("thompson floor=1e-9 rewards=binary", _credits(*[(0, 0.5), (1, 0.5)] * 20))
    assert half.probabilities == pytest.approx((0.5, 0.5))


def test_rewards_that_never_vary_say_nothing() -> None:
    for name in LEARNERS:
        state = _after(name, _credits(*[(0, 3.0), (1, 3.0)] * 20))
        assert state.probabilities == pytest.approx((0.5, 0.5))


@pytest.mark.parametrize("name", LEARNERS)
def test_the_weights_hold_during_the_warm_up(name: str) -> None:
    weights = [0.8, 0.2]
    few = _after(f"{name} warm-up=5", _credits(*[(0, 1.0)] * 50, *[(1, 0.0)] * 4), weights)
    assert few.probabilities == pytest.approx(weights)
    assert few.epoch == 1


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("memory", ["", "discount=0.95", "window=30", "explore=mad"])
@settings(max_examples=25, deadline=None)
@given(
    data=st.lists(
        st.tuples(st.integers(0, 2), st.floats(-5, 5) | st.sampled_from([0.0, 1.0])),
        min_size=1,
        max_size=90,
    ),
    cuts=st.lists(st.integers(0, 90), max_size=4),
)
def test_at_once_and_in_parts_are_the_same(
    name: str, memory: str, data: list[tuple[int, float]], cuts: list[int]
) -> None:
    """And every arm keeps its floor, the shares sum to 1, and the state survives JSON."""
    if name in LINEAR and memory.startswith("window"):
        return
    weights = [0.5, 0.3, 0.2]
    policy = make_policy(f"{name} {memory} warm-up=2 floor=0.04", weights)
    earned = _credits(*data)
    start = State(0, tuple(weights))
    whole = policy.update(start, earned)
    state = start
    edges = [0, *sorted(min(cut, len(earned)) for cut in cuts), len(earned)]
    for low, high in itertools.pairwise(edges):
        before = json.dumps(state.parameters)
        following = policy.update(state, earned[low:high])
        assert json.dumps(state.parameters) == before
        state = State(
            following.epoch, following.probabilities, json.loads(json.dumps(following.parameters))
        )
    assert state.probabilities == pytest.approx(whole.probabilities, abs=1e-9)
    assert sum(state.probabilities) == pytest.approx(1)
    assert min(state.probabilities) >= 0.04 - 1e-12
    assert policy.probabilities({}, state) == state.probabilities


def test_the_part_that_explores_shrinks_slowly() -> None:
    earned = _credits(*[(0, 1.0), (1, 0.0)] * 5_000)
    # t to the power of -0.24, spread over both arms.
    part = 10_000**-0.24
    state = _after("epsilon-greedy epsilon=1e-9 explore=mad floor=0.001", earned)
    assert state.probabilities[1] == pytest.approx(part / 2, rel=1e-3)


def test_arms_come_and_go() -> None:
    policy = make_policy("thompson warm-up=3", EVEN)
    state = policy.update(State(0, (0.5, 0.5)), _credits(*[(0, 0.0)] * 30, *[(1, 1.0)] * 30))
    three = make_policy("thompson warm-up=3", [0.3, 0.4, 0.3])
    carried = three.carry(state, [1, None, 0])  # type: ignore[attr-defined]
    # The new arm is unknown: the weights hold until it has been tried.
    assert carried.probabilities == pytest.approx((0.3, 0.4, 0.3))
    tried = three.update(carried, _credits(*[(1, 0.0)] * 3))
    assert tried.probabilities[0] > 0.85
    back = policy.carry(tried, [2, 0])  # type: ignore[attr-defined]
    assert back.probabilities == pytest.approx(state.probabilities)


def _regret(policy: Policy, means: Callable[[int], Sequence[float]], seed: int) -> float:
    """Return the mean regret of 3,000 requests, learning after every 20."""
    rng, k = np.random.default_rng(seed), len(means(0))
    state = State(0, (1 / k,) * k)
    lost = 0.0
    for batch in range(150):
        now = means(batch)
        shares = policy.probabilities({}, state)
        arms = rng.choice(k, 20, p=shares)
        lost += sum(max(now) - now[arm] for arm in arms)
        rewards = (rng.random(20) < np.array(now)[arms]).astype(float)
        earned = [
            Credit(int(arm), shares[arm], float(r)) for arm, r in zip(arms, rewards, strict=True)
        ]
        state = policy.update(state, earned)
    return lost / 3_000


@pytest.mark.parametrize("name", LEARNERS)
def test_they_find_the_better_arm(name: str) -> None:
    even = 0.1
    lost = np.mean([_regret(make_policy(name, EVEN), lambda _: (0.3, 0.5), s) for s in range(5)])
    assert lost < even / 2


@pytest.mark.parametrize("name", LEARNERS)
def test_they_find_it_again_when_the_world_turns(name: str) -> None:
    def means(batch: int) -> tuple[float, float]:
        return (0.2, 0.7) if batch < 75 else (0.7, 0.2)

    forgetful = np.mean(
        [_regret(make_policy(f"{name} discount=0.99", EVEN), means, s) for s in range(5)]
    )
    memory = "discount=0.98" if name in LINEAR else "window=300"
    windowed = np.mean([_regret(make_policy(f"{name} {memory}", EVEN), means, s) for s in range(5)])
    assert max(forgetful, windowed) < 0.25 * 0.6


class _Counting:
    learns = False

    def __init__(self, weights: object, *, n: object = 1, most: object = 2) -> None:
        self._n = int(n)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ("most=3 n=abc", "Option `n` of the policy `counting`: ValueError: .*'abc'"),
        ("m=3", "The policy `counting` has no option `m`"),
    ],
)
def test_an_option_that_a_policy_cannot_read_is_named(
    monkeypatch: pytest.MonkeyPatch, options: str, fault: str
) -> None:
    monkeypatch.setattr(POLICIES, "load", lambda _: _Counting)
    with pytest.raises(InvalidInputError, match=fault):
        make_policy(f"counting {options}", EVEN)
