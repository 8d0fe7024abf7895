"""Policies: which arm answers a request, and with what probability it was chosen.

A policy decides and touches nothing else: it gets a number drawn uniformly from [0, 1) and
returns an arm with its propensity. The caller draws the number from a keyed hash of the sticky
unit, of the idempotency key or of the fresh request, which is what makes a choice repeatable.
"""

from mlops.plugins import Plugins
from mlops.policies.base import PolicyFactory

POLICIES: Plugins[PolicyFactory] = Plugins(
    "policy",
    {
        "weighted": "mlops.policies.weighted:Weighted",
    },
    group="mlops.policies",
    needs=("__call__",),
)

__all__ = ["POLICIES"]
