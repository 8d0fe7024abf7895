"""What each confusion costs, by a matrix of the user's own: the reward is minus the cost.

Of probabilities a decision rule takes the prediction, see `mlops.rewards.decisions`.
"""

from __future__ import annotations

from mlops.rewards.base import Answer, Range, Reward, Terms, Value
from mlops.rewards.decisions import NoLabelError, cost_of, predicted_label
from mlops.rewards.kinds import pair_of


def _cost(prediction: Answer, truth: Value, terms: Terms) -> float:
    try:
        label = predicted_label(prediction, terms)
    except NoLabelError:
        raise ValueError(pair_of(prediction, truth)) from None
    # Not minus the cost: a right answer is worth 0, not -0.
    return 0.0 - cost_of(truth, label, terms.costs)


def _span(terms: Terms) -> Range:
    costs = [float(cost) for row in terms.costs.values() for cost in row.values()]
    # What is right and not named costs nothing.
    return 0.0 - max([*costs, 0.0]), 0.0 - min([*costs, 0.0])


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
