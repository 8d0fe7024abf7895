"""What a value is, in words, and when two values are the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeGuard

from mlops.rewards.base import Answer, Value

_BOOLEANS = {"true": True, "false": False}


def kind_of(value: Answer) -> str:
    """Say what a value is.

    >>> kind_of(0.5), kind_of([1, 2, 3]), kind_of("red"), kind_of({"a": 1}), kind_of(None)
    ('a number', 'a list of 3', 'text', 'an object with 1 key', 'null')
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "text"
    if isinstance(value, Mapping):
        return f"an object with {len(value)} key{'s' * (len(value) != 1)}"
    return f"a list of {len(value)}"


def pair_of(prediction: Answer, truth: Value) -> str:
    """Say what prediction and truth are.

    >>> pair_of([0.1, 0.9], 1)
    'prediction is a list of 2, truth is a number'
    """
    return f"prediction is {kind_of(prediction)}, truth is {kind_of(truth)}"


def is_single(answer: Answer) -> TypeGuard[Value]:
    """Whether an answer is one value, not several."""
    return isinstance(answer, str) or not isinstance(answer, Sequence | Mapping)


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a value is a number; a boolean is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def same(one: Value, other: Value) -> bool:
    """Whether two values are one label: a number or a boolean equals its text.

    >>> same("6", 6), same(True, "true"), same("red", "white")
    (True, True, False)
    """
    if isinstance(one, str) != isinstance(other, str):
        one, other = _read(one), _read(other)
    return one == other


def _read(value: Value) -> Value:
    if isinstance(value, str) and value.lower() in _BOOLEANS:
        return _BOOLEANS[value.lower()]
    try:
        return float(value)  # type: ignore[arg-type]  # None raises TypeError
    except (TypeError, ValueError, OverflowError):
        return value
