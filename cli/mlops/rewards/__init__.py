"""Rewards: how good an answer was, as one number, higher is better.

A built-in reward is derived from the truth and the prediction when evidence is read, so the raw
truth stays in the journal. `module:function` is the user's own: it runs in the client that sends
feedback, never in the server, and the client sends its result beside the truth.
"""

from mlops.plugins import Plugins
from mlops.rewards.base import Reward
from mlops.rewards.ranges import Range, capped, is_within, reward_range

REWARDS: Plugins[Reward] = Plugins(
    "reward",
    {
        "squared-error": "mlops.rewards.errors:squared_error",
        "absolute-error": "mlops.rewards.errors:absolute_error",
        "exact": "mlops.rewards.exact:exact",
        "given": "mlops.rewards.exact:given",
    },
)

__all__ = ["REWARDS", "Range", "Reward", "capped", "is_within", "reward_range"]
