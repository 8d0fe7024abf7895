"""Reward of classes and labels: right or not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from mlops.rewards.base import Answer, Reward, Terms
from mlops.rewards.kinds import is_single, pair_of, pairs_of, same
from mlops.rewards.probabilities import are_probabilities, label_of, split_by_truth

_Pairs: TypeAlias = Sequence[tuple[Any, Any]]


def _exact(prediction: Answer, truth: Answer, terms: Terms) -> float:
    if is_single(prediction) or not is_single(truth):
        pairs = pairs_of(prediction, truth)
        if pairs is None:
            raise ValueError(pair_of(prediction, truth))
        right = _is_likeliest if are_probabilities(prediction) else _are_same
        return float(right(pairs))
    try:
        label = label_of(prediction, terms)
    except ValueError:
        raise ValueError(pair_of(prediction, truth)) from None
    # A truth that is none of the classes is not a wrong answer but another language.
    split_by_truth(prediction, truth, terms)
    return float(same(label, truth))


def _are_same(pairs: _Pairs) -> bool:
    return all(same(*pair) for pair in pairs)


def _is_likeliest(pairs: _Pairs) -> bool:
    """Whether the most likely class is the one that the truth marks with 1.

    Raises:
        ValueError: The truth marks no class.
    """
    marks = [same(truth, 1) for _, truth in pairs]
    if all(mark or same(truth, 0) for mark, (_, truth) in zip(marks, pairs, strict=True)):
        if sum(marks) == 1:
            return marks[max(range(len(pairs)), key=lambda at: pairs[at][0])]
        # They may be labels of several outputs, written as 0.0 and 1.0.
        if all(prediction in (0, 1) for prediction, _ in pairs):
            return False
    raise ValueError("prediction is a probability per class, and the truth is not one of them")


EXACT = Reward(
    name="exact",
    derive=_exact,
    meaning="1 for a prediction equal to the truth, else 0, so its mean is the share of right "
    "answers; of several probabilities the most likely class counts, and several outputs must all "
    "be right",
    gain="{winner} is right {amount} percentage points more often than {than}.",
    scale=100.0,
    unit="share of right answers",
    span=(0.0, 1.0),
    compares=frozenset({"number", "whole", "boolean", "text", "probabilities", "several"}),
    default_for=frozenset({"whole", "boolean", "text"}),
    measures=("accuracy",),
    derive_many=lambda predictions, truths: (predictions == truths).astype(np.float64),
)
