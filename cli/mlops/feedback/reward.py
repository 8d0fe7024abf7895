"""Which reward the client has to compute, and which the deployment derives itself."""

from __future__ import annotations

import importlib
import math
import os
import sys

from mlops.errors import InvalidInputError, MlopsError
from mlops.rewards import REWARDS, Reward
from mlops.rewards.base import Value


def load_reward(name: str) -> Reward:
    """Return the reward function called `name`: a built-in, or the user's `module:function`.

    The user's module is looked for in the current folder first, as a script would be.

    Raises:
        InvalidInputError: There is no such reward.
    """
    if ":" not in name:
        return REWARDS.load(name)
    module, _, attribute = name.partition(":")
    if os.getcwd() not in sys.path:  # noqa: PTH109 - sys.path holds text
        sys.path.insert(0, os.getcwd())  # noqa: PTH109
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise InvalidInputError(
            f"The reward `{name}` cannot be loaded: {error}.",
            hint="It must be `module:function`, importable from the current folder.",
        ) from error
    if not callable(found):
        raise InvalidInputError(f"The reward `{name}` is not a function.")
    reward: Reward = found
    return reward


def is_own(name: str) -> bool:
    """Whether `name` is the user's function, which runs in the client only."""
    return ":" in name


def compute(reward: Reward, name: str, prediction: Value, truth: Value) -> float:
    """Call a reward and check what it returns.

    Raises:
        MlopsError: It raised, or returned no finite number.
    """
    try:
        value = float(reward(prediction, truth))
    except Exception as error:
        raise MlopsError(
            f"The reward `{name}` failed for prediction {prediction!r} and truth {truth!r}: {error}"
        ) from error
    if not math.isfinite(value):
        raise MlopsError(f"The reward `{name}` returned {value} for {prediction!r}, {truth!r}.")
    return value
