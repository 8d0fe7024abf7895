"""Reward of classes and labels: right or not."""

from __future__ import annotations

import numpy as np

from mlops.rewards.base import Answer, Reward, Terms
from mlops.rewards.kinds import is_single, pair_of, pairs_of, same
from mlops.rewards.probabilities import label_of, split_by_truth


def _exact(prediction: Answer, truth: Answer, terms: Terms) -> float:
    if is_single(prediction) or not is_single(truth):
        pairs = pairs_of(prediction, truth)
        if pairs is None:
            raise ValueError(pair_of(prediction, truth))
        return float(all(same(*pair) for pair in pairs))
    try:
        label = label_of(prediction, terms)
    except ValueError:
        raise ValueError(pair_of(prediction, truth)) from None
    # A truth that is none of the classes is not a wrong answer but another language.
    split_by_truth(prediction, truth, terms)
    return float(same(label, truth))


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
