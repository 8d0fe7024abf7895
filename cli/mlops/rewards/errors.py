"""Rewards of numeric answers: the negated error, so that less error is more reward."""

from __future__ import annotations

import math

from mlops.rewards.base import Value


def squared_error(prediction: Value, truth: Value) -> float:
    """Return -(prediction - truth)**2, in (-inf, 0], in squared units of the truth.

    >>> squared_error(5.5, 6)
    -0.25
    """
    difference = _difference(prediction, truth)
    return -_finite(difference * difference, prediction, truth)


def absolute_error(prediction: Value, truth: Value) -> float:
    """Return -|prediction - truth|, in (-inf, 0], in units of the truth.

    >>> absolute_error(5.5, 6)
    -0.5
    """
    return -abs(_difference(prediction, truth))


def _difference(prediction: Value, truth: Value) -> float:
    try:
        difference = float(prediction) - float(truth)  # type: ignore[arg-type]  # None raises TypeError
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"no error between `{prediction}` and `{truth}`: not numbers") from None
    return _finite(difference, prediction, truth)


def _finite(error: float, prediction: Value, truth: Value) -> float:
    if not math.isfinite(error):
        raise ValueError(f"the error between `{prediction}` and `{truth}` is not finite")
    return error
