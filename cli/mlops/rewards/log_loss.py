"""Log loss of probabilities, negated and capped.

    reward = log(max(p, e)),  p the probability given to the true class, e = 1e-4

Without the cap one certain and wrong answer would be worth minus infinity. Probabilities below e
count as e for every arm alike, so the reward is in [log(e), 0] = [-9.21, 0].
"""

from __future__ import annotations

import math

from mlops.rewards.base import Answer, Reward, Terms, Value
from mlops.rewards.probabilities import split_by_truth

#: Lowest probability that is distinguished from 0.
LEAST = 1e-4


def _log_loss(prediction: Answer, truth: Value, terms: Terms) -> float:
    return math.log(max(split_by_truth(prediction, truth, terms)[0], LEAST))


LOG_LOSS = Reward(
    name="log-loss",
    derive=_log_loss,
    meaning="minus the log loss: the logarithm of the probability given to the true class; 0 is "
    f"perfect, and a probability below {LEAST:g} counts as {LEAST:g}",
    gain="The log loss of {winner} is {amount} lower per {unit} than that of {than}.",
    unit="nats",
    span=(math.log(LEAST), 0.0),
    compares=frozenset({"probabilities", "number", "several"}),
    default_for=frozenset({"probabilities"}),
    measures=("log_loss", "brier", "accuracy", "auc"),
)
