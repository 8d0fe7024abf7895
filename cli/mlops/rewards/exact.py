"""Rewards of classes and labels, and of feedback that already is a reward."""

from __future__ import annotations

from mlops.rewards.base import Value

_BOOLEANS = {"true": True, "false": False}


def exact(prediction: Value, truth: Value) -> float:
    """Return 1 if prediction and truth are equal, else 0; a number or boolean equals its text.

    >>> exact("6", 6), exact(True, "true"), exact("red", "white")
    (1.0, 1.0, 0.0)
    """
    if isinstance(prediction, str) != isinstance(truth, str):
        prediction, truth = _read(prediction), _read(truth)
    return float(prediction == truth)


def given(prediction: Value, truth: Value) -> float:
    """Never derive a reward: only what clients send counts."""
    raise ValueError("rewards of this deployment are sent by clients, not derived from the truth")


def _read(value: Value) -> Value:
    if isinstance(value, str) and value.lower() in _BOOLEANS:
        return _BOOLEANS[value.lower()]
    try:
        return float(value)  # type: ignore[arg-type]  # None raises TypeError
    except (TypeError, ValueError, OverflowError):
        return value
