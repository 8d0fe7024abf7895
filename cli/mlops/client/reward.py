"""The reward that the client has to compute."""

from __future__ import annotations

import math
import traceback

from mlops.errors import MlopsError
from mlops.rewards import Answer, Value, is_own
from mlops.rewards.own import Function


def compute(reward: Function, name: str, prediction: Answer, truth: Value) -> float:
    """Call a reward and check what it returns.

    Raises:
        MlopsError: It raised, or returned no finite number.
    """
    try:
        value = float(reward(prediction, truth))
    except Exception as error:
        raise MlopsError(
            f"The reward `{name}` failed for prediction {prediction!r} and truth {truth!r}: "
            f"{type(error).__name__}: {error}{_place(error) if is_own(name) else ''}",
        ) from error
    if not math.isfinite(value):
        raise MlopsError(f"The reward `{name}` returned {value} for {prediction!r}, {truth!r}.")
    return value


def _place(error: Exception) -> str:
    """Say where in the user's file it was raised; empty if not in one."""
    frames = traceback.extract_tb(error.__traceback__)[1:]
    return f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
