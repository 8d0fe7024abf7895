"""Rewards: higher is better, finite, or a reason why there is none."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops.errors import InvalidInputError
from mlops.rewards import (
    NO_TERMS,
    REWARDS,
    Answer,
    AnswerKind,
    Reward,
    RewardFailedError,
    Terms,
    Value,
)
from mlops.rewards.brier import BRIER
from mlops.rewards.choosing import default_reward, fitting_reward, misfit
from mlops.rewards.log_loss import LOG_LOSS
from mlops.rewards.own import load_reward


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


@pytest.mark.parametrize("returned", [None, math.nan, [1.0], 10**400])
def test_a_reward_that_gives_no_number_gives_none(returned: Any) -> None:
    faulty = Reward("faulty", lambda *_: returned, "faulty")
    with pytest.raises(RewardFailedError, match="the reward `faulty` r"):
        faulty(1, 2)


def test_a_reward_that_raises_gives_none() -> None:
    def derive(*_: object) -> float:
        raise KeyError("boom")

    def derive_many(*_: object) -> Any:
        raise KeyError("boom")

    faulty = Reward("faulty", derive, "faulty", derive_many=derive_many)
    with pytest.raises(RewardFailedError, match="the reward `faulty` raised KeyError"):
        faulty(1, 2)
    assert faulty.of_numbers(np.ones(2), np.ones(2)) is None


@given(probabilities=st.lists(st.floats(0.001, 1), min_size=2, max_size=5), truth=st.integers(0, 5))
def test_a_reward_stays_in_its_natural_range(probabilities: list[float], truth: int) -> None:
    total = sum(probabilities)
    prediction = [p / total for p in probabilities]
    for name in REWARDS:
        reward = REWARDS.load(name)
        bounds = reward.natural_range(Terms(tuple(range(len(prediction)))))
        with contextlib.suppress(ValueError):
            value = reward(prediction, truth)
            assert bounds is not None
            assert bounds[0] <= value <= bounds[1]


CLASSES = Terms(("ham", "spam"))
COSTS = Terms.of(costs=[("spam", "ham", 5.0), ("ham", "spam", 1.0)])


@pytest.mark.parametrize(
    ("name", "prediction", "truth", "terms", "reward"),
    [
        ("log-loss", [0.2, 0.3, 0.5], 2, NO_TERMS, math.log(0.5)),
        ("log-loss", [0.2, 0.3, 0.5], "1", NO_TERMS, math.log(0.3)),
        ("log-loss", [1.0, 0.0], 1, NO_TERMS, math.log(1e-4)),
        ("log-loss", [0.25, 0.75], "spam", CLASSES, math.log(0.75)),
        ("log-loss", {"ham": 0.25, "spam": 0.75}, "ham", NO_TERMS, math.log(0.25)),
        ("log-loss", 0.75, True, NO_TERMS, math.log(0.75)),
        ("log-loss", 0.75, 0, NO_TERMS, math.log(0.25)),
        ("brier", [0.25, 0.75], 1, NO_TERMS, -0.0625),
        ("brier", 0.75, 1, NO_TERMS, -0.0625),
        ("brier", [0.0, 0.25, 0.75], 1, NO_TERMS, -(0.75**2 + 0.75**2)),
        ("exact", [0.25, 0.75], "spam", CLASSES, 1.0),
        ("exact", [0.25, 0.75], "ham", CLASSES, 0.0),
        ("exact", [0.2, 0.3, 0.5], 2, NO_TERMS, 1.0),
        ("exact", [0.3, 0.7], [0, 1], CLASSES, 1.0),
        ("exact", [0.3, 0.7], [1.0, 0.0], NO_TERMS, 0.0),
        ("exact", {"ham": 0.3, "spam": 0.7}, {"spam": True, "ham": False}, NO_TERMS, 1.0),
        # Labels of several outputs, whose sum happens to be 1.
        ("exact", [0, 1], [0, 1], NO_TERMS, 1.0),
        ("exact", [0, 1], [2, 1], NO_TERMS, 0.0),
        ("exact", [0.0, 1.0], [1, 1], NO_TERMS, 0.0),
        ("cost", "ham", "spam", COSTS, -5.0),
        ("cost", "spam", "ham", COSTS, -1.0),
        ("cost", "ham", "ham", COSTS, 0.0),
        ("cost", 1, 2, Terms.of(costs=[("2", "1", 3.0)]), -3.0),
    ],
)
def test_rewards_of_classes(
    name: str, prediction: Answer, truth: Value, terms: Terms, reward: float
) -> None:
    assert REWARDS.load(name)(prediction, truth, terms) == pytest.approx(reward)


def test_losses_are_those_of_scikit_learn() -> None:
    from sklearn.metrics import brier_score_loss, log_loss

    rng = np.random.default_rng(1)
    raw = rng.random((200, 3)) + 0.01
    several = raw / raw.sum(axis=1, keepdims=True)
    truth = rng.integers(0, 3, 200)
    ours = [LOG_LOSS(row.tolist(), int(t)) for row, t in zip(several, truth, strict=True)]
    assert -np.mean(ours) == pytest.approx(log_loss(truth, several))
    of_two = rng.random(200)
    binary = rng.integers(0, 2, 200)
    ours = [BRIER(float(p), int(t)) for p, t in zip(of_two, binary, strict=True)]
    assert -np.mean(ours) == pytest.approx(brier_score_loss(binary, of_two))


@pytest.mark.parametrize(
    ("name", "prediction", "truth", "reason"),
    [
        ("squared-error", [0.1, 0.2, 0.7], 1, "prediction is a list of 3, truth is a number"),
        ("exact", [1.4, 0.2], 1, "prediction is a list of 2, truth is a number"),
        ("exact", {"score": 1.0}, 1, "prediction is an object with 1 key, truth is a number"),
        ("log-loss", [0.5, 0.5], 2, "the truth is none of the classes `0`, `1`"),
        ("log-loss", [3.0, 4.0], 1, "not a probability per class"),
        ("squared-error", [1.4, 2.0], [1, 2, 3], "prediction is a list of 2, truth is a list of 3"),
        ("absolute-error", [1.4, 2.0], {"a": 1, "b": 2}, "truth is an object with 2 keys"),
        ("exact", [0.3, 0.7], ["a", "b"], "a probability per class, and the truth is not one"),
        ("exact", [0.0, 1.0], ["a", "b"], "a probability per class, and the truth is not one"),
        ("exact", [0.3, 0.7], [1, 1], "a probability per class, and the truth is not one"),
        ("exact", 1, [1, 2], "prediction is a number, truth is a list of 2"),
        ("log-loss", [0.5, 0.5], [0, 1], "the truth is none of the classes"),
        ("brier", "spam", "ham", "prediction is text, truth is text"),
        ("exact", [0.5, 0.5], "setosa", "the truth is none of the classes"),
        ("cost", "ham", "egg", "none of those that the cost matrix names"),
    ],
)
def test_a_missing_reward_says_why(
    name: str, prediction: Answer, truth: Value, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        REWARDS.load(name)(prediction, truth, COSTS if name == "cost" else NO_TERMS)


@pytest.mark.parametrize(
    ("prediction", "truth"),
    [
        ([1.0, 2.0], [2.0, 5.0]),
        ({"a": 1.0, "b": 2.0}, {"b": 5.0, "a": 2.0}),
        ({"a": 1.0, "b": 2.0}, [2.0, 5.0]),
    ],
)
def test_of_several_outputs_errors_have_a_mean(prediction: Answer, truth: Any) -> None:
    assert REWARDS.load("squared-error")(prediction, truth) == -(1 + 9) / 2
    assert REWARDS.load("absolute-error")(prediction, truth) == -(1 + 3) / 2
    assert REWARDS.load("exact")(prediction, truth) == 0
    assert REWARDS.load("exact")(prediction, prediction) == 1  # type: ignore[arg-type]


def test_no_reward_is_named_that_several_truths_of_probabilities_do_not_have() -> None:
    several: Any = ["a", "b"]
    assert fitting_reward([0.3, 0.7], several) == ""
    assert fitting_reward([0.3, 0.7], "c") == "log-loss"


@pytest.mark.parametrize("name", ["squared-error", "absolute-error", "exact", "log-loss"])
def test_numbers_without_names_may_be_outputs_or_probabilities(name: str) -> None:
    assert not misfit(REWARDS.load(name), "vector")


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("text", "exact"), ("boolean", "exact"), ("whole", "exact"), ("number", "squared-error"),
        ("probabilities", "log-loss"), ("several", "given"), ("vector", "log-loss"),
        ("", "squared-error"),
    ],
)  # fmt: skip
def test_the_reward_follows_from_what_a_model_answers(kind: AnswerKind, name: str) -> None:
    assert default_reward(kind) == name
    assert not misfit(REWARDS.load(name), kind)


def test_a_reward_of_ones_own_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "profits.py").write_text("def margin(prediction, truth):\n    return 1.0\n")
    monkeypatch.chdir(tmp_path)
    assert load_reward("profits:margin")(1, 2) == 1.0
    with pytest.raises(InvalidInputError, match="has no `margn`") as caught:
        load_reward("profits:margn")
    assert caught.value.hint == "Did you mean `margin`?"
    with pytest.raises(InvalidInputError, match="No module named 'profitz'") as caught:
        load_reward("profitz:margin")
    assert caught.value.hint == "Did you mean `profits`?"
