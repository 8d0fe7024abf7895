"""Policies that look at the request: their model, their probabilities, and what features may be."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from mlops.policies import POLICIES
from mlops.policies.base import Contextual, Credit, Policy, State
from mlops.policies.context import Moments, Scale
from mlops.policies.drawing import VECTORS, ContextDraws, draws_of
from mlops.policies.linear import Models
from mlops.policies.linear_thompson import _best, _rounded
from mlops.policies.making import make_policy

LINEAR = [name for name in POLICIES if name.startswith("linear")]


def _world(n: int, seed: int = 1, arms: int = 2) -> list[Credit]:
    """Return rewards of which the first feature says the best arm; the other is large and odd."""
    rng = np.random.default_rng(seed)
    earned = []
    for _ in range(n):
        x, arm = float(rng.normal()), int(rng.integers(arms))
        context = {"x": x, "large": 5e6 + 1_000 * float(rng.normal())}
        earned.append(Credit(arm, 1 / arms, x * (arm - 0.5) + float(rng.normal()), context))
    return earned


def _after(text: str, earned: Sequence[Credit], arms: int = 2) -> tuple[Policy, State]:
    policy = make_policy(text, [1 / arms] * arms)
    return policy, policy.update(State(0, (1 / arms,) * arms), earned)


def test_the_model_is_ridge_regression() -> None:
    earned = _world(400)
    moments = Moments(2, ("x", "large"), 1.0, {})
    moments.add(earned)
    models = Models(Scale(moments, ("x", "large")))
    x = np.array([[c.context["x"], c.context["large"]] for c in earned])
    y = np.array([c.reward for c in earned])
    z = np.column_stack([np.ones(len(y)), (x - x.mean(axis=0)) / x.std(axis=0)])
    y = (y - y.mean()) / y.std()
    for arm in range(2):
        own = np.array([c.arm == arm for c in earned])
        precision = np.eye(3) + z[own].T @ z[own]
        means = np.linalg.solve(precision, z[own].T @ y[own])
        assert models.means[arm] == pytest.approx(means, abs=1e-8)
        # The noise has all but the variance that the model explains.
        covariance = models.roots[arm].T @ models.roots[arm]
        assert covariance / np.linalg.inv(precision) == pytest.approx(0.8, abs=0.1)


@pytest.mark.parametrize("name", LINEAR)
def test_a_request_gets_the_arm_that_is_best_for_it(name: str) -> None:
    policy, state = _after(f"{name} features=x,large floor=0.1", _world(600))
    low, high = (policy.probabilities({"x": x, "large": 5e6}, state) for x in (-2.0, 2.0))
    assert low == pytest.approx((0.9, 0.1), abs=0.02)
    assert high == pytest.approx((0.1, 0.9), abs=0.02)
    assert isinstance(policy, Contextual)
    assert tuple(low) in policy.vectors(state)


@pytest.mark.parametrize("arms", [2, 3, 5])
@pytest.mark.parametrize("name", LINEAR)
def test_every_request_is_drawn_by_one_of_the_vectors(name: str, arms: int) -> None:
    policy, state = _after(f"{name} features=x,kind floor=0.02", _world(300, arms=arms), arms)
    assert isinstance(policy, Contextual)
    vectors = policy.vectors(state)
    assert len(vectors) <= 300
    for vector in vectors:
        assert sum(vector) == pytest.approx(1)
        assert min(vector) >= 0.02 - 1e-12
    numbered = State(7, state.probabilities, {**state.parameters, VECTORS: 3})
    draws = draws_of(policy, numbered)
    assert isinstance(draws, ContextDraws)
    cells: Sequence[Any] = (None, 0, 1.5, -1e300, math.inf, math.nan, 10**400, True, "text", [], {})
    for x, kind in itertools.product(cells, cells):
        context = {"x": x, "kind": kind}
        own = draws.of(context)
        assert own.probabilities == tuple(policy.probabilities(context, state))
        assert own.probabilities == vectors[own.epoch - 3]
    # A worker that follows does not make them again.
    assert draws_of(policy, numbered, draws).all is draws.all


@pytest.mark.parametrize("name", LINEAR)
def test_categories_and_missing_values(name: str) -> None:
    def credit(at: int) -> Credit:
        kind = ("red", "white", None)[at % 3]
        arm = at // 3 % 2
        reward = {"red": float(arm == 0), "white": float(arm == 1)}.get(kind or "", 0.5)
        return Credit(arm, 0.5, reward + 0.1 * math.sin(at), {"kind": kind})

    policy, state = _after(f"{name} features=kind", [credit(at) for at in range(300)])

    def first(context: Mapping[str, Any]) -> float:
        return policy.probabilities(context, state)[0]

    assert first({"kind": "red"}) > 0.9
    assert first({"kind": "white"}) < 0.1
    # What is missing has the mean of all; what was never met is like neither.
    assert first({}) == first({"kind": None}) == first({"kind": math.nan})
    assert json.loads(json.dumps(state.parameters)) == state.parameters
    many = [Credit(at % 2, 0.5, at % 7, {"kind": f"k{at}"}) for at in range(500)]
    assert len(policy.update(state, many).parameters["categories"]) == 10


def test_one_value_far_away_does_not_drown_the_others() -> None:
    earned = _world(600)
    earned[300] = Credit(0, 0.5, 0.0, {"x": 1e90, "large": 5e6})
    policy, state = _after("linear-greedy features=x,large floor=0.1", earned)
    assert policy.probabilities({"x": 2.0, "large": 5e6}, state) == pytest.approx((0.1, 0.9))


@pytest.mark.parametrize("name", LINEAR)
def test_units_of_a_feature_do_not_matter(name: str) -> None:
    earned = _world(300)
    scaled = [
        Credit(c.arm, c.propensity, c.reward, {"x": 1e-3 * c.context["x"] - 40}) for c in earned
    ]
    (one, own), (other, its) = (_after(f"{name} features=x", each) for each in (earned, scaled))
    for x in np.linspace(-3, 3, 13):
        assert one.probabilities({"x": x}, own) == pytest.approx(
            other.probabilities({"x": 1e-3 * x - 40}, its)
        )


def test_probabilities_of_the_best_and_their_rounding() -> None:
    means, deviations = np.array([0.0, 0.5, 0.2]), np.array([1.0, 0.3, 0.6])
    drawn = np.random.default_rng(3).normal(means, deviations, (200_000, 3)).argmax(axis=1)
    assert _best(means, deviations) == pytest.approx(np.bincount(drawn) / drawn.size, abs=0.02)
    assert _rounded(np.array([0.05, 0.55, 0.40]), 10) in {(0, 6, 4), (1, 5, 4)}
    policy, state = _after("linear-thompson features=x floor=1e-6 scale=1", _world(40))
    scale = Scale(Moments(2, ("x",), 1.0, state.parameters), ("x",))
    models = Models(scale)
    z = np.array(scale.of({"x": 0.4}))
    gap = float((models.means[1] - models.means[0]) @ z)
    deviation = math.sqrt(sum(float(((root @ z) ** 2).sum()) for root in models.roots))
    exact = 0.5 * math.erfc(-gap / deviation / math.sqrt(2))
    assert policy.probabilities({"x": 0.4}, state)[1] == pytest.approx(exact, abs=0.0101)


def test_ucb_tries_what_it_knows_least_of() -> None:
    # The second arm was hardly ever tried where x is high, and earned a bit less elsewhere.
    earned = [Credit(0, 0.5, math.sin(at), {"x": at % 2}) for at in range(200)]
    earned += [Credit(1, 0.5, math.sin(at) - 0.01, {"x": 0.05 * math.cos(at)}) for at in range(60)]
    told = {}
    for name in ("linear-ucb c=2", "linear-ucb c=0.001", "linear-greedy"):
        policy, state = _after(f"{name} features=x floor=0.01", earned)
        told[name] = policy.probabilities({"x": 5.0}, state)[1]
    assert told == {"linear-ucb c=2": 0.99, "linear-ucb c=0.001": 0.01, "linear-greedy": 0.01}
    policy, state = _after("linear-ucb features=x c=1.5", _world(60, arms=3), 3)
    scale = Scale(Moments(3, ("x",), 1.0, state.parameters), ("x",))
    models = Models(scale)
    for x in np.linspace(-2, 2, 9):
        z = np.array(scale.of({"x": x}))
        deviations = [math.sqrt(z @ root.T @ root @ z) for root in models.roots]
        bounds = models.means @ z + 1.5 * np.array(deviations)
        assert int(np.argmax(policy.probabilities({"x": x}, state))) == int(bounds.argmax())


@pytest.mark.parametrize("name", LINEAR)
def test_states_that_learnt_enough_are_published(name: str) -> None:
    policy, state = _after(f"{name} features=x", _world(1_000))
    assert isinstance(policy, Contextual)
    assert policy.moved(State(0, (0.5, 0.5)), state)
    assert not policy.moved(state, policy.update(state, _world(10)))
    assert policy.moved(state, policy.update(state, _world(20)))
    forgetful = make_policy(f"{name} features=x discount=0.98", [0.5, 0.5])
    later = forgetful.update(state, _world(1))
    assert isinstance(forgetful, Contextual)
    assert forgetful.moved(state, later)


@pytest.mark.parametrize("name", LINEAR)
def test_arms_come_and_go(name: str) -> None:
    policy, state = _after(f"{name} features=x", _world(400))
    three = make_policy(f"{name} features=x", [0.3, 0.4, 0.3])
    carried = three.carry(state, [1, None, 0])  # type: ignore[attr-defined]
    assert carried.probabilities == (0.3, 0.4, 0.3)
    back = policy.carry(carried, [2, 0])  # type: ignore[attr-defined]
    for x in (-1.0, 0.0, 1.0):
        assert policy.probabilities({"x": x}, back) == policy.probabilities({"x": x}, state)
