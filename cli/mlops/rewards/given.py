"""Rewards that only the client knows, and sends."""

from __future__ import annotations

from mlops.rewards.base import AnswerKind, Reward

_ALL: frozenset[AnswerKind] = frozenset(
    {"number", "whole", "boolean", "text", "probabilities", "several", "other", ""}
)

GIVEN = Reward(
    name="given",
    derive=None,
    meaning="what clients send as feedback; higher is better",
    compares=_ALL,
    default_for=frozenset({"several", "other"}),
)


def own(name: str) -> Reward:
    """Describe the reward `module:function` of a user's own, which runs in the client."""
    return Reward(
        name=name,
        derive=None,
        meaning="computed by your own function, in the client that sends feedback; higher is "
        "better",
        compares=_ALL,
    )
