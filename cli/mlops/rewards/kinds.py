"""What a value is, in words, and when two values are the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeGuard

from mlops.rewards.base import Answer, Value

# Bytes of a value in a list, about.
_AN_OUTPUT = 60
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


def pair_of(prediction: Answer, truth: Answer) -> str:
    """Say what prediction and truth are.

    >>> pair_of([0.1, 0.9], 1)
    'prediction is a list of 2, truth is a number'
    """
    return f"prediction is {kind_of(prediction)}, truth is {kind_of(truth)}"


def is_single(answer: Answer) -> TypeGuard[Value]:
    """Whether an answer is one value, not several."""
    return isinstance(answer, str) or not isinstance(answer, Sequence | Mapping)


def outputs_in(answer: Answer) -> list[Value]:
    """Return the values of an answer or a truth, in order.

    >>> outputs_in(3.0), outputs_in([1, 2]), outputs_in({"a": 1, "b": 2})
    ([3.0], [1, 2], [1, 2])
    """
    # Nearly all are, and the other tests take longer.
    if answer is None or isinstance(answer, bool | int | float | str):
        return [answer]
    return list(answer.values()) if isinstance(answer, Mapping) else list(answer)


def text_bytes(answer: Answer) -> int:
    """Return about how many bytes the texts of an answer or a truth take, and its outputs.

    >>> text_bytes("good"), text_bytes(7.0), text_bytes(["a", "b"])
    (4, 0, 122)
    """
    if is_single(answer):
        return len(answer) if isinstance(answer, str) else 0
    names = sum(map(len, answer)) if isinstance(answer, Mapping) else 0
    return names + sum(_AN_OUTPUT + text_bytes(each) for each in outputs_in(answer))


def pairs_of(prediction: Answer, truth: Answer) -> list[tuple[Value, Value]] | None:
    """Pair an answer with its truth: one pair, or one for each of several outputs.

    Outputs without names are paired by position; where both have names, by name.

    Returns:
        None if one cannot be the truth of the other.

    >>> pairs_of(3.0, 4.0), pairs_of({"a": 1, "b": 2}, {"b": 4, "a": 3})
    ([(3.0, 4.0)], [(2, 4), (1, 3)])
    >>> pairs_of([1, 2], [3, 4]), pairs_of([1, 2], [3, 4, 5]), pairs_of([1, 2], 3)
    ([(1, 3), (2, 4)], None, None)
    """
    if is_single(prediction) and is_single(truth):
        return [(prediction, truth)]
    if is_single(prediction) or is_single(truth):
        return None
    if isinstance(truth, Mapping):
        if not isinstance(prediction, Mapping) or prediction.keys() != truth.keys():
            return None
        pairs = [(prediction[name], truth[name]) for name in truth]
    else:
        answers, truths = outputs_in(prediction), outputs_in(truth)
        if len(answers) != len(truths):
            return None
        pairs = list(zip(answers, truths, strict=True))
    return pairs if pairs and all(is_single(each) for pair in pairs for each in pair) else None


def are_numbers(prediction: Answer, truth: Answer) -> bool:
    """Whether an answer and its truth are numbers, or several numbers each.

    >>> are_numbers(1, 2.5), are_numbers([1, 2], [3, 4]), are_numbers([1, 2], 3)
    (True, True, False)
    """
    pairs = pairs_of(prediction, truth) or [(None, None)]
    return all(is_number(each) for pair in pairs for each in pair)


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a value is a number; a boolean is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def reads_as_number(text: str) -> bool:
    """Whether a text is a number as Python writes one; infinity and NaN are such, too.

    >>> reads_as_number("-1e3"), reads_as_number("nan"), reads_as_number("12,50")
    (True, True, False)
    """
    try:
        float(text)
    except ValueError:
        return False
    return True


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
