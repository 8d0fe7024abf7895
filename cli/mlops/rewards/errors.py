"""Rewards of numeric answers: the negated error, so that less error is more reward."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mlops.rewards.base import Answer, Floats, Reward, Terms
from mlops.rewards.kinds import is_single, pair_of, pairs_of

_ERROR = (
    "minus the {} difference of prediction and truth, of several outputs their mean: 0 is perfect, "
    "and less error is more "
)
_GAIN = "The {} error of {{winner}} is {{amount}} lower per {{unit}} than that of {{than}}."


def differences(prediction: Answer, truth: Answer) -> list[float]:
    """Return prediction - truth of each output.

    Raises:
        ValueError: They are not numbers, not as many, or too far apart.
    """
    try:
        # None raises TypeError, as does what cannot be paired.
        pairs: Any = pairs_of(prediction, truth)
        found = [float(answer) - float(true) for answer, true in pairs]
    except (TypeError, ValueError, OverflowError):
        text = isinstance(truth, str) and is_single(prediction)
        raise ValueError(pair_of(prediction, truth) + " that is no number" * text) from None
    return [_finite(each) for each in found]


def _squared(prediction: Answer, truth: Answer, terms: Terms) -> float:
    found = differences(prediction, truth)
    return -_finite(sum(each * each for each in found) / len(found))


def _absolute(prediction: Answer, truth: Answer, terms: Terms) -> float:
    found = differences(prediction, truth)
    return -_finite(sum(map(abs, found)) / len(found))


def _squared_of_many(predictions: Floats, truths: Floats) -> Floats:
    with np.errstate(over="ignore", invalid="ignore"):
        error = predictions - truths
        return _where_finite(error, -(error * error))


def _absolute_of_many(predictions: Floats, truths: Floats) -> Floats:
    with np.errstate(over="ignore", invalid="ignore"):
        error = predictions - truths
    return _where_finite(error, -np.abs(error))


def _where_finite(error: Floats, reward: Floats) -> Floats:
    kept: Floats = np.where(np.isfinite(error) & np.isfinite(reward), reward, np.nan)
    return kept


def _finite(error: float) -> float:
    if not math.isfinite(error):
        raise ValueError("the error between prediction and truth is not finite")
    return error


SQUARED_ERROR = Reward(
    name="squared-error",
    derive=_squared,
    meaning=_ERROR.format("squared") + "reward",
    gain=_GAIN.format("squared"),
    unit="squared units of the truth",
    span=(-math.inf, 0.0),
    compares=frozenset({"number", "whole", "boolean", "several"}),
    default_for=frozenset({"number", ""}),
    measures=("rmse", "mae"),
    derive_many=_squared_of_many,
)

ABSOLUTE_ERROR = Reward(
    name="absolute-error",
    derive=_absolute,
    meaning=_ERROR.format("absolute") + "reward",
    gain=_GAIN.format("absolute"),
    unit="units of the truth",
    span=(-math.inf, 0.0),
    compares=frozenset({"number", "whole", "boolean", "several"}),
    measures=("rmse", "mae"),
    derive_many=_absolute_of_many,
)
