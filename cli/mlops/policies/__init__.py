"""Policies: with what probability each arm answers a request.

A policy decides and touches nothing else: it gives probabilities for a state, and a new state for
what requests have earned. `Draws` turns probabilities and a number in [0, 1) into an arm. The
caller draws the number from a keyed hash of the sticky unit, of the idempotency key or of the fresh
request, which is what makes a choice repeatable.
"""

from mlops.plugins import Plugins
from mlops.policies.base import PolicyFactory

POLICIES: Plugins[PolicyFactory] = Plugins(
    "policy",
    {
        "weighted": "mlops.policies.weighted:Weighted",
        "epsilon-greedy": "mlops.policies.epsilon_greedy:EpsilonGreedy",
        "linear-greedy": "mlops.policies.linear_greedy:LinearGreedy",
        "linear-thompson": "mlops.policies.linear_thompson:LinearThompson",
        "linear-ucb": "mlops.policies.linear_ucb:LinearUcb",
        "softmax": "mlops.policies.softmax:Softmax",
        "thompson": "mlops.policies.thompson:Thompson",
        "ucb1": "mlops.policies.ucb1:Ucb1",
    },
    group="mlops.policies",
    needs=("__call__",),
)

__all__ = ["POLICIES"]
