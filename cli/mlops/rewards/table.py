"""The built-in rewards by name."""

from __future__ import annotations

from mlops.plugins import Plugins
from mlops.rewards.base import NO_TERMS, Range, Reward, Terms

REWARDS: Plugins[Reward] = Plugins(
    "reward",
    {
        "squared-error": "mlops.rewards.errors:SQUARED_ERROR",
        "absolute-error": "mlops.rewards.errors:ABSOLUTE_ERROR",
        "exact": "mlops.rewards.exact:EXACT",
        "log-loss": "mlops.rewards.log_loss:LOG_LOSS",
        "brier": "mlops.rewards.brier:BRIER",
        "cost": "mlops.rewards.cost:COST",
        "given": "mlops.rewards.given:GIVEN",
    },
    group="mlops.rewards",
    needs=("name", "derive", "meaning", "natural_range"),
)


def is_own(name: str) -> bool:
    """Whether a reward is the user's `module:function`, which runs in the client only."""
    return ":" in name


def reward_called(name: str) -> Reward:
    """Return what is known of a revision's reward.

    A name that is not in `REWARDS`, as `module:function` or one of a package that is not installed
    here, is a reward that is sent by clients.
    """
    if is_own(name) or name not in REWARDS:
        from mlops.rewards.given import own

        return own(name)
    return REWARDS.load(name)


def reward_range(name: str, declared: Range | None, terms: Terms = NO_TERMS) -> Range | None:
    """Return the range that a reward has: the declared one, else its own; None for no range.

    >>> reward_range("exact", None), reward_range("given", (0, 5)), reward_range("given", None)
    ((0.0, 1.0), (0, 5), None)
    """
    return declared or reward_called(name).natural_range(terms)
