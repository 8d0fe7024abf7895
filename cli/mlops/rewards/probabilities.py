"""Reading a model's answer as a probability per class.

    p_c   probability that the model gives to class c; they sum to 1

A list has one p_c per position, an object one per name. A single number in [0, 1] is the
probability of the second of two classes, as `predict_proba(X)[:, 1]` gives it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mlops.rewards.base import NO_TERMS, Answer, Terms, Value
from mlops.rewards.kinds import is_number, is_single, outputs_in, pair_of, same

_TWO: tuple[Value, ...] = (0, 1)
# Sums of single-precision probabilities are off by so much at most.
_TOLERANCE = 1e-3


def probabilities(prediction: Answer, terms: Terms) -> list[tuple[Value, float]]:
    """Return (class, probability) of every class, in the model's order.

    Raises:
        ValueError: The answer is not a probability per class.

    >>> from mlops.rewards.base import NO_TERMS
    >>> probabilities([0.25, 0.75], Terms(("ham", "spam"))), probabilities(0.25, NO_TERMS)
    ([('ham', 0.25), ('spam', 0.75)], [(0, 0.75), (1, 0.25)])
    """
    names: tuple[Value, ...] = terms.classes
    values: list[Any] = []
    if isinstance(prediction, Mapping):
        names, values = tuple(prediction), list(prediction.values())
    elif is_number(prediction):
        values = [1 - prediction, prediction]
    elif isinstance(prediction, Sequence) and not isinstance(prediction, str):
        values = list(prediction)
    likely = all(is_number(value) and -_TOLERANCE <= value <= 1 + _TOLERANCE for value in values)
    if len(values) < 2 or not likely or not math.isclose(sum(values), 1, abs_tol=_TOLERANCE):
        raise ValueError("prediction is not a probability per class")
    if len(names) != len(values):
        names = tuple(range(len(values)))
    return [(name, min(max(float(p), 0.0), 1.0)) for name, p in zip(names, values, strict=True)]


def are_probabilities(prediction: Answer) -> bool:
    """Whether several values of an answer are a probability per class, not labels such as 0 and 1.

    >>> are_probabilities([0.25, 0.75]), are_probabilities([0, 1]), are_probabilities([0.0, 1.0])
    (True, False, True)
    """
    if is_single(prediction) or all(isinstance(each, int) for each in outputs_in(prediction)):
        return False
    try:
        return bool(probabilities(prediction, NO_TERMS))
    except ValueError:
        return False


def is_probability(prediction: Answer, terms: Terms) -> bool:
    """Whether one number is the probability of the second of two classes, and no label.

    A whole number that is a class is a label, and so is a float where classes are floats. Any other
    float is a probability, also 1.0 where a class is `1`: a model of classes that are no floats
    answers none of them as one. Of the classes 0 and 1 both readings of 0.0 and 1.0 are the same.

    Without classes only 0 and 1 have an order, so a cost matrix of others has labels.

    >>> is_probability(1.0, Terms((1, 2))), is_probability(1, Terms((1, 2)))
    (True, False)
    """
    if not is_number(prediction) or not 0 <= prediction <= 1:
        return False
    names = terms.classes
    if not names:
        named = {*terms.costs, *(name for row in terms.costs.values() for name in row)}
        if not all(same(name, 0) or same(name, 1) for name in named):
            return False
        names = _TWO
    if len(names) != len(_TWO):
        return False
    if all(map(same, names, _TWO)):
        return 0 < prediction < 1
    return not any(
        same(name, prediction)
        for name in names
        if isinstance(prediction, int) or isinstance(name, float)
    )


def label_of(prediction: Answer, terms: Terms) -> Value:
    """Return the label of an answer: itself, or the most likely class.

    Raises:
        ValueError: It is several values, and no probability per class.
    """
    if is_single(prediction):
        return prediction
    return max(probabilities(prediction, terms), key=lambda each: each[1])[0]


def split_by_truth(prediction: Answer, truth: Value, terms: Terms) -> tuple[float, list[float]]:
    """Return the probability of the true class, and those of all others.

    Raises:
        ValueError: The answer is not a probability per class, or the truth is none of its classes.

    >>> split_by_truth([0.125, 0.25, 0.625], 1, Terms())
    (0.25, [0.125, 0.625])
    """
    try:
        found = probabilities(prediction, terms)
    except ValueError as error:
        raise ValueError(f"{pair_of(prediction, truth)}, and {error}") from None
    right = [p for name, p in found if same(name, truth)]
    if len(right) != 1:
        names = ", ".join(f"`{name}`" for name, _ in found[:5]) + ", …" * (len(found) > 5)
        raise ValueError(f"the truth is none of the classes {names}")
    return right[0], [p for name, p in found if not same(name, truth)]
