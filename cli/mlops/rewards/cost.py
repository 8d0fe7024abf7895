"""What each confusion costs, by a matrix of the user's own: the reward is minus the cost."""

from __future__ import annotations

from mlops.rewards.base import Answer, Range, Reward, Terms, Value
from mlops.rewards.kinds import pair_of, same
from mlops.rewards.probabilities import label_of


def _cost(prediction: Answer, truth: Value, terms: Terms) -> float:
    try:
        label = label_of(prediction, terms)
    except ValueError:
        raise ValueError(pair_of(prediction, truth)) from None
    for name, row in terms.costs.items():
        if same(name, truth):
            for predicted, cost in row.items():
                if same(predicted, label):
                    return -float(cost)
            if same(name, label):
                return 0.0
            raise ValueError("the prediction is none of those that the cost matrix names")
    raise ValueError("the truth is none of those that the cost matrix names")


def _span(terms: Terms) -> Range:
    costs = [float(cost) for row in terms.costs.values() for cost in row.values()]
    # What is right and not named costs nothing.
    return -max([*costs, 0.0]), -min([*costs, 0.0])


COST = Reward(
    name="cost",
    derive=_cost,
    meaning="minus the cost of predicting this where that was true, by the cost matrix",
    gain="{winner} costs {amount} less per {unit} than {than}.",
    unit="the units of the cost matrix",
    spans=_span,
    compares=frozenset({"number", "whole", "boolean", "text", "probabilities"}),
    measures=("accuracy",),
)
