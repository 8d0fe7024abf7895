"""Rewards: how good an answer was, as one number, higher is better.

A built-in reward is derived from the truth and the prediction when evidence is read, so the raw
truth stays in the journal. `module:function` is the user's own: it runs in the client that sends
feedback, never in the server, and the client sends its result beside the truth.

All that is known of a reward is in one `Reward`; help, messages, ranges and checks read it there.
A new one is a file with such a record and a line in `REWARDS`; one of another package is an entry
point in the group `mlops.rewards`.
"""

from mlops.rewards.base import (
    LARGEST,
    NO_TERMS,
    Answer,
    AnswerKind,
    Range,
    Reward,
    RewardFailedError,
    Terms,
    Value,
    all_within_floats,
    within_floats,
)
from mlops.rewards.ranges import capped, is_within
from mlops.rewards.table import REWARDS, is_own, reward_called, reward_range

__all__ = [
    "LARGEST",
    "NO_TERMS",
    "REWARDS",
    "Answer",
    "AnswerKind",
    "Range",
    "Reward",
    "RewardFailedError",
    "Terms",
    "Value",
    "all_within_floats",
    "capped",
    "is_own",
    "is_within",
    "reward_called",
    "reward_range",
    "within_floats",
]
