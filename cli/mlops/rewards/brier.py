"""Brier score of probabilities, negated.

    reward = -sum_c (p_c - [c is the truth])^2, in [-2, 0]
    of two classes half of that, -(p - [truth])^2, in [-1, 0]

The half is what scikit-learn's `brier_score_loss` gives for two classes (`scale_by_half="auto"`).
Source: G. W. Brier, "Verification of forecasts expressed in terms of probability", 1950.
"""

from __future__ import annotations

from mlops.rewards.base import Answer, Range, Reward, Terms, Value
from mlops.rewards.probabilities import split_by_truth


def _brier(prediction: Answer, truth: Value, terms: Terms) -> float:
    right, others = split_by_truth(prediction, truth, terms)
    total = (1 - right) ** 2 + sum(p * p for p in others)
    return -min(total / 2 if len(others) == 1 else total, 2.0)


def _span(terms: Terms) -> Range:
    return (-1.0, 0.0) if len(terms.classes) == 2 else (-2.0, 0.0)


BRIER = Reward(
    name="brier",
    derive=_brier,
    meaning="minus the Brier score: the squared distance of the probabilities from the truth; 0 "
    "is perfect",
    gain="The Brier score of {winner} is {amount} lower per {unit} than that of {than}.",
    span=(-2.0, 0.0),
    spans=_span,
    compares=frozenset({"probabilities", "number", "several"}),
    measures=("brier", "log_loss", "accuracy", "auc"),
)
