"""What can be wrong with an extension."""

from __future__ import annotations

REWARD = 7
CODEC = object()


class Consumer:
    def __init__(self, context: object) -> None:
        raise ValueError("broken by its author")
