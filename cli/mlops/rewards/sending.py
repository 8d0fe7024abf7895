"""The commands that send what a reward is made of."""

from __future__ import annotations

from mlops.rewards.given import GIVEN


def can_replay(reward: str) -> bool:
    """Whether labelled rows that are replayed have this reward.

    >>> can_replay("squared-error"), can_replay("shop:profit"), can_replay("given")
    (True, True, False)
    """
    return reward != GIVEN.name


def feedback_commands(reward: str, where: str) -> list[str]:
    """Return the commands that give a deployment its next feedback, ready to be copied.

    A file of rewards has the columns `request_id` and `reward`, as `mlops feedback --help` says.

    Args:
        reward: Name of the deployment's reward.
        where: Name of the deployment, or `--url URL`; empty for the project's own.

    >>> feedback_commands("exact", "shop")
    ['mlops feedback shop']
    >>> feedback_commands("given", "")[0]
    'mlops feedback --request-id ID --reward NUMBER'
    """
    command = f"mlops feedback {where}".rstrip()
    if can_replay(reward):
        return [command]
    return [
        f"{command} --request-id ID --reward NUMBER",
        # No comment behind it: an interactive zsh takes none.
        f"{command} --data REWARDS.csv",
    ]
